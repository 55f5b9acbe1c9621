import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ModelError } from "../../src/errors.js";
import type { DType } from "../../src/graph/dtype.js";
import { Graph, Model, Value } from "../../src/graph/graph.js";
import { parse } from "../../src/graph/parse.js";
import { print } from "../../src/graph/print.js";
import { Tensor } from "../../src/graph/tensor.js";
import { findNode, findValue, modelOf } from "../support/build.js";

/** The initializer `w` of a model that declares it so. */
function literal(declaration: string): Tensor {
  const t = findValue(modelOf(`g (float x) => (float y) <${declaration}> { y = Relu (x) }`), "w").initializer;
  if (!t) throw new Error("no initializer");
  return t;
}

test("header, signature, initializers and nodes become a model", () => {
  const model = parse(`
    # a comment
    <ir_version: 9, opset_import: ["" : 17, "com.microsoft" : 1], producer_name: "p">
    net (float[N,2] x, seq(map(int64, float[3])) s) => (float[N,2] y) <float[2] w = {1, 2.5}> {
      ["n/1"] h = com.microsoft.BiasGelu <a = 1, b: floats = [1, 2], c = ["x"]> (x, w)   # and another
      y, "", z = Foo (h, , w)
    }`);
  expect(model.irVersion).toBe(9);
  expect([...model.opsets]).toEqual([
    ["", 17],
    ["com.microsoft", 1],
  ]);
  expect(findValue(model, "x").type).toEqual({ kind: "tensor", dtype: "float32", shape: ["N", 2] });
  expect(findValue(model, "s").type).toEqual({ kind: "other", text: "seq(map(int64, float[3]))" });
  const gelu = findNode(model, "n/1");
  expect([gelu.domain, gelu.opType, gelu.int("a"), gelu.ints.length]).toEqual(["com.microsoft", "BiasGelu", 1, 2]);
  expect(gelu.attributes.get("b")).toEqual({ kind: "floats", value: [1, 2] });
  expect(findNode(model, "y").inputs.map((v) => v?.name)).toEqual(["h", undefined, "w"]);
  expect(findNode(model, "y").outputs.map((v) => v?.name)).toEqual(["y", undefined, "z"]);
  expect(Array.from(findValue(model, "w").initializer?.numbers() ?? [])).toEqual([1, 2.5]);
});

test("left-out inputs may be empty strings, gaps, or a trailing gap", () => {
  const inputs = (list: string) => findNode(modelOf(`g (float x) => (float y) { y = F (${list}) }`), "y").inputs.map((v) => v?.name);
  expect(inputs("")).toEqual([]);
  expect(inputs("x,")).toEqual(["x"]);
  expect(inputs(", x")).toEqual([undefined, "x"]);
  expect(inputs('"", x, ""')).toEqual([undefined, "x", undefined]);
});

test("a subgraph reads values around it, and a use of them counts", () => {
  const model = modelOf(`g (bool c, float x) => (float y) {
    h = Relu (x)
    y = If <then_branch = a () => (float t) { t = Neg (h) }, else_branch = b () => (float e) { e = Abs (h) }> (c)
  }`);
  const [a] = findNode(model, "y").subgraphs();
  expect(a?.owner).toBe(findNode(model, "y"));
  expect(
    findValue(model, "h")
      .uses()
      .map((u) => u.node.opType),
  ).toEqual(["Neg", "Abs"]);
});

test("initializers of IR version 3 repeat inputs and are constants", () => {
  const model = parse(
    '<ir_version: 3, opset_import: ["" : 8]> g (float x, float[2] w) => (float y) <float[2] w = {1, 2}> { y = Mul (x, w) }',
  );
  expect(findValue(model, "w").constant?.dims).toEqual([2]);
  const later = modelOf("g (float x, float[2] w = {1, 2}) => (float y) { y = Mul (x, w) }");
  expect(findValue(later, "w").constant).toBeUndefined();
  expect(findValue(later, "w").initializer?.dims).toEqual([2]);
});

test("functions keep formal attributes, references and opsets", () => {
  const model = parse(`<ir_version: 8, opset_import: ["" : 13, "d" : 1]> g (float x) => (float y) { y = d.f (x) }
    <domain: "d", opset_import: ["" : 13]> f <alpha> (a) => (b) { b = Elu <alpha: float = @alpha> (a) }`);
  expect(model.functions).toMatchObject([{ domain: "d", name: "f", inputs: ["a"], outputs: ["b"], attributes: ["alpha"] }]);
  expect(model.functions[0]?.body.nodes[0]?.attributes.get("alpha")).toEqual({ kind: "reference", value: "alpha", of: "float" });
});

test("what a model cannot keep is refused, or reported to who asks", () => {
  const text = '<ir_version: 8, doc_string: "d", metadata_props: ["k": "v"]> g () => () {}';
  expect(() => parse(text)).toThrow(expect.objectContaining({ code: "MODEL_TEXT_METADATA" }));
  const heard: string[] = [];
  parse(text, { ignored: (what) => heard.push(what) });
  expect(heard).toEqual(['doc_string "d"', 'metadata "k": "v"']);
});

describe("tensor literals", () => {
  test("hold integers exactly, to the ends of int64 and uint64", () => {
    expect(literal("int64[2] w = {9223372036854775807, -9223372036854775808}").data).toEqual(
      BigInt64Array.of(2n ** 63n - 1n, -(2n ** 63n)),
    );
    expect(literal("uint64[1] w = {18446744073709551615}").data).toEqual(BigUint64Array.of(2n ** 64n - 1n));
    expect(Array.from(literal("int4[3] w = {-8, 7, -1}").numbers())).toEqual([-8, 7, -1]);
    expect(literal("bool[3] w = {1, false, true}").bytes).toEqual(Uint8Array.of(1, 0, 1));
  });

  test("take an integer for float16 and bfloat16 as bits, as ONNX does, and a decimal as a value", () => {
    expect(Array.from(literal("float16[3] w = {15360, 1.0, -inf}").numbers())).toEqual([1, 1, Number.NEGATIVE_INFINITY]);
    expect(Array.from(literal("bfloat16[2] w = {16256, 1e0}").numbers())).toEqual([1, 1]);
  });

  test("keep strings byte for byte, also those that are not UTF-8", () => {
    const bytes = [new TextEncoder().encode('é "\\x41 \\ '), Uint8Array.of(0xff, 0x22, 0x5c, 0x41), new Uint8Array()];
    const model = new Model(new Graph("g"));
    model.graph.addInitializer("w", Tensor.ofStrings([3], bytes));
    expect(parse(print(model)).graph.value("w")?.initializer?.strings).toEqual(bytes);
  });

  test("elided, are the same for the same name, dtype and dims, and fit to run", () => {
    const a = literal("float[64,32] w = {...}").numbers();
    expect(literal("float[64,32] w = {...}").numbers()).toEqual(a);
    const variance = a.reduce((s, x) => s + x * x, 0) / a.length;
    // Uniform in ±√(3/32): variance 1/32, within 10 % for 2048 samples (standard error 2 %).
    expect(variance * 32).toBeGreaterThan(0.9);
    expect(variance * 32).toBeLessThan(1.1);
    expect(Math.min(...literal("float[100] w = {...}").numbers())).toBeGreaterThanOrEqual(0.5);
  });

  const DTYPES: DType[] = ["float32", "float64", "float16", "bfloat16", "complex64", "complex128", "int8", "int16", "int32", "int64"];
  DTYPES.push(
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "int4",
    "uint4",
    "int2",
    "uint2",
    "float4e2m1",
    "float8e4m3fn",
    "float8e5m2",
    "float8e8m0",
  );
  test.each(DTYPES)("of %s print and parse to the same bytes, elided data too", (dtype) => {
    const t = literal(`${({ float32: "float", float64: "double" } as Record<string, string>)[dtype] ?? dtype}[3,7] w = {...}`);
    expect(t.dtype).toBe(dtype);
    const model = new Model(new Graph("g"));
    model.graph.addInitializer("w", t);
    expect(parse(print(model, { tensors: "all" })).graph.value("w")?.initializer?.bytes).toEqual(t.bytes);
  });
});

test("every float32 survives printing and parsing", () => {
  const bits = fc.array(fc.integer({ min: 0, max: 0xffffffff }), { minLength: 1, maxLength: 50 });
  fc.assert(
    fc.property(bits, (words) => {
      const data = new Float32Array(Uint32Array.from(words).buffer);
      const model = new Model(new Graph("g"));
      model.graph.addInitializer("w", Tensor.floats([data.length], data));
      expect(parse(print(model, { tensors: "all" })).graph.value("w")?.initializer?.data).toEqual(data);
    }),
    { seed: 1, numRuns: 300, examples: [[[0x80000000, 0x7f800000, 0xff800000, 1, 0x7f7fffff]]] },
  );
});

test("any name survives printing and parsing", () => {
  const name = fc.oneof(fc.string({ unit: "binary", minLength: 1 }), fc.constantFrom("float", "inf", "seq", "a.b", "x", "\\x41"));
  fc.assert(
    fc.property(fc.uniqueArray(name, { minLength: 5, maxLength: 5 }), (names) => {
      const [g, x, y, label, dim] = names as [string, string, string, string, string];
      const graph = new Graph(g);
      const input = graph.addInput(new Value(x, { kind: "tensor", dtype: "int64", shape: [dim] }));
      const node = graph.insertNode("Relu", [input], { name: label, outputs: [y] });
      graph.addOutput(node.outputs[0] as Value);
      const text = print(new Model(graph));
      expect(print(parse(text))).toBe(text);
      expect(parse(text).graph).toMatchObject({ name: g, inputs: [{ name: x }], outputs: [{ name: y }], nodes: [{ name: label }] });
    }),
    { seed: 1, numRuns: 200 },
  );
});

describe("a mistake is told with line, column, what was expected and what came:", () => {
  const cases: [string, string, string][] = [
    [
      "an unknown name",
      "g (float x) => (float y) {\n  y = Relu (z)\n}",
      'Line 2, column 13: expected a value that is defined above, got "z".',
    ],
    [
      "a name defined twice",
      "g (float x) => (float x) {\n  x = Relu (x)\n}",
      'Line 2, column 3: expected a name that graph "g" does not define yet, got "x".',
    ],
    ["a missing bracket", "g (float x => () {}", 'Line 1, column 12: expected "," or ")", got "=>".'],
    ["an early end", "g (float x) => (float y) {", "Line 1, column 27: expected the name of a value, got the end of the text."],
    ["an open string", 'g (float "x) => () {}', 'Line 1, column 10: expected a closing ", got the end of the text.'],
    ["a strange character", "g (float x) => () { ; }", 'Line 1, column 21: expected a token of ONNX text, got ";".'],
    ["too few elements", "g () => () <\nfloat[3] w = {1, 2}> {}", 'Line 2, column 14: expected 3 elements for float[3], got "2".'],
    [
      "an element out of range",
      "g () => () <int8[1] w = {128}> {}",
      'Line 1, column 26: expected an integer of type int8, -128 to 127, got "128".',
    ],
    [
      "a symbolic extent with data",
      "g () => () <float[N] w = {1}> {}",
      'Line 1, column 22: expected a tensor type with numbers for extents, such as float[2,3], before data, got "w".',
    ],
    [
      "a list without kind",
      "g () => () { y = F <a = []> () }",
      'Line 1, column 25: expected a kind for the empty list, such as ": ints", got "[".',
    ],
    ["a mixed list", "g () => () { y = F <a = [1, 2.5]> () }", 'Line 1, column 29: expected a value of kind int, got "2.5".'],
    ["a wrong kind", "g () => () { y = F <a: ints = 1> () }", 'Line 1, column 31: expected a value of kind ints, got "1".'],
    ["an undefined output", "g () => (float y) {}", 'Line 1, column 16: expected an output that the graph defines, got "y".'],
  ];
  test.each(cases)("%s", (_, text, message) => {
    const attempt = () => parse(text);
    expect(attempt).toThrow(ModelError);
    expect(attempt).toThrow(expect.objectContaining({ code: "MODEL_TEXT_SYNTAX", message }));
  });
});
