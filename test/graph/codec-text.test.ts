/** Models that come from text, not from a file: all the codec writes of them is new. */
import * as ort from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { float, int } from "../../src/graph/attribute.js";
import { decode, encode, joinChunks } from "../../src/graph/codec.js";
import type { Model, Node, Value } from "../../src/graph/graph.js";
import { parse } from "../../src/graph/parse.js";
import { print } from "../../src/graph/print.js";
import { fixture, floatValue, modelOf, object } from "./onnx-messages.js";

const bytesOf = (model: Model) => joinChunks(encode(model));
const everything = { tensors: "all", declareTypes: true } as const;

const FUNCTIONS = `
  <ir_version: 10, opset_import: ["" : 21, "my" : 1], producer_name: "p", producer_version: "1.2">
  g (float[N,3] x, bool c) => (float[N,3] y) <
    float16[2] h = {1.0, -2.5}, bfloat16 b = {3.0}, float8e4m3fn[2] e = {1, 130}, bool[2] t = {1, 0},
    int4[3] q = {-8, 7, 1}, uint4[2,2] u = {1, 2, 3, 15}, string[2] s = {"a\\"b", "\\xff"},
    int64[1] big = {9223372036854775807}, float[N,3] z
  > {
    ["n 1"] z = my.f <alpha = 0.5, k = 2> (x)
    y = If (c) <
      then_branch = a () => (float[N,3] p) { p = Neg (z) },
      else_branch = o () => (float[N,3] r) <float[3] w = {1, 2, 3}, float[N,3] m> { m = Mul (x, w) r = my.twice:two (m) }
    >
  }
  <domain: "my", opset_import: ["" : 21]>
  f <alpha, k> (a) => (d) <float[N,3] h> {
    h = Elu <alpha: float = @alpha> (a)
    kk = Constant <value_int: int = @k> ()
    kf = Cast <to = 1> (kk)
    d = Mul (h, kf)
  }
  <domain: "my", opset_import: ["" : 21], overload: "two">
  twice (a) => (d) {
    t = Constant <value = bool {1}> ()
    d = If (t) <then_branch = i () => (float[N,3] p) { p = Add (a, a) }, else_branch = j () => (float[N,3] p) { p = Neg (a) }>
  }`;

const SEQUENCES = `
  <ir_version: 9, opset_import: ["" : 17]>
  g (seq(float[2,N]) s, optional(seq(float["a b",?])) o, int64 i) => (float[2,?] y, seq(float[]) t, bool h) <seq(float[2,N]) s2> {
    s2 = Identity (s)
    y = SequenceAt (s2, i)
    t = SequenceInsert (s2, y)
    h = OptionalHasElement (o)
  }`;

describe("a model from text, written and read", () => {
  test.each([
    ["functions, subgraphs and small element types", FUNCTIONS],
    ["sequences and optionals", SEQUENCES],
  ])("with %s is the same text, and from then on the same bytes", (_, text) => {
    const model = parse(text);
    const bytes = bytesOf(model);
    const back = decode(bytes);
    expect(print(back, everything)).toBe(print(model, everything));
    expect(Buffer.compare(bytesOf(back), bytes)).toBe(0);
  });

  test("ONNX Runtime computes what its functions and branches say", async () => {
    const session = await ort.InferenceSession.create(bytesOf(parse(FUNCTIONS)), { logSeverityLevel: 3 });
    const x = new ort.Tensor("float32", [1, -1, 2], [1, 3]);
    const run = async (c: boolean) => (await session.run({ x, c: new ort.Tensor("bool", [c], []) }))["y"]?.data as Float32Array;
    const elu = (v: number) => (v < 0 ? 0.5 * (Math.exp(v) - 1) : v);
    // float32 keeps 7 digits.
    for (const [i, v] of (await run(true)).entries()) expect(v).toBeCloseTo(-2 * elu([1, -1, 2][i] as number), 6);
    expect([...(await run(false))]).toEqual([2, -4, 12]);
    await session.release();
  });

  test("declares the types its text declares; a graph from a file gets no declarations it did not have", () => {
    const graphOf = (bytes: Uint8Array) => object("ModelProto", bytes).graph as { valueInfo?: { name: string }[] };
    expect(graphOf(bytesOf(parse(FUNCTIONS))).valueInfo).toMatchObject([{ name: "z" }]);
    const bytes = fixture("glu.onnx");
    const model = decode(bytes);
    for (const v of model.graph.values) v.type ??= { kind: "tensor", dtype: "float32", shape: [1] };
    expect(Buffer.compare(bytesOf(model), bytes)).toBe(0);
  });

  test("a function with an initializer, which ONNX has no place for, is refused", () => {
    const model = parse(`<opset_import: ["" : 17, "my" : 1]> g (float[1] x) => (float[1] y) { y = my.f (x) }
      <domain: "my", opset_import: ["" : 17]> f (a) => (b) <float[1] w = {1}> { b = Add (a, w) }`);
    expect(() => encode(model)).toThrow(expect.objectContaining({ code: "FUNCTION_INITIALIZER", at: { value: "w" } }));
  });

  test("text that is no UTF-8 is written as replacement characters, so that the file stays readable", () => {
    const model = parse(`<ir_version: 8, opset_import: ["" : 17]> g (float x) => (float y) { y = Relu (x) }`);
    (model.graph.nodes[0] as Node).name = "half \ud83d pair";
    expect(decode(bytesOf(model)).graph.nodes[0]?.name).toBe("half \ufffd pair");
  });
});

describe("references to the attributes of a function", () => {
  const attribute = (bytes: Uint8Array) => {
    const [f] = object("ModelProto", bytes).functions as { node: { attribute: unknown[] }[] }[];
    return f?.node[0]?.attribute[0];
  };
  const elu = (model: Model) => model.functions[0]?.body.nodes[0] as Node;

  test("keep the kind of what they refer to, without which onnx.checker refuses the function", () => {
    const bytes = bytesOf(parse(FUNCTIONS));
    expect(attribute(bytes)).toEqual({ name: "alpha", type: 1, refAttrName: "alpha" });
    expect(elu(decode(bytes)).attributes.get("alpha")).toMatchObject({ kind: "reference", value: "alpha", of: "float" });
  });

  test("become values, and values references, with nothing of the old left", () => {
    const model = decode(bytesOf(parse(FUNCTIONS)));
    elu(model).setAttribute("alpha", float(2));
    expect(attribute(bytesOf(model))).toEqual({ name: "alpha", type: 1, f: 2 });
    const again = decode(bytesOf(model));
    elu(again).setAttribute("alpha", { kind: "reference", value: "k", of: "int" });
    expect(attribute(bytesOf(again))).toEqual({ name: "alpha", type: 2, refAttrName: "k" });
    elu(again).setAttribute("alpha", { kind: "reference", value: "k", of: "float" });
    expect(attribute(bytesOf(again))).toEqual({ name: "alpha", type: 1, refAttrName: "k" });
  });
});

describe("types that are no dense tensors", () => {
  const tensor = (elemType: number, ...dim: object[]) => ({ tensorType: { elemType, shape: { dim } } });
  test.each([
    ["seq(float[2,N])", { sequenceType: { elemType: tensor(1, { dimValue: 2 }, { dimParam: "N" }) } }],
    ["seq(float16)", { sequenceType: { elemType: tensor(10) } }],
    ["seq(double[])", { sequenceType: { elemType: { tensorType: { elemType: 11 } } } }],
    ["optional(seq(int4[?,3]))", { optionalType: { elemType: { sequenceType: { elemType: tensor(22, {}, { dimValue: 3 }) } } } }],
    ['optional(float["a b"])', { optionalType: { elemType: tensor(1, { dimParam: "a b" }) } }],
    ["map(int64, seq(float[3]))", { mapType: { keyType: 7, valueType: { sequenceType: { elemType: tensor(1, { dimValue: 3 }) } } } }],
    ["sparse_tensor(float[3,M])", { sparseTensorType: { elemType: 1, shape: { dim: [{ dimValue: 3 }, { dimParam: "M" }] } } }],
    ["opaque(a.b, c)", { opaqueType: { domain: "a.b", name: "c" } }],
    ["opaque(c)", { opaqueType: { name: "c" } }],
  ])("%s is spelled alike by the parser, the codec and the printer", (text, type) => {
    const stored = modelOf({ name: "g", input: [{ name: "x", type }] });
    expect(decode(stored).graph.inputs[0]?.type).toEqual({ kind: "other", text });
    const model = parse(`<ir_version: 8, opset_import: ["" : 17]> g (${text} x) => () { }`);
    expect(object("ModelProto", bytesOf(model))).toEqual(object("ModelProto", stored));
  });

  test("replace a tensor type, and are replaced by one, keeping the rest of the declaration", () => {
    const model = decode(modelOf({ input: [{ ...floatValue("x", 2), docString: "kept" }] }));
    const declared = () => (object("ModelProto", bytesOf(model)).graph as { input: unknown[] }).input[0];
    const x = model.graph.inputs[0] as Value;
    x.type = { kind: "other", text: "seq(float[2])" };
    expect(declared()).toEqual({ name: "x", docString: "kept", type: { sequenceType: { elemType: tensor(1, { dimValue: 2 }) } } });
    x.type = { kind: "tensor", dtype: "int64", shape: [] };
    expect(declared()).toEqual({ name: "x", docString: "kept", type: { tensorType: { elemType: 7, shape: {} } } });
  });

  test("an element type newer than ours stays in the file", () => {
    const bytes = modelOf({ input: [{ name: "x", type: tensor(27, { dimValue: 2 }) }] });
    const model = decode(bytes);
    expect(model.graph.inputs[0]?.type).toEqual({ kind: "other", text: "element type 27" });
    expect(Buffer.compare(bytesOf(model), bytes)).toBe(0);
  });
});

test.each([
  [3, 8],
  [13, 26],
  [14, 28],
])("IR %i and opset %i are neither raised nor lowered", (irVersion, opset) => {
  const graph = { input: [floatValue("x", 1)], node: [{ input: ["x"], output: ["y"], opType: "Relu" }], output: [floatValue("y", 1)] };
  const model = decode(modelOf(graph, { irVersion, opsetImport: [{ domain: "ai.onnx", version: opset }] }));
  expect([model.irVersion, model.opset]).toEqual([irVersion, opset]);
  model.graph.nodes[0]?.setAttribute("changed", int(1));
  expect(object("ModelProto", bytesOf(model))).toMatchObject({ irVersion, opsetImport: [{ domain: "ai.onnx", version: opset }] });
  const again = decode(bytesOf(parse(print(model))));
  expect([again.irVersion, again.opset]).toEqual([irVersion, opset]);
});

test("a byte order mark at the start of a name is part of it", () => {
  const model = decode(modelOf({ node: [{ output: ["\ufeffy", "y"], opType: "T" }] }));
  expect(model.graph.nodes[0]?.outputs.map((v) => v?.name)).toEqual(["\ufeffy", "y"]);
});
