/** Residual blocks: which sums are blocks, and that a model without them is the model in which they give nothing. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { blockCost } from "../../src/graph/blocks/block-cost.js";
import { type Block, type BlockOptions, findBlocks } from "../../src/graph/blocks/find.js";
import { blockOracle, gateBlocks } from "../../src/graph/blocks/oracle.js";
import { type RemoveBlocksOptions, removeBlocks } from "../../src/graph/blocks/remove.js";
import { cloneModel } from "../../src/graph/clone.js";
import { decode } from "../../src/graph/codec.js";
import { cost } from "../../src/graph/cost.js";
import type { Model, Value } from "../../src/graph/graph.js";
import { print } from "../../src/graph/print.js";
import { Tensor } from "../../src/graph/tensor.js";
import { checkPassed } from "../../src/passes/run-pass.js";
import { modelOf } from "../support/build.js";
import { relative } from "../support/oracle.js";
import { fusedModel } from "../support/proven.js";
import { type RunOptions, run } from "../support/run.js";

/** name: operators of its nodes. */
const found = (model: Model, options: BlockOptions = {}) =>
  Object.fromEntries(findBlocks(model, undefined, options).blocks.map((b) => [b.name, b.nodes.map((n) => n.opType).join(" ")]));
const declined = (model: Model) => Object.fromEntries(findBlocks(model).declined.map((d) => [d.at, d.why]));

function subsets<T>(items: readonly T[]): T[][] {
  return Array.from({ length: 2 ** items.length }, (_, bits) => items.filter((_item, i) => bits & (1 << i)));
}

/** The model without blocks is valid, computes exactly what the oracle does, and (unless told) not what the original does. */
async function prove(model: Model, blocks: readonly Block[], options: RunOptions & RemoveBlocksOptions = {}): Promise<Model> {
  const without = removeBlocks(model, blocks, options);
  checkPassed("remove-blocks", model, without);
  const [got, want, original] = [await run(without, options), await run(blockOracle(model, blocks), options), await run(model, options)];
  expect(relative(got, want), blocks.map((b) => b.name).join(" ")).toBe(0);
  if (blocks.length > 0) expect(relative(got, original)).toBeGreaterThan(1e-4);
  return without;
}

async function proveAll(model: Model, options: RunOptions & BlockOptions = {}): Promise<void> {
  for (const chosen of subsets(findBlocks(model, undefined, options).blocks)) await prove(model, chosen, options);
}

/** Two ResNet blocks (Relu after the sum) and one that changes width. */
const RESNET = `g (float[N, 3, 8, 8] x) => (float[N, 5] y) <
  float[4, 3, 3, 3] w0 = {...}, float[4, 4, 3, 3] w1 = {...}, float[4, 4, 3, 3] w2 = {...}, float[4, 4, 3, 3] w3 = {...},
  float[4, 4, 3, 3] w4 = {...}, float[6, 4, 3, 3] w5 = {...}, float[6, 6, 3, 3] w6 = {...}, float[6, 4, 1, 1] ws = {...}, float[6, 5] wf = {...}> {
  c0 = Conv <pads = [1, 1, 1, 1]> (x, w0)
  r0 = Relu (c0)
  p0 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r0)
  c1 = Conv <pads = [1, 1, 1, 1]> (p0, w1)
  r1 = Relu (c1)
  c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2)
  s1 = Add (c2, p0)
  o1 = Relu (s1)
  c3 = Conv <pads = [1, 1, 1, 1]> (o1, w3)
  r3 = Relu (c3)
  c4 = Conv <pads = [1, 1, 1, 1]> (r3, w4)
  s2 = Add (o1, c4)
  o2 = Relu (s2)
  c5 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (o2, w5)
  r5 = Relu (c5)
  c6 = Conv <pads = [1, 1, 1, 1]> (r5, w6)
  short = Conv <strides = [2, 2]> (o2, ws)
  s3 = Add (c6, short)
  o3 = Relu (s3)
  gap = GlobalAveragePool (o3)
  flat = Flatten (gap)
  y = MatMul (flat, wf)
}`;

describe("blocks of convolutions", () => {
  it("finds identity skips on either side of the sum, and tells why a projection stays", async () => {
    const model = modelOf(RESNET);
    expect(found(model)).toEqual({ s1: "Conv Relu Conv", s2: "Conv Relu Conv" });
    expect(declined(model)).toEqual({
      s3: 'a projection: from "o2" even the shorter way to the sum leads through Conv "short"',
    });
    await proveAll(model);
  });

  it("drops the Relu after a sum whose skip has no negative element, here through a MaxPool, and keeps it on request", async () => {
    const model = modelOf(RESNET);
    const { blocks } = findBlocks(model);
    expect(blocks.map((b) => [b.skip.name, b.removesActivation, b.last.map((n) => n.label)])).toEqual([
      ["p0", true, ["c2"]],
      ["o1", true, ["c4"]],
    ]);
    const relus = (m: Model) => m.graph.nodes.filter((n) => n.opType === "Relu").length;
    expect(relus(await prove(model, blocks))).toBe(3);
    expect(relus(await prove(model, blocks, { keepActivations: true }))).toBe(5);
  });

  it("keeps the Relu after a sum whose skip may be negative", async () => {
    const model = modelOf(`g (float[1, 4, 5, 5] x) => (float[1, 4, 5, 5] y) <float[4, 4, 3, 3] w = {...}> {
      a = LeakyRelu (x) c = Conv <pads = [1, 1, 1, 1]> (a, w) s = Add (c, a) y = Relu (s) }`);
    const { blocks } = findBlocks(model);
    expect(blocks[0]?.removesActivation).toBe(false);
    expect((await prove(model, blocks)).graph.nodes.map((n) => n.opType)).toEqual(["LeakyRelu", "Relu"]);
  });

  it("takes nodes and weights of the branch out, and leaves all else as it was", async () => {
    const model = modelOf(`g (float[1, 2, 3, 3] x) => (float[1, 2, 3, 3] y) <float[2, 2, 1, 1] w = {...}, float[2] b = {1, 2}> {
      a = Relu (x) c = Conv (a, w, b) s = Add (a, c) y = Conv (s, w) }`);
    expect(print(await prove(model, findBlocks(model).blocks))).toMatchInlineSnapshot(`
      "<ir_version: 8, opset_import: ["" : 13]>
      g (float[1,2,3,3] x) => (float[1,2,3,3] y) <
        float[2,2,1,1] w = {-0.36812735, 0.592368, 1.0795021, 1.17502}
      > {
        a = Relu (x)
        y = Conv (a, w)
      }
      "
    `);
  });

  it("finds the inverted residuals of MobileNetV2, whose sum nothing follows", async () => {
    const model = modelOf(`g (float[N, 3, 6, 6] x) => (float[N, 4, 6, 6] y) <
      float[4, 3, 1, 1] w0 = {...}, float[8, 4, 1, 1] e1 = {...}, float[8, 1, 3, 3] d1 = {...}, float[4, 8, 1, 1] p1 = {...},
      float[8, 4, 1, 1] e2 = {...}, float[8, 1, 3, 3] d2 = {...}, float[4, 8, 1, 1] p2 = {...}, float zero = {0}, float six = {6}> {
      b0 = Conv (x, w0)
      x1 = Conv (b0, e1) x2 = Clip (x1, zero, six) x3 = Conv <group = 8, pads = [1, 1, 1, 1]> (x2, d1) x4 = Clip (x3, zero, six) x5 = Conv (x4, p1)
      b1 = Add (b0, x5)
      y1 = Conv (b1, e2) y2 = Clip (y1, zero, six) y3 = Conv <group = 8, pads = [1, 1, 1, 1]> (y2, d2) y4 = Clip (y3, zero, six) y5 = Conv (y4, p2)
      y = Add (b1, y5)
    }`);
    expect(found(model)).toEqual({ b1: "Conv Clip Conv Clip Conv", y: "Conv Clip Conv Clip Conv" });
    await proveAll(model);
  });

  it("finds a branch with squeeze-and-excitation, whose last convolution is not the gate's", async () => {
    const model = modelOf(`g (float[N, 4, 5, 5] x) => (float[N, 4, 5, 5] y) <
      float[4, 4, 3, 3] w = {...}, float[2, 4, 1, 1] q = {...}, float[4, 2, 1, 1] e = {...}> {
      a = Tanh (x)
      c = Conv <pads = [1, 1, 1, 1]> (a, w)
      g1 = GlobalAveragePool (c) g2 = Conv (g1, q) g3 = Relu (g2) g4 = Conv (g3, e) g5 = Sigmoid (g4)
      m = Mul (c, g5)
      y = Add (a, m)
    }`);
    expect(found(model)).toEqual({ y: "Conv GlobalAveragePool Conv Relu Conv Sigmoid Mul" });
    expect(findBlocks(model).blocks[0]?.last.map((n) => n.label)).toEqual(["c"]);
    await proveAll(model);
  });

  it("finds pre-activation blocks, with the norm in the branch", async () => {
    const bn = "float[4] s = {1, 2, 0.5, 1}, float[4] b = {...}, float[4] m = {...}, float[4] v = {1, 2, 3, 4}";
    const model = modelOf(`g (float[N, 4, 5, 5] x) => (float[N, 4, 5, 5] y) <${bn}, float[4, 4, 3, 3] w = {...}> {
      a = Tanh (x)
      n = BatchNormalization (a, s, b, m, v) r = Relu (n) c = Conv <pads = [1, 1, 1, 1]> (r, w)
      t = Add (c, a)
      n2 = BatchNormalization (t, s, b, m, v) y = Relu (n2)
    }`);
    expect(found(model)).toEqual({ t: "BatchNormalization Relu Conv" });
    await proveAll(model);
  });

  it("finds a ConvNeXt block: depthwise convolution, channels last, LayerNormalization, and a scale of the branch", async () => {
    const model = modelOf(
      `g (float[N, 4, 5, 5] x) => (float[N, 4, 5, 5] y) <float[4, 1, 3, 3] d = {...}, float[4] s = {...}, float[4] b = {...},
      float[4, 8] w1 = {...}, float[8, 4] w2 = {...}, float[4] gamma = {...}> {
      a = Tanh (x)
      c = Conv <group = 4, pads = [1, 1, 1, 1]> (a, d)
      t = Transpose <perm = [0, 2, 3, 1]> (c)
      n = LayerNormalization (t, s, b)
      h = MatMul (n, w1) g = Gelu (h) m = MatMul (g, w2) k = Mul (gamma, m)
      u = Transpose <perm = [0, 3, 1, 2]> (k)
      y = Add (a, u)
    }`,
      20,
    );
    expect(found(model)).toEqual({ y: "Conv Transpose LayerNormalization MatMul Gelu MatMul Mul Transpose" });
    expect(findBlocks(model).blocks[0]?.last.map((n) => n.label)).toEqual(["m"]);
    await proveAll(model);
  });
});

/** Attention over [N, L, 8] with two heads, then a feed-forward, each with its sum; `norm` stands before the layer or after the sum. */
function transformer(isPreNorm: boolean, mask = ""): Model {
  const norm = (from: string, to: string, i: number) => `${to} = LayerNormalization (${from}, s${i}, b${i})`;
  const [a0, m0] = isPreNorm ? ["n1", "n2"] : ["e", "x1"];
  return modelOf(
    `g (float[N, L, 8] x${mask ? ", float[N, 1, 1, L] mask" : ""}) => (float[N, L, 8] y) <float[8] s1 = {...}, float[8] b1 = {...}, float[8] s2 = {...}, float[8] b2 = {...},
    float[8, 8] wq = {...}, float[8, 8] wk = {...}, float[8, 8] wv = {...}, float[8, 8] wo = {...}, float[8] bo = {...}, float[8, 16] wi = {...}, float[16, 8] wp = {...},
    int64[4] heads = {0, 0, 2, 4}, int64[3] flat = {0, 0, 8}, float half = {0.5}> {
    e = Tanh (x)
    ${isPreNorm ? norm("e", "n1", 1) : ""}
    q0 = MatMul (${a0}, wq) k0 = MatMul (${a0}, wk) v0 = MatMul (${a0}, wv)
    q1 = Reshape (q0, heads) k1 = Reshape (k0, heads) v1 = Reshape (v0, heads)
    q = Transpose <perm = [0, 2, 1, 3]> (q1) k = Transpose <perm = [0, 2, 3, 1]> (k1) v = Transpose <perm = [0, 2, 1, 3]> (v1)
    qk = MatMul (q, k) qs = Mul (qk, half)
    ${mask ? "qm = Add (qs, mask)" : "qm = Identity (qs)"}
    p = Softmax (qm) pv = MatMul (p, v)
    o1 = Transpose <perm = [0, 2, 1, 3]> (pv) o2 = Reshape (o1, flat) o3 = MatMul (o2, wo) o4 = Add (o3, bo)
    attention = Add (e, o4)
    ${isPreNorm ? norm("attention", "n2", 2) : norm("attention", "x1", 1)}
    f1 = MatMul (${m0}, wi) f2 = Gelu (f1) f3 = MatMul (f2, wp)
    ffn = Add (f3, ${isPreNorm ? "attention" : "x1"})
    ${isPreNorm ? "y = Identity (ffn)" : norm("ffn", "y", 2)}
  }`,
    20,
  );
}

describe("sub-layers of transformers", () => {
  for (const isPreNorm of [true, false]) {
    it(`finds attention and feed-forward with the norm ${isPreNorm ? "before them" : "after the sum, which stays"}`, async () => {
      const model = transformer(isPreNorm);
      expect(Object.keys(found(model))).toEqual(["attention", "ffn"]);
      const { blocks } = findBlocks(model);
      expect(blocks.map((b) => b.last.map((n) => n.label))).toEqual([["o3"], ["f3"]]);
      const norms = (m: Model) => m.graph.nodes.filter((n) => n.opType === "LayerNormalization").length;
      expect(norms(removeBlocks(model, blocks))).toBe(isPreNorm ? 0 : 2);
      await proveAll(model, { extent: (s) => ({ N: 2, L: 3 })[s] });
    });
  }

  it("lets a branch read what does not depend on its entry, such as a mask", async () => {
    const model = transformer(true, "mask");
    expect(Object.keys(found(model))).toEqual(["attention", "ffn"]);
    await proveAll(model, { extent: (s) => ({ N: 2, L: 3 })[s] });
  });

  it("takes the normalisation out of a fused sum, where the opset has it alone", async () => {
    const text = `g (float[2, 3, 4] x) => (float[2, 3, 4] y, float[2, 3, 4] z) <float[4, 4] w = {...}, float[4] gamma = {...}, float[4] beta = {...}, float[4] bias = {...}> {
      e = Tanh (x)
      h = MatMul (e, w)
      n, , , total = com.microsoft.SkipLayerNormalization <epsilon = 0.001> (h, e, gamma, beta, bias)
      y = Relu (n)
      z = Neg (total)
    }`;
    const model = fusedModel(text);
    expect(found(model)).toEqual({ n: "MatMul" });
    const { blocks } = findBlocks(model);
    const without = removeBlocks(model, blocks);
    expect(without.graph.nodes.map((n) => n.opType)).toEqual(["Tanh", "LayerNormalization", "Relu", "Neg"]);
    // Two kernels: mean and variance are summed in other orders.
    expect(relative(await run(without), await run(blockOracle(model, blocks)))).toBeLessThanOrEqual(1e-5);
    expect(relative(await run(without), await run(model))).toBeGreaterThan(1e-2);
    expect(declined(fusedModel(text, 16))).toEqual({ n: "opset 16 has no such normalisation without the sum (17 has)" });
  });

  it("declines a fused sum whose statistics are read", () => {
    const model = fusedModel(`g (float[2, 3, 4] x) => (float[2, 3, 4] y, float[2, 3, 1] m) <float[4, 4] w = {...}, float[4] gamma = {...}> {
      h = MatMul (x, w) y, m = com.microsoft.SkipLayerNormalization (h, x, gamma) }`);
    expect(declined(model)).toEqual({ y: 'its output "m" is read, which no normalisation without the sum gives' });
  });
});

describe("blocks in blocks", () => {
  /** out = x + Conv(inner), inner = a + Conv(a), a = Conv(x); and a second inner one on the outer entry itself. */
  const NESTED = `g (float[N, 3, 5, 5] x) => (float[N, 3, 5, 5] y) <float[3, 3, 3, 3] w1 = {...}, float[3, 3, 3, 3] w2 = {...}, float[3, 3, 3, 3] w3 = {...}, float[3, 3, 1, 1] w4 = {...}> {
    e = Tanh (x)
    c0 = Conv (e, w4)
    first = Add (e, c0)
    a = Conv <pads = [1, 1, 1, 1]> (first, w1)
    c2 = Conv <pads = [1, 1, 1, 1]> (a, w2)
    inner = Add (a, c2)
    c3 = Conv <pads = [1, 1, 1, 1]> (inner, w3)
    outer = Add (c3, e)
    y = Neg (outer)
  }`;

  it("are blocks of their own, and say in which they lie", async () => {
    const model = modelOf(NESTED);
    expect(findBlocks(model).blocks.map((b) => [b.name, b.within])).toEqual([
      ["first", "outer"],
      ["inner", "outer"],
      ["outer", undefined],
    ]);
    await proveAll(model);
  });

  it("leave with the outer one, in whatever order they are named", () => {
    const model = modelOf(NESTED);
    const { blocks } = findBlocks(model);
    const outer = print(removeBlocks(model, blocks.slice(2)));
    for (const order of [blocks, [...blocks].reverse(), [blocks[1], blocks[2], blocks[1]] as Block[]])
      expect(print(removeBlocks(model, order))).toBe(outer);
    expect(removeBlocks(model, blocks).graph.nodes.map((n) => n.opType)).toEqual(["Tanh", "Neg"]);
  });

  it("of an If's branch or a Loop's body are found, and leave from there", async () => {
    const model =
      modelOf(`g (float[2, 4] x, bool up) => (float[2, 4] y, float[2, 4] z) <float[4, 4] w = {...}, int64 three = {3}, bool yes = {1}> {
      e = Tanh (x)
      y = If (up) <
        then_branch = a () => (float[2, 4] t) { h = MatMul (e, w) g = Relu (h) t = Add (e, g) },
        else_branch = b () => (float[2, 4] f) { f = Neg (e) }>
      z = Loop (three, yes, e) <body = c (int64 i, bool go, float[2, 4] s) => (bool on, float[2, 4] o) { on = Identity (go) k = MatMul (s, w) o = Add (k, s) }>
    }`);
    expect(found(model)).toEqual({ t: "MatMul Relu", o: "MatMul" });
    for (const seed of [1, 2])
      for (const chosen of subsets(findBlocks(model).blocks)) {
        const without = removeBlocks(model, chosen);
        checkPassed("remove-blocks", model, without);
        expect(relative(await run(without, { seed }), await run(blockOracle(model, chosen), { seed }))).toBe(0);
      }
  });
});

describe("sums that are no blocks", () => {
  const conv = (body: string, outputs = "float[1, 2, 4, 4] y") =>
    modelOf(
      `g (float[1, 2, 4, 4] x, float[1, 2, 4, 4] other) => (${outputs}) <float[2, 2, 1, 1] w = {...}, float[2, 2, 1, 1] v = {...}, float[1, 2, 1, 1] t = {...}, float k = {0.5}> { ${body} }`,
    );
  const nothing = (model: Model) => expect(findBlocks(model)).toEqual({ blocks: [], declined: [] });

  it("because something in the branch is read outside it, are told", () => {
    expect(declined(conv("c = Conv (x, w) r = Relu (c) d = Conv (r, v) s = Add (x, d) y = Mul (s, r)"))).toEqual({
      s: '"r", which the branch computes, is also read outside it, by Mul "y"',
    });
  });

  it("because something in the branch is an output, are told", () => {
    expect(declined(conv("c = Conv (x, w) d = Conv (c, v) y = Add (x, d)", "float[1, 2, 4, 4] y, float[1, 2, 4, 4] c"))).toEqual({
      y: '"c", which the branch computes, is an output of the graph',
    });
  });

  it("because the operands may differ in shape, are told", () => {
    const model = modelOf(
      `g (float[N, 4] x, int64[2] shape) => (float[M, K] y) <float[4, 4] w = {...}> { c = MatMul (x, w) d = Reshape (c, shape) y = Add (x, d) }`,
    );
    expect(Object.keys(declined(model))).toEqual(["y"]);
    expect(declined(model)["y"]).toMatch(/^"x" is float\[N,4\] and "d" is float\[.*\], which is not provably one type$/);
    expect(found(model)).toEqual({});
  });

  it("because the skip is broadcast or squeezed, are told", () => {
    expect(declined(conv("p = GlobalAveragePool (x) c = Conv (p, w) y = Add (x, c)"))["y"]).toMatch(/not provably one type/);
  });

  it("because the skip has an activation or the slices and padding of CIFAR's option A, are told", () => {
    expect(declined(conv("c = Conv (x, w) r = Relu (x) y = Add (r, c)"))).toEqual({
      y: 'a projection: from "x" even the shorter way to the sum leads through Relu "r"',
    });
    const optionA =
      modelOf(`g (float[1, 2, 4, 4] x) => (float[1, 4, 2, 2] y) <float[4, 2, 3, 3] w = {...}, int64[2] zero = {0, 0}, int64[2] end = {4, 4}, int64[2] axes = {2, 3}, int64[2] two = {2, 2}, int64[8] pads = {0, 1, 0, 0, 0, 1, 0, 0}> {
      c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)
      h = Slice (x, zero, end, axes, two) p = Pad (h, pads)
      y = Add (c, p) }`);
    expect(declined(optionA)).toEqual({ y: 'a projection: from "x" even the shorter way to the sum leads through Slice "h", Pad "p"' });
  });

  it("because the branch is a sum with a trunk that does not come from the entry, are told", () => {
    expect(declined(conv("v0 = Conv (x, w) c = Conv (v0, v) trunk = Add (x, c) y = Add (trunk, v0)"))).toEqual({
      trunk: '"v0", which the branch computes, is also read outside it, by Add "y"',
      y: 'its branch is a sum with "x", which does not come from "v0"',
    });
  });

  it("because they have three terms, are told", () => {
    expect(declined(conv("c = Conv (x, w) d = Conv (x, v) y = Sum (c, x, d)"))).toEqual({ y: "it is a sum of 3 terms" });
    expect(found(conv("c = Conv (x, w) y = Sum (c, x)"))).toEqual({ y: "Conv" });
  });

  it("because another value is concatenated, added or constant, are passed over", () => {
    nothing(conv("c = Conv (x, w) y = Concat <axis = 1> (x, c)", "float[1, 4, 4, 4] y"));
    nothing(conv("c = Conv (x, w) d = Conv (other, v) y = Add (c, d)"));
    nothing(conv("c = Conv (x, w) y = Add (c, t)"));
    nothing(conv("c = Conv (x, w) y = Add (c, c)"));
  });

  it("because they act on each element by itself, as in a GELU, are passed over", () => {
    nothing(conv("p = Mul (x, x) q = Mul (p, x) r = Mul (q, k) s = Add (x, r) h = Tanh (s) y = Conv (h, w)"));
    nothing(conv("h = Conv (x, w) p = Mul (h, h) q = Mul (p, h) r = Mul (q, k) y = Add (h, r)"));
    nothing(conv("p = Transpose <perm = [0, 1, 3, 2]> (x) y = Add (x, p)"));
  });
});

describe("identity skips", () => {
  it("may pass through Identity, Dropout, Cast and Reshape that change nothing", async () => {
    const model =
      modelOf(`g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y) <float[2, 2, 1, 1] w = {...}, int64[2] flat = {2, 16}, int64[4] back = {1, 2, 4, 4}> {
      a = Tanh (x) c = Conv (a, w)
      i = Identity (a) d = Dropout (i) k = Cast <to = 1> (d) f = Reshape (k, flat) u = Reshape (f, back)
      y = Add (u, c) }`);
    expect(findBlocks(model).blocks.map((b) => [b.entry.name, b.skip.name])).toEqual([["a", "u"]]);
    expect((await prove(model, findBlocks(model).blocks)).graph.nodes.map((n) => n.opType)).toEqual(["Tanh"]);
  });

  it("end where branch and skip part, even behind an Identity", async () => {
    const model = modelOf(
      `g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y) <float[2, 2, 1, 1] w = {...}> { a = Identity (x) c = Conv (a, w) y = Add (a, c) }`,
    );
    expect(findBlocks(model).blocks.map((b) => b.entry.name)).toEqual(["a"]);
    await proveAll(model);
  });

  it("give a graph output its name where the entry is a graph input, or an output itself", async () => {
    const w = "<float[2, 2] w = {...}>";
    const fromInput = modelOf(`g (float[3, 2] x) => (float[3, 2] y) ${w} { c = MatMul (x, w) y = Add (x, c) }`);
    expect((await prove(fromInput, findBlocks(fromInput).blocks)).graph.nodes.map((n) => n.opType)).toEqual(["Identity"]);
    const fromOutput = modelOf(
      `g (float[3, 2] x) => (float[3, 2] a, float[3, 2] y) ${w} { a = Tanh (x) c = MatMul (a, w) y = Add (a, c) }`,
    );
    expect((await prove(fromOutput, findBlocks(fromOutput).blocks)).graph.nodes.map((n) => n.opType)).toEqual(["Tanh", "Identity"]);
  });
});

describe("projections, on request", () => {
  const TEXT = `g (float[N, 3, 5, 5] x) => (float[N, 3, 5, 5] y) <float[3, 3, 3, 3] w1 = {...}, float[3, 3, 3, 3] w2 = {...}, float[3, 3, 1, 1] ws = {...}> {
    e = Relu (x)
    c1 = Conv <pads = [1, 1, 1, 1]> (e, w1) r1 = Relu (c1) c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2)
    short = Conv (e, ws)
    s = Add (short, c2)
    y = Relu (s) }`;

  it("are bypassed as a whole where entry and sum have one type", async () => {
    const model = modelOf(TEXT);
    expect(found(model)).toEqual({});
    expect(found(model, { projections: true })).toEqual({ s: "Conv Relu Conv Conv" });
    const { blocks } = findBlocks(model, undefined, { projections: true });
    expect((await prove(model, blocks)).graph.nodes.map((n) => n.opType)).toEqual(["Relu"]);
  });

  it("stay where the type changes, and say so", () => {
    const model = modelOf(RESNET);
    const { blocks, declined: stay } = findBlocks(model, undefined, { projections: true });
    expect(blocks.map((b) => b.name)).toEqual(["s1", "s2"]);
    expect(stay[0]?.why).toContain('"o2" is float[N,4,4,4] and "c6" is float[N,6,2,2], which is not provably one type');
  });
});

describe("costs of blocks", () => {
  it("are the multiply-accumulates and the parameters that leave with them", () => {
    const model = modelOf(RESNET);
    const before = cost(model);
    for (const block of findBlocks(model).blocks) {
      const after = cost(removeBlocks(model, [block]));
      expect(blockCost(block, before)).toEqual({ macs: before.macs - after.macs, parameters: before.parameters - after.parameters });
      expect(before.macs - after.macs).toBe(2 * 4 * 4 * 4 * 4 * 9);
    }
  });

  it("leave out what others read too", () => {
    const model = modelOf(`g (float[3, 2] x) => (float[3, 2] y) <float[2, 2] w = {...}, float[2, 2] u = {...}> {
      c = MatMul (x, w) d = MatMul (c, u) s = Add (x, d) y = MatMul (s, w) }`);
    expect(findBlocks(model).blocks.map((b) => blockCost(b, cost(model)))).toEqual([{ macs: 24, parameters: 4 }]);
  });
});

describe("names of blocks", () => {
  it("are labels of the sums, and of what they make where nodes share a name", () => {
    const model = modelOf(`g (float[3, 2] x) => (float[3, 2] y) <float[2, 2] w = {...}> {
      c = MatMul (x, w) ["add"] a = Add (x, c) d = MatMul (a, w) ["add"] b = Add (a, d) e = MatMul (b, w) ["last"] y = Add (b, e) }`);
    expect(Object.keys(found(model))).toEqual(["a", "b", "last"]);
  });
});

describe("the oracle", () => {
  it("lets no infinity of a branch in", async () => {
    const model = modelOf(`g (float[2, 4] x) => (float[2, 4] y) <float[4, 4] w = {...}, float large = {1000000}> {
      h = MatMul (x, w) l = Mul (h, large) e = Exp (l) y = Add (x, e) }`);
    const { blocks } = findBlocks(model);
    expect((await run(model))["y"]?.some((v) => v === Number.POSITIVE_INFINITY)).toBe(true);
    const [got, want] = [await run(removeBlocks(model, blocks)), await run(blockOracle(model, blocks))];
    expect(want["y"]?.every(Number.isFinite)).toBe(true);
    expect(relative(got, want)).toBe(0);
  });

  it("is made with what opset 7 has, and in float16", async () => {
    const text = (type: string) => `g (float[2, 4] x) => (float[2, 4] y) <float[4, 4] w = {...}> {
      a = Cast <to = ${type}> (x) u = Cast <to = ${type}> (w) h = MatMul (a, u) s = Add (h, a) y = Cast <to = 1> (s) }`;
    const old = modelOf(text("1"), 7);
    expect(blockOracle(old, findBlocks(old).blocks).graph.nodes.map((n) => n.opType)).toContain("Clip");
    await proveAll(old);
    const half = modelOf(text("10"));
    const { blocks } = findBlocks(half);
    expect(blocks[0]?.type.dtype).toBe("float16");
    // ONNX Runtime computes float16 on CPU in float32, and rounds where it pleases.
    expect(relative(await run(removeBlocks(half, blocks)), await run(blockOracle(half, blocks)))).toBeLessThan(1e-3);
    expect(relative(await run(removeBlocks(half, blocks)), await run(half))).toBeGreaterThan(0.1);
  });
});

describe("gates", () => {
  it("of 1 give the original and of 0 the oracle", async () => {
    const model = modelOf(RESNET);
    const { blocks } = findBlocks(model);
    const { model: gated, gates } = gateBlocks(model, blocks);
    expect(gates).toEqual(["s1_gate", "s2_gate"]);
    const withGates = (values: readonly number[]) => {
      const next = cloneModel(gated);
      gates.forEach((gate, i) => {
        const value = next.graph.value(gate) as Value;
        next.graph.attachInitializer(value, Tensor.floats([], [values[i] as number]));
        next.graph.removeInput(value);
      });
      return next;
    };
    expect(relative(await run(withGates([1, 1])), await run(model))).toBe(0);
    for (const values of [
      [0, 1],
      [1, 0],
      [0, 0],
    ]) {
      const oracle = blockOracle(
        model,
        blocks.filter((_, i) => values[i] === 0),
      );
      expect(relative(await run(withGates(values)), await run(oracle))).toBe(0);
    }
  });
});

describe("a block that gives nothing", () => {
  it("can leave without changing a bit", async () => {
    const zero = RESNET.replace("float[4, 4, 3, 3] w4 = {...}", `float[4, 4, 3, 3] w4 = {${new Array(144).fill(0).join(", ")}}`);
    const model = modelOf(zero);
    const dead = findBlocks(model).blocks.filter((b) => b.name === "s2");
    expect(relative(await run(removeBlocks(model, dead)), await run(model))).toBe(0);
  });
});

describe("trained networks", () => {
  const file = (name: string) => decode(readFileSync(new URL(`../../models/${name}`, import.meta.url)));

  it("have the blocks of their design: 3·n of two convolutions, of which two change the width", () => {
    for (const [name, n] of [
      ["cifar10_resnet20.onnx", 3],
      ["cifar10_resnet56.onnx", 9],
    ] as const) {
      const { blocks, declined: stay } = findBlocks(file(name));
      expect(blocks.map((b) => b.name)).toEqual(
        [1, 2, 3].flatMap((stage) =>
          Array.from({ length: n }, (_, i) => `/layer${stage}/layer${stage}.${i}/Add`).slice(stage === 1 ? 0 : 1),
        ),
      );
      expect(new Set(blocks.map((b) => b.nodes.map((x) => x.opType).join(" ")))).toEqual(new Set(["Conv Relu Conv"]));
      expect(blocks.every((b) => b.removesActivation)).toBe(true);
      expect(stay.map((d) => d.at)).toEqual(["/layer2/layer2.0/Add", "/layer3/layer3.0/Add"]);
      expect(stay.every((d) => d.why.startsWith("a projection") && d.why.includes('Pad "'))).toBe(true);
    }
  });

  it("equal their oracle without any one block, and without all", async () => {
    const model = file("cifar10_resnet20.onnx");
    const { blocks } = findBlocks(model);
    for (const chosen of [...blocks.map((b) => [b]), blocks]) await prove(model, chosen, { batch: 1 });
  });
});
