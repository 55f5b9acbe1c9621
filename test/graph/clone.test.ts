import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { check } from "../../src/graph/check.js";
import { cloneModel } from "../../src/graph/clone.js";
import { decode, encode } from "../../src/graph/codec.js";
import { Graph, Model, Value } from "../../src/graph/graph.js";
import { parse } from "../../src/graph/parse.js";
import { print } from "../../src/graph/print.js";
import { findNode, findValue, modelOf } from "../support/build.js";

const NESTED = `<ir_version: 10, opset_import: ["" : 18, "d" : 1], producer_name: "p", producer_version: "2">
g (bool c, float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
  h = Add (x, w)
  y = If <then_branch = a () => (float[2] t) {
    t = If <then_branch = b () => (float[2] u) { u = Mul (h, w) }, else_branch = e () => (float[2] v) { v = Relu (h) }> (c)
  }, else_branch = f () => (float[2] z) { z = d.f (h) }> (c)
}
<domain: "d", opset_import: ["" : 18]> f (p) => (q) { q = Neg (p) }`;

test("a clone prints the same and keeps every invariant, subgraphs and functions included", () => {
  const model = parse(NESTED);
  const copy = cloneModel(model);
  expect(check(copy)).toEqual([]);
  expect(print(copy, { tensors: "all" })).toBe(print(model, { tensors: "all" }));
});

test("editing a clone leaves the original alone, at every depth", () => {
  const model = parse(NESTED);
  const before = print(model);
  const copy = cloneModel(model);
  const inner = findNode(copy, "y").subgraphs()[0]?.nodes[0]?.subgraphs()[0] as Graph;
  inner.nodes[0]?.setInput(1, copy.graph.value("x"));
  copy.graph.replaceUses(findValue(copy, "h"), findValue(copy, "x"));
  (copy.functions[0]?.body as Graph).name = "other";
  copy.opsets.set("", 19);
  expect(print(model)).toBe(before);
  expect(check(model)).toEqual([]);
  expect(check(copy)).toEqual([]);
});

test("captured values are those of the clone, tensors are shared", () => {
  const model = parse(NESTED);
  const copy = cloneModel(model);
  const users = (m: Model) =>
    findValue(m, "h")
      .uses()
      .map((u) => u.node);
  expect(users(copy).map((n) => n.opType)).toEqual(users(model).map((n) => n.opType));
  expect(users(copy).filter((n) => users(model).includes(n))).toEqual([]);
  expect(findValue(copy, "w").initializer).toBe(findValue(model, "w").initializer);
});

test("all that stands around the graph is kept", () => {
  const bytes = readFileSync(new URL("../fixtures/topologies/se_block.onnx", import.meta.url));
  const model = decode(bytes);
  model.sha256 = "abc";
  model.usesExternalData = true;
  const { graph, functions, ...rest } = cloneModel(model);
  const { graph: _, functions: __, ...want } = model;
  expect(rest).toEqual(want);
  expect(graph.origin).toBe(model.graph.origin);
  expect(graph.nodes.map((n) => n.origin)).toEqual(model.graph.nodes.map((n) => n.origin));
  expect(Buffer.concat([...encode(cloneModel(model)).chunks]).equals(bytes)).toBe(true);
});

test("initializers that repeat inputs keep their meaning", () => {
  const text = (ir: number) =>
    `<ir_version: ${ir}, opset_import: ["" : 8]> g (float x, float w) => (float y) <float w = {2}> { y = Mul (x, w) }`;
  expect(findValue(cloneModel(parse(text(3))), "w").constant?.scalar()).toBe(2);
  expect(findValue(cloneModel(parse(text(8))), "w").constant).toBeUndefined();
});

test("a chain of 20,000 nodes clones, sorts, checks, prints and parses without recursion", () => {
  const graph = new Graph("deep");
  let value = graph.addInput(new Value("x", { kind: "tensor", dtype: "float32", shape: [1] }));
  for (let i = 0; i < 20_000; i++) value = graph.insertNode("Relu", [value], { outputs: [`v${i}`] }).outputs[0] as Value;
  graph.addOutput(value);
  const model = new Model(graph);
  model.opsets.set("", 13);
  const copy = cloneModel(model);
  copy.graph.sort();
  expect(check(copy)).toEqual([]);
  const text = print(copy);
  expect(print(parse(text))).toBe(text);
});

test("uses of a clone are listed in graph order", () => {
  const model = modelOf("g (float x) => (float c) { a = Relu (x) b = Neg (x) c = Add (a, b) }");
  findNode(model, "a").setInput(0, undefined);
  findNode(model, "a").setInput(0, findValue(model, "x"));
  expect(
    findValue(model, "x")
      .uses()
      .map((u) => u.node.opType),
  ).toEqual(["Neg", "Relu"]);
  expect(
    findValue(cloneModel(model), "x")
      .uses()
      .map((u) => u.node.opType),
  ).toEqual(["Relu", "Neg"]);
});
