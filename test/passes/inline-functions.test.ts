import { describe, expect, test } from "vitest";
import { check } from "../../src/graph/check.js";
import { decode, encode, joinChunks } from "../../src/graph/codec.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { print } from "../../src/graph/print.js";
import { inlineFunctions } from "../../src/passes/inline-functions.js";
import { runPass } from "../../src/passes/run-pass.js";
import { modelOf } from "../support/build.js";
import { prove, randomRemoval } from "../support/oracle.js";
import { difference, run } from "../support/run.js";

/** The model after the pass, which computes what the model with its calls computes, bit for bit. */
async function inlined(model: Model): Promise<Model> {
  const { model: after, changed } = runPass(inlineFunctions, model);
  expect(changed).toBe(true);
  expect(check(after)).toEqual([]);
  for (let seed = 0; seed < 3; seed++) expect(difference(await run(model, { seed }), await run(after, { seed }))).toBe(0);
  // It survives a file.
  expect(print(decode(joinChunks(encode(after))))).toBe(print(after));
  return after;
}

const header = (opset = 17) => `<ir_version: 10, opset_import: ["" : ${opset}, "f" : 1]>`;
const nodesOf = (m: Model) =>
  m.graph.nodes.map(
    (n) => `${n.outputs.map((o) => o?.name).join(", ")} = ${n.qualifiedType}(${n.inputs.map((i) => i?.name ?? "-").join(", ")})`,
  );

describe("a call becomes the nodes of the body", () => {
  test("twice, under the names of the calls; what is called no more goes", async () => {
    const after = await inlined(
      modelOf(`${header()} g (float[N,3] x) => (float[N,2] y) < float[3,8] a = {...}, float[8,8] b = {...}, float[8,2] z = {...} > {
        ["first"] h = f.Block (x, a)
        k = f.Block (h, b)
        y = MatMul (k, z)
      }
      <domain: "f", opset_import: ["" : 17]> Block (p, w) => (q) { t = MatMul (p, w)  q = Relu (t) }`),
    );
    expect(nodesOf(after)).toEqual([
      "first/t = MatMul(x, a)",
      "h = Relu(first/t)",
      "k/t = MatMul(h, b)",
      "k = Relu(k/t)",
      "y = MatMul(k, z)",
    ]);
    expect(after.functions).toEqual([]);
  });

  test("functions within functions, with their own subgraphs, names and attributes", async () => {
    const after = await inlined(
      modelOf(`${header()} g (float[N,8] x, bool c) => (float[N,8] y) < float[8,8] w = {...} > {
        ["o"] y = f.Outer <slope = 0.25> (x, w, c)
      }
      <domain: "f", opset_import: ["" : 17, "f" : 1]> Outer <slope> (p, w, c) => (q) {
        t = MatMul (p, w)
        ["act"] u = f.Leaky <alpha : float = @slope> (t)
        q = If (c) <then_branch = yes () => (r) { s = MatMul (u, w)  r = Neg (s) }, else_branch = no () => (r) { ["in"] s = f.Leaky <alpha : float = @slope> (p)  r = Add (s, u) }>
      }
      <domain: "f", opset_import: ["" : 17]> Leaky <alpha> (x) => (y) { y = LeakyRelu <alpha : float = @alpha> (x) }`),
    );
    expect(after.functions).toEqual([]);
    expect(nodesOf(after)).toEqual(["o/t = MatMul(x, w)", "o/u = LeakyRelu(o/t)", "y = If(c)"]);
    expect(after.graph.nodes[1]?.float("alpha")).toBe(0.25);
  });

  test("attributes that a call leaves out are dropped, inputs that it leaves out are left out inside", async () => {
    const after = await inlined(
      modelOf(`${header()} g (float[N,4] x) => (float[N,4] y) < float lo = {-0.5} > {
        a = f.Bound (x, lo)
        b = f.Bound (x, "", lo)
        c = f.Scaled <k = 2.0> (a, b)
        y = f.Scaled (c, b)
      }
      <domain: "f", opset_import: ["" : 17]> Bound (x, lo, hi) => (y) { y = Clip (x, lo, hi) }
      <domain: "f", opset_import: ["" : 17]> Scaled <k> (a, b) => (y) { t = LeakyRelu <alpha : float = @k> (a)  y = Add (t, b) }`),
    );
    expect(nodesOf(after)).toEqual([
      "a = Clip(x, lo)",
      "b = Clip(x, -, lo)",
      "c/t = LeakyRelu(a)",
      "c = Add(c/t, b)",
      "y/t = LeakyRelu(c)",
      "y = Add(y/t, b)",
    ]);
    expect(after.graph.nodes[4]?.attributes.size).toBe(0);
  });

  test("an output that is an input, or another output as well, is handed on; unread outputs are not needed", async () => {
    // ONNX Runtime refuses such functions: what they mean is written out.
    const { model } = runPass(
      inlineFunctions,
      modelOf(`${header()} g (float[N,4] x) => (float[N,4] a, float[N,4] b, float[N,4] d) {
        a, b, c = f.Same (x)
        "", "", d = f.Same (a)
      }
      <domain: "f", opset_import: ["" : 17]> Same (x) => (x, y, y) { y = Relu (x) }`),
    );
    expect(check(model)).toEqual([]);
    const meant = modelOf(
      `g (float[N,4] x) => (float[N,4] a, float[N,4] b, float[N,4] d) { a = Identity (x)  b = Relu (x)  d = Relu (a) }`,
    );
    expect(difference(await run(meant), await run(model))).toBe(0);
  });

  test("names that are taken get a number: the name of one call is the output of another", async () => {
    const after = await inlined(
      modelOf(`${header()} g (float[N,4] x) => (float[N,4] y) {
        ["y"] u = f.B (x)
        y = f.B (u)
      }
      <domain: "f", opset_import: ["" : 17]> B (x) => (y) { ["inner"] t = Relu (x)  y = Neg (t) }`),
    );
    expect(after.graph.nodes.map((n) => n.name)).toEqual(["y/inner", "", "y/inner_2", ""]);
    expect(nodesOf(after)).toEqual(["y/t = Relu(x)", "u = Neg(y/t)", "y/t_1 = Relu(u)", "y = Neg(y/t_1)"]);
  });

  test("a call in a branch, and one whose overload names it", async () => {
    const after = await inlined(
      modelOf(`${header()} g (float[N,4] x, bool c) => (float[N,4] y) {
        t = f.B : two (x)
        y = If (c) <then_branch = yes () => (s) { s = f.B : one (t) }, else_branch = no () => (s) { s = f.B : two (x) }>
      }
      <domain: "f", overload: "one", opset_import: ["" : 17]> B (x) => (y) { y = Relu (x) }
      <domain: "f", overload: "two", opset_import: ["" : 17]> B (x) => (y) { y = Neg (x) }`),
    );
    expect(after.functions).toEqual([]);
    expect(after.graph.nodes[1]?.subgraphs().map((g) => g.nodes.map((n) => n.opType))).toEqual([["Relu"], ["Neg"]]);
  });

  test("another opset of the function's is no matter where its operators are the same", async () => {
    await inlined(
      modelOf(`${header(18)} g (float[N,4] x) => (float[N,4] y) { y = f.B (x) }
      <domain: "f", opset_import: ["" : 14]> B (x) => (y) { t = Relu (x)  y = Add (t, x) }`),
    );
  });
});

describe("a call stays, and says why", () => {
  const kept = (text: string) => {
    const model = modelOf(text);
    const { model: after, changed, notes } = runPass(inlineFunctions, model);
    expect(changed).toBe(false);
    expect(after).toBe(model);
    return notes.map((n) => `${n.code} ${n.about}: ${n.why}`);
  };

  test("where an operator is another one at the model's opset", () => {
    expect(
      kept(`${header(13)} g (float[N,4] x) => (float[N,4] y) { y = f.B (x) }
      <domain: "f", opset_import: ["" : 12]> B (x) => (y) { y = Softmax <axis = -1> (x) }`),
    ).toMatchInlineSnapshot(`
      [
        "FUNCTION_KEPT y: the call of f.B stays: Softmax of opset 12, which it imports, may not be that of opset 13, which the model imports",
      ]
    `);
  });

  test("where an output is an input that it leaves out", () => {
    expect(
      kept(`${header(13)} g (float[N,4] x) => (y) { "", y = f.A (x) }
      <domain: "f", opset_import: ["" : 13]> A (x, w) => (x, w) { z = Relu (x) }`),
    ).toMatchInlineSnapshot(`
      [
        "FUNCTION_KEPT y: the call of f.A stays: output 1 is input 1, which it leaves out",
      ]
    `);
  });
});

test("a function that calls itself is put in place once and stays from there", () => {
  const { model, notes } = runPass(
    inlineFunctions,
    modelOf(`${header(13)} g (float[N,4] x) => (float[N,4] y) { y = f.A (x) }
      <domain: "f", opset_import: ["" : 13, "f": 1]> A (x) => (y) { t = Relu (x)  y = f.A (t) }`),
  );
  expect(model.graph.nodes.map((n) => n.opType)).toEqual(["Relu", "A"]);
  expect(notes.map((n) => n.why)).toEqual(["the call of f.A stays: it calls itself"]);
});

test("channels are followed through what were functions", async () => {
  const model =
    modelOf(`${header()} g (float[N,3] x) => (float[N,2] y) < float[3,8] a = {...}, float[8,6] b = {...}, float[6,2] z = {...} > {
    h = f.Block (x, a)  k = f.Block (h, b)  y = MatMul (k, z) }
    <domain: "f", opset_import: ["" : 17]> Block (p, w) => (q) { t = MatMul (p, w)  q = Relu (t) }`);
  const c = findGroups(runPass(inlineFunctions, model).model);
  expect(c.groups.map((g) => g.name)).toEqual(["a:1", "b:1"]);
  const proof = await prove(c, randomRemoval(c, 1, 0.5));
  expect(proof.maxRel).toBeLessThanOrEqual(1e-5);
});
