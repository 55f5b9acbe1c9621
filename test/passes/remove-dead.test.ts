import { expect, test } from "vitest";
import { print } from "../../src/graph/print.js";
import { removeDead } from "../../src/passes/remove-dead.js";
import { runPass } from "../../src/passes/run-pass.js";
import { modelOf } from "../support/build.js";

test("nodes and initializers that reach no output go, a chain of them and Constant nodes included", () => {
  const { model, changed } = runPass(
    removeDead,
    modelOf(`g (float[2] x, float[2] unused) => (float[2] y) <float[2] w = {1, 2}, float[2] lost = {3, 4}> {
    k = Constant <value = float[1] {5}> ()
    a = Add (x, lost)
    b = Mul (a, k)
    y = Add (x, w)
  }`),
  );
  expect(changed).toBe(true);
  expect(print(model)).toMatchInlineSnapshot(`
    "<ir_version: 8, opset_import: ["" : 13]>
    g (float[2] x, float[2] unused) => (float[2] y) <
      float[2] w = {1, 2}
    > {
      y = Add (x, w)
    }
    "
  `);
});

test("a model without dead parts is given back as it is", () => {
  const model = modelOf("g (float[2] x) => (float[2] y) { y = Relu (x) }");
  const result = runPass(removeDead, model);
  expect(result.changed).toBe(false);
  expect(result.model).toBe(model);
});

test("what a subgraph reads, or returns as it is, counts as read; what is dead inside goes", () => {
  const { model } = runPass(
    removeDead,
    modelOf(`g (bool c, float[2] x) => (float[2] y) <float[2] w = {1, 2}, float[2] v = {3, 4}, float[2] lost = {5, 6}> {
    h = Relu (x)
    q = Neg (x)
    y = If <then_branch = a () => (float[2] t) { d = Add (q, lost) t = Mul (h, w) }, else_branch = b () => (float[2] e) { e = Add (h, v) }> (c)
  }`),
  );
  expect(model.graph.nodes.map((n) => n.opType)).toEqual(["Relu", "If"]);
  expect(model.graph.initializers.map((v) => v.name)).toEqual(["w", "v"]);
  expect(model.graph.nodes[1]?.subgraphs().map((g) => g.nodes.map((n) => n.opType))).toEqual([["Mul"], ["Add"]]);
});

test("an output nobody reads does not keep the others from living, and a graph output that is an initializer stays", () => {
  const { model, changed } = runPass(
    removeDead,
    modelOf(`g (float[4] x) => (float[2] a, float[2] w) <float[2] w = {1, 2}, int64[2] s = {2, 2}> {
    a, b = Split (x, s)
  }`),
  );
  expect(changed).toBe(false);
  expect(model.graph.nodes).toHaveLength(1);
});

test("the default of an input stays; under IR 3, where it is a constant, input and initializer go", () => {
  const text = (ir: number) =>
    `<ir_version: ${ir}, opset_import: ["" : 9]> g (float[2] x, float[2] w = {1, 2}) => (float[2] y) { y = Relu (x) }`;
  expect(runPass(removeDead, modelOf(text(8))).changed).toBe(false);
  const { model, changed } = runPass(removeDead, modelOf(text(3)));
  expect(changed).toBe(true);
  expect(model.graph.inputs.map((v) => v.name)).toEqual(["x"]);
  expect(model.graph.initializers).toEqual([]);
});
