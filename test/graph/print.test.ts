import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { float, floats, int, ints, string, tensor } from "../../src/graph/attribute.js";
import { decode } from "../../src/graph/codec.js";
import { Graph, Model, Node, Value } from "../../src/graph/graph.js";
import { parse } from "../../src/graph/parse.js";
import { print, printGraph, printNode } from "../../src/graph/print.js";
import { Tensor } from "../../src/graph/tensor.js";
import { findNode, modelOf } from "../support/build.js";

const TOPOLOGIES = new URL("../fixtures/topologies/", import.meta.url);
const FILES = readdirSync(TOPOLOGIES).filter((f) => f.endsWith(".onnx"));

const SMALL = `<ir_version: 8, opset_import: ["" : 13], producer_name: "us", producer_version: "1">
net (float[N,3,8,8] x) => (float[N,4,8,8] y) <
  float[4,3,3,3] "conv.weight" = {...},
  float[4] b = {0.1, -2, 3e-7, 1}
> {
  [first] h = Conv <auto_pad = "SAME_UPPER", strides = [1, 1]> (x, "conv.weight", b)
  y = Clip (h, "", b)
}
`;

test("a model prints as ONNX text, and what was written that way prints the same", () => {
  expect(print(parse(SMALL))).toBe(SMALL);
});

test("graphs and nodes print alone", () => {
  const model = parse(SMALL);
  expect(print(model)).toContain(printGraph(model.graph));
  expect(printNode(findNode(model, "y"))).toBe('y = Clip (h, "", b)');
});

test("subgraphs are indented, functions follow the main graph", () => {
  const text = `<ir_version: 10, opset_import: ["" : 18, "local" : 1]>
main (bool c, float[2] x) => (float[2] y) {
  y = If (c) <
    then_branch = "then/0" () => (float[2] t) <
      float one = {1}
    > {
      t = Add (x, one)
    },
    else_branch = otherwise () => (float[2] e) {
      e = local.twice <alpha = 2.0> (x)
    }
  >
}

<domain: "local", opset_import: ["" : 18], overload: "v1">
twice <alpha, mode> (v) => (w) {
  w = Elu <alpha: float = @alpha> (v)
}
`;
  expect(print(parse(text))).toBe(text);
});

test("types of outputs are comments on request, or declarations that are parsed back", () => {
  const model = modelOf("g (float[N,2] x) => (float[N,2] y) <float[?,2] h> { h = Relu (x) y = Relu (h) }");
  expect(print(model, { types: true })).toContain("h = Relu (x)  # float[?,2]\n  y = Relu (h)  # float[N,2]");
  const declared = print(model, { declareTypes: true });
  expect(declared).toContain("float[?,2] h\n");
  expect(parse(declared).graph.value("h")?.shape).toEqual(["?h[0]", 2]);
  expect(parse(print(model)).graph.value("h")?.type).toBeUndefined();
});

test("tensors of more than 16 elements are elided without being read", () => {
  const graph = new Graph("g");
  const unread = () => {
    throw new Error("read");
  };
  graph.addInitializer("big", Tensor.lazy("float32", [17], unread));
  graph.addInitializer("small", Tensor.fromNumbers("int64", [16], new Array(16).fill(1)));
  expect(printGraph(graph)).toContain("float[17] big = {...}");
  expect(printGraph(graph)).toContain("int64[16] small = {1, 1,");
  expect(() => printGraph(graph, { tensors: "all" })).toThrow("read");
});

test("an attribute shows its kind by its value, or says it", () => {
  const node = new Node("Op", { domain: "my-domain.v2", overload: "o" });
  node.setAttribute("i", int(-3));
  node.setAttribute("end", int(Number.MAX_SAFE_INTEGER));
  node.setAttribute("f", float(1));
  node.setAttribute("small", float(1e-7));
  node.setAttribute("fs", floats([0.1, Number.NaN, Number.NEGATIVE_INFINITY, -0]));
  node.setAttribute("none", ints([]));
  node.setAttribute("s", string('a "quoted" \\ word'));
  node.setAttribute("t", tensor(Tensor.ints([7], [])));
  node.setAttribute("ts", { kind: "tensors", value: [Tensor.floats([1], [2])] });
  node.setAttribute("odd-name", { kind: "reference", value: "outer" });
  node.addOutput(undefined);
  node.addOutput(new Value("float"));
  expect(printNode(node)).toBe(
    '"", "float" = "my-domain.v2".Op:o <i = -3, end = 9223372036854775807, f = 1.0, small = 1e-7, fs = [0.1, nan, -inf, -0.0], ' +
      'none: ints = [], s = "a \\"quoted\\" \\\\ word", t = int64 {7}, ts: tensors = [float[1] {2}], "odd-name" = @outer> ()',
  );
  const graph = new Graph("g");
  graph.appendNode(node);
  const text = print(new Model(graph));
  expect(print(parse(text))).toBe(text);
});

describe.each(FILES)("%s", (file) => {
  const model = decode(readFileSync(new URL(file, TOPOLOGIES)));
  test("prints what parses to a model that prints the same", () => {
    for (const options of [{ tensors: "all" }, { tensors: "all", declareTypes: true, types: true }, {}] as const) {
      const text = print(model, options);
      expect(print(parse(text), options)).toBe(text);
    }
  });
});
