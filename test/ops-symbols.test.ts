/** What op rules say about symbols, and what they refuse: the two things that one run in ONNX Runtime cannot show. */
import { describe, expect, it } from "vitest";
import { ModelError } from "../src/errors.js";
import { encode, joinChunks } from "../src/graph/codec.js";
import type { Dim } from "../src/graph/dim.js";
import { infer } from "../src/graph/infer.js";
import { runAll } from "./support/actual-shapes.js";
import { findValue, modelOf } from "./support/build.js";

/** Shape of value y. */
function shapeOf(inputs: string, body: string): readonly Dim[] | undefined {
  const model = modelOf(`g (${inputs}) => (float[] y) { ${body} }`, 18);
  return infer(model).shape(findValue(model, "y"));
}

/** Elements of value y. */
function contentOf(inputs: string, body: string, dtype: string): readonly Dim[] | undefined {
  const model = modelOf(`g (${inputs}) => (${dtype}[] y) { ${body} }`, 18);
  return infer(model).content(findValue(model, "y"));
}

describe("broadcasting symbols", () => {
  const rows: readonly (readonly [a: string, b: string, result: readonly Dim[]])[] = [
    ["N,C", "N,C", ["N", "C"]],
    ["N,C", "1,C", ["N", "C"]],
    ["N,1", "M", ["N", "M"]],
    ["N,C", "8", ["N", 8]],
    ["8", "N,C", ["N", 8]],
    ["N", "M", ["broadcast(M, N)"]],
    ["M", "N", ["broadcast(M, N)"]],
    ["N,0", "M", ["N", 0]],
  ];
  for (const [a, b, result] of rows) {
    it(`gives [${result}] for [${a}] and [${b}]`, () => {
      expect(shapeOf(`float[${a}] a, float[${b}] b`, "y = Add(a, b)")).toEqual(result);
      expect(shapeOf(`float[${a}] a, float[${b}] b, bool c`, "y = Where(c, a, b)")).toEqual(result);
      expect(shapeOf(`float[${a}] a, float[${b}] b`, "y = Max(a, b)")).toEqual(result);
    });
  }

  it("says nothing when a rank is unknown", () => {
    expect(shapeOf("float[N] a, float[] b", "y = Add(a, b)")).toBeUndefined();
  });
});

describe("extents computed from symbols", () => {
  it("of a convolution with stride are floors", () => {
    expect(shapeOf("float[N,3,H,W] x, float[8,3,3,3] w", "y = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w)")).toEqual([
      "N",
      8,
      "floor((H + 1)/2)",
      "floor((W + 1)/2)",
    ]);
  });

  it("of a pool under ceil_mode stay open where a window could start in the padding", () => {
    expect(shapeOf("float[N,3,H,W] x", "y = MaxPool <kernel_shape = [3,2], strides = [2,2], ceil_mode = 1> (x)")).toEqual([
      "N",
      3,
      "floor((H)/2)",
      "floor((W + 1)/2)",
    ]);
    expect(shapeOf("float[N,3,H] x", "y = MaxPool <kernel_shape = [1], strides = [2], ceil_mode = 1> (x)")?.[2]).toBe(
      "windows(H, 1, 2, 0, 0)",
    );
  });

  it("of a transposed convolution are polynomials", () => {
    expect(shapeOf("float[N,4,H] x, float[4,2,3] w", "y = ConvTranspose <strides = [2]> (x, w)")).toEqual(["N", 2, "2*H + 1"]);
  });

  it("of a resize are exact for scales that are whole or halves", () => {
    expect(shapeOf("float[N,4,H,W] x", "s = Constant <value = float[4] {1, 1, 2, 0.5}> () y = Resize (x, , s)")).toEqual([
      "N",
      4,
      "2*H",
      "floor((W)/2)",
    ]);
    expect(shapeOf("float[N] x", "s = Constant <value = float[1] {1.7}> () y = Resize (x, , s)")?.[0]).toMatch(/^scaled\(N, /);
  });

  it("of a product take the known one of two extents that must agree", () => {
    expect(shapeOf("float[B,M,K] a, float[1,8,N] b", "y = MatMul(a, b)")).toEqual(["B", "M", "N"]);
  });
});

describe("elements computed from symbols", () => {
  const rows: readonly (readonly [what: string, body: string, result: readonly Dim[]])[] = [
    ["arithmetic", "two = Constant <value = int64[2] {2, 3}> () m = Mul(s, two) y = Sub(m, s)", ["N", "2*C"]],
    ["division that leaves no remainder", "two = Constant <value = int64 {2}> () m = Mul(s, two) y = Div(m, two)", ["N", "C"]],
    ["division that may leave one", "two = Constant <value = int64 {2}> () y = Div(s, two)", ["floor((N)/2)", "floor((C)/2)"]],
    ["a product over all", "y = ReduceProd <keepdims = 1> (s)", ["C*N"]],
    ["-1 is no extent", "m = Constant <value = int64[2] {-1, -1}> () y = Equal(s, m)", [0, 0]],
    ["a symbol equals itself", "y = Equal(s, s)", [1, 1]],
    ["symbols may turn out equal to a number", "m = Constant <value = int64[2] {4, -1}> () y = Equal(s, m)", ["equal(4, N)", 0]],
    [
      "keep what is not -1",
      "m = Constant <value = int64[2] {-1, 7}> () n = Constant <value = int64[2] {-1, -1}> () e = Equal(m, n) y = Where(e, s, m)",
      ["N", 7],
    ],
    ["a maximum that is decided", "m = Constant <value = int64[2] {0, 0}> () p = Add(s, s) y = Max(p, s, m)", ["2*N", "2*C"]],
    ["a maximum that is not", "m = Constant <value = int64[2] {4, 4}> () y = Max(s, m)", ["max(4, N)", "max(4, C)"]],
    [
      "sizes scaled in float",
      "f = Cast <to = 1> (s) two = Constant <value = float {2.0}> () m = Mul(f, two) r = Floor(m) y = Cast <to = 7> (r)",
      ["2*N", "2*C"],
    ],
  ];
  for (const [what, body, result] of rows) {
    it(`follow ${what}`, () => {
      expect(contentOf("float[N,C] x", `s = Shape(x) ${body}`, body.includes("y = Equal") ? "bool" : "int64")).toEqual(result);
    });
  }

  it("are dropped where an unsigned type would wrap", () => {
    expect(
      contentOf("float[N] x", "s = Shape(x) u = Cast <to = 13> (s) five = Constant <value = uint64[1] {5}> () y = Sub(u, five)", "uint64"),
    ).toBeUndefined();
  });
});

describe("a contradiction", () => {
  const rows: readonly (readonly [what: string, inputs: string, body: string, message: RegExp, opset?: number])[] = [
    ["extents that do not broadcast", "float[2,3] a, float[4] b", "[n] y = Add(a, b)", /3 against 4/],
    ["three that do not", "float[2] a, float[1] b, float[3] c", "[n] y = Sum(a, b, c)", /2 against 3/],
    ["channels of X and W", "float[1,3,8,8] x, float[4,2,3,3] w", "[n] y = Conv(x, w)", /are 3 and 2/],
    [
      "filters and groups",
      "float[1,4,8,8] x, float[3,2,3,3] w",
      "[n] y = Conv <group = 2> (x, w)",
      /3 filters do not divide into 2 groups/,
    ],
    [
      "a window larger than its input",
      "float[1,3,4,4] x, float[4,3,6,6] w",
      "[n] y = Conv(x, w)",
      /window of 6 does not fit the padded input of 4/,
    ],
    ["kernel_shape and W", "float[1,3,8,8] x, float[4,3,3,3] w", "[n] y = Conv <kernel_shape = [5,5]> (x, w)", /are 3 and 5/],
    ["channels of a transposed convolution", "float[1,3,8,8] x, float[4,2,3,3] w", "[n] y = ConvTranspose(x, w)", /are 3 and 4/],
    ["a pool of the wrong rank", "float[1,3,8] x", "[n] y = MaxPool <kernel_shape = [2,2]> (x)", /rank 4/],
    ["columns and rows of a Gemm", "float[2,3] a, float[4,5] b", "[n] y = Gemm(a, b)", /are 3 and 4/],
    [
      "a bias that grows a Gemm",
      "float[1,3] a, float[3,5] b, float[7,5] c",
      "[n] y = Gemm(a, b, c)",
      /C \[7, 5\] should broadcast to Y \[1, 5\]/,
    ],
    ["columns and rows of a MatMul", "float[2,3] a, float[4,5] b", "[n] y = MatMul(a, b)", /are 3 and 4/],
    ["batches of a MatMul", "float[2,2,3] a, float[3,3,5] b", "[n] y = MatMul(a, b)", /2 against 3/],
    [
      "an Einsum label",
      "float[2,3] a, float[4,5] b",
      '[n] y = Einsum <equation = "ij,jk"> (a, b)',
      /label "j" should be equal, but are 3 and 4/,
    ],
    ["hidden sizes", "float[5,2,4] x, float[1,12,4] w, float[1,12,3] r", "[n] y = LSTM <hidden_size = 4> (x, w, r)", /hidden_size/],
    ["channels of a BatchNormalization", "float[1,3,4,4] x, float[4] s", "[n] y = BatchNormalization(x, s, s, s, s)", /are 3 and 4/],
    ["an axis out of range", "float[2,3] x", "[n] y = Softmax <axis = 2> (x)", /axis 2 is outside \[-2, 1\]/],
    ["a reduced axis out of range", "float[2,3] x", "[n] y = ReduceMean <axes = [3]> (x)", /axis 3 is outside/],
    ["K above the extent", "float[2,3] x", "k = Constant <value = int64[1] {4}> () [n] y, i = TopK(x, k)", /at most the extent 3/],
    ["a slope that does not broadcast", "float[2,3] x, float[2] s", "[n] y = PRelu(x, s)", /3 against 2/],
    [
      "output_shape and spatial axes",
      "float[1,3,4,4] x, float[3,2,3,3] w",
      "[n] y = ConvTranspose <output_shape = [9]> (x, w)",
      /output_shape should have 2 entries/,
    ],
    ["an axis of old Softmax", "float[3] x", "[n] y = Softmax <axis = 1> (x)", /axis 1 is outside/],
    ["scale and the normalised axes", "float[2,3,4] x, float[5] s", "[n] y = LayerNormalization(x, s)", /4 against 5/],
    ["a scale that grows a LayerNormalization", "float[2,1,1] x, float[5] s", "[n] y = LayerNormalization(x, s)", /should broadcast to X/],
    ["channels of an InstanceNormalization", "float[1,3,4,4] x, float[4] s", "[n] y = InstanceNormalization(x, s, s)", /are 3 and 4/],
    [
      "groups of a GroupNormalization",
      "float[1,4,4,4] x, float[4] s",
      "[n] y = GroupNormalization <num_groups = 2> (x, s, s)",
      /are 2 and 4/,
    ],
    [
      "directions",
      "float[5,2,4] x, float[1,16,4] w, float[1,16,4] r",
      '[n] y = LSTM <hidden_size = 4, direction = "bidirectional"> (x, w, r)',
      /directions/,
    ],
    ["input sizes", "float[5,2,3] x, float[1,4,4] w, float[1,4,4] r", "[n] y = RNN <hidden_size = 4> (x, w, r)", /are 3 and 4/],
    [
      "strides and spatial axes",
      "float[1,3,8,8] x, float[4,3,3,3] w",
      "[n] y = Conv <strides = [2]> (x, w)",
      /strides should have 2 entries/,
    ],
    [
      "pads and spatial axes",
      "float[1,3,8,8] x",
      "[n] y = AveragePool <kernel_shape = [2,2], pads = [1,1]> (x)",
      /pads should have 4 entries/,
    ],
    ["a global pool and a matrix", "float[3] x", "[n] y = GlobalAveragePool(x)", /should be \[N, C/],
    ["a pool window larger than its input", "float[1,3,4,4] x", "[n] y = MaxPool <kernel_shape = [6,6]> (x)", /window of 6/],
    ["terms and inputs", "float[2,3] a, float[3,5] b", '[n] y = Einsum <equation = "ij->i"> (a, b)', /1 terms for 2 inputs/],
    ["a term and a rank", "float[2,3] a, float[3,5,2] b", '[n] y = Einsum <equation = "ij,jk->ik"> (a, b)', /does not fit input 1/],
    [
      "sizes for another rank",
      "float[2,3] x",
      "s = Constant <value = int64[3] {1, 1, 2}> () [n] y = Resize(x, , , s)",
      /sizes should have 2 entries/,
    ],
    ["branches of a Where", "float[2] a, float[3] b, bool[1] c", "[n] y = Where(c, a, b)", /2 against 3/],
    ["ranks of data and indices", "float[2,3] x, int64[2] i", "[n] y = GatherElements (x, i)", /indices should have rank 2/],
    [
      "batch axes and the rank of indices",
      "float[2,3] x, int64[2] i",
      "[n] y = GatherND <batch_dims = 1> (x, i)",
      /indices should have rank 2 or more/,
    ],
    [
      "ranks of data and updates",
      "float[2,3] x, int64[1,1] i, float[2] u",
      "[n] y = ScatterElements (x, i, u)",
      /updates should have rank 2/,
    ],
    ["coordinates and data", "float[2,3] x, int64[1,3] i, float[1] u", "[n] y = ScatterND (x, i, u)", /3 coordinates do not fit/],
    [
      "axes of a ReverseSequence",
      "float[2,3,4] x, int64[3] s",
      "[n] y = ReverseSequence <batch_axis = 1, time_axis = 2> (x, s)",
      /should be 0 and 1/,
    ],
    ["a grid of another rank", "float[1,2,4,4] x, float[1,4,2] g", "[n] y = GridSample (x, g)", /grid should have rank 4/],
    ["regions of rank 1", "float[1,2,4,4] x, float[4] r, int64[1] b", "[n] y = RoiAlign (x, r, b)", /rois should have rank 2/],
    ["a vector and matrices", "float[3] x", "[n] y = Det (x)", /X should have rank 2 or more/],
    [
      "blocks and columns",
      "float[1,5,4] x",
      "i = Constant <value = int64[2] {3, 3}> () b = Constant <value = int64[2] {2, 2}> () [n] y = Col2Im (x, i, b)",
      /5 columns do not divide/,
    ],
    ["targets of another rank", "float[2,3,4] x, int64[2] t", "[n] y = NegativeLogLikelihoodLoss (x, t)", /target should have rank 2/],
    [
      "a signal without a batch",
      "float[8] x",
      "s = Constant <value = int64 {2}> () f = Constant <value = int64 {4}> () [n] y = STFT (x, s, , f)",
      /signal should have rank 2 or 3/,
    ],
    [
      "channels of a DeformConv",
      "float[1,3,5,5] x, float[4,2,3,3] w, float[1,18,3,3] o",
      "[n] y = DeformConv (x, w, o)",
      /are 3 and 2/,
      19,
    ],
    [
      "heads and a hidden size",
      "float[1,5,10] q, float[1,5,12] k, float[1,5,12] v",
      "[n] y = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v)",
      /10 does not divide into 3 heads/,
      23,
    ],
    [
      "heads of queries and of keys",
      "float[1,5,12] q, float[1,5,8] k, float[1,5,8] v",
      "[n] y = Attention <q_num_heads = 3, kv_num_heads = 2> (q, k, v)",
      /3 heads of Q do not divide among 2/,
      23,
    ],
    ["a table and half a head", "float[1,3,5,4] x, float[1,5,3] c, float[1,5,3] s", "[n] y = RotaryEmbedding (x, c, s)", /are 3 and 2/, 23],
    ["a cache and its update", "float[2,3,5,4] x, float[2,2,2,4] u", "[n] y = TensorScatter (x, u)", /axis 1 of past_cache and update/, 24],
    ["types of different widths", "float[2] x", "[n] y = BitCast <to = 11> (x)", /differ in width/, 26],
    [
      "scales for another rank",
      "float[2,3] x",
      "s = Constant <value = float[3] {1, 1, 2}> () [n] y = Resize(x, , s)",
      /scales should have 2 entries/,
    ],
  ];
  for (const [what, inputs, body, message, opset = 18] of rows) {
    it(`between ${what} is told with the node's name, and ONNX Runtime refuses it too`, async () => {
      const model = modelOf(`g (${inputs}) => (float[] y) { ${body} }`, body.includes("ReduceMean") ? 13 : opset);
      model.irVersion = 10;
      const error = thrown(() => infer(model));
      expect(error).toBeInstanceOf(ModelError);
      expect(error).toMatchObject({ code: "MODEL_SHAPE_MISMATCH", at: { node: "n" } });
      expect((error as Error).message).toMatch(message);
      const shapes = Object.fromEntries(model.graph.inputs.map((v) => [v.name, (v.shape ?? []) as number[]]));
      await expect(runAll(joinChunks(encode(model)), shapes)).rejects.toThrow();
    });
  }
});

function thrown(f: () => unknown): unknown {
  try {
    f();
  } catch (error) {
    return error;
  }
  return undefined;
}
