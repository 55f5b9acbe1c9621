/**
 * A layer with other weights than the original's, on the same inputs: least squares must find the original's weights again. That takes
 * every unfolded element to be in its place, whatever the window.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cloneModel } from "../../src/graph/clone.js";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { modelOf, randomFloats } from "../support/build.js";
import { distance, normalSamples, recovered } from "./support.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

/** The model with numbers of their own in every float constant of more than one element that is called w… or b…. */
function spoilt(model: Model): Model {
  const copy = cloneModel(model);
  for (const v of copy.graph.initializers) {
    const t = v.initializer as Tensor;
    if (!/^[wb]/.test(v.name) || t.dtype !== "float32") continue;
    copy.graph.setConstant(v, Tensor.floats(t.dims, randomFloats(`spoilt ${v.name}`, t.size)));
  }
  return copy;
}

const image = "float[N, 4, 9, 8] x";
const conv = (w: string, attributes: string, bias = "") =>
  `g (${image}) => (float[N, O, H, W] y) <float[${w}] w = {...}${bias ? `, float[${bias}] b = {...}` : ""}> { y = Conv <${attributes}> (x, w${bias ? ", b" : ""}) }`;
const CASES: Readonly<Record<string, string>> = {
  "a 3 × 3 convolution with bias and padding": conv("5, 4, 3, 3", "pads = [1, 1, 1, 1]", "5"),
  "strides, and pads that differ from side to side": conv("5, 4, 3, 2", "strides = [2, 3], pads = [0, 1, 2, 1]", "5"),
  dilations: conv("5, 4, 3, 2", "dilations = [2, 3], pads = [2, 0, 2, 3]", "5"),
  "SAME_UPPER with an even kernel": conv("3, 4, 2, 4", 'auto_pad = "SAME_UPPER"', "3"),
  "SAME_LOWER with strides": conv("3, 4, 4, 3", 'auto_pad = "SAME_LOWER", strides = [2, 2]', "3"),
  "two groups": conv("6, 2, 3, 3", "group = 2, pads = [1, 1, 1, 1]", "6"),
  depthwise: conv("4, 1, 3, 3", "group = 4, pads = [1, 1, 1, 1]", "4"),
  "depthwise with two filters per channel": conv("8, 1, 3, 3", "group = 4, strides = [2, 2]", "8"),
  "a convolution over one axis": `g (float[N, 3, 20] x) => (float[N, O, L] y) <float[4, 3, 5] w = {...}, float[4] b = {...}> { y = Conv <pads = [2, 2]> (x, w, b) }`,
  "a convolution over three axes": `g (float[N, 2, 4, 5, 3] x) => (float[N, O, D, H, W] y) <float[3, 2, 2, 2, 2] w = {...}, float[3] b = {...}> { y = Conv <pads = [1, 0, 0, 0, 1, 1]> (x, w, b) }`,
  ConvTranspose: `g (${image}) => (float[N, O, H, W] y) <float[4, 3, 3, 2] w = {...}, float[3] b = {...}> { y = ConvTranspose <strides = [2, 3], pads = [1, 0, 0, 1]> (x, w, b) }`,
  "ConvTranspose with groups, dilations and output padding": `g (${image}) => (float[N, O, H, W] y) <float[4, 3, 2, 2] w = {...}, float[6] b = {...}> { y = ConvTranspose <group = 2, strides = [2, 2], dilations = [2, 1], output_padding = [1, 0]> (x, w, b) }`,
  "Gemm with transB, alpha and beta": `g (float[N, 6] x) => (float[N, 4] y) <float[4, 6] w = {...}, float[4] b = {...}> { y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, b) }`,
  "Gemm with a row of biases": `g (float[N, 6] x) => (float[N, 4] y) <float[6, 4] w = {...}, float[1, 4] b = {...}> { y = Gemm (x, w, b) }`,
  "MatMul without a bias": `g (float[N, 6] x) => (float[N, 4] y) <float[6, 4] w = {...}> { y = MatMul (x, w) }`,
  "MatMul of tokens and its bias": `g (float[N, 5, 6] x) => (float[N, 5, 4] y) <float[6, 4] w = {...}, float[4] b = {...}> { h = MatMul (x, w) y = Add (b, h) }`,
  "a matrix so wide that ONNX Runtime solves for it": `g (float[N, 20, 530] x) => (float[N, 20, 3] y) <float[530, 3] w = {...}, float[3] b = {...}> { h = MatMul (x, w) y = Add (b, h) }`,
  "a convolution before BatchNormalization": `g (${image}) => (float[N, 5, H, W] y) <float[5, 4, 3, 3] w = {...}, float[5] s = {1, 2, -0.5, 0.1, 3}, float[5] t = {1, 0, 2, -1, 0.5}, float[5] m = {0, 1, 2, 3, 4}, float[5] v = {1, 4, 2, 0.5, 3}> { h = Conv (x, w) y = BatchNormalization (h, s, t, m, v) }`,
};

describe("least squares finds the weights of the original", () => {
  for (const [name, text] of Object.entries(CASES)) {
    it(name, async () => {
      const original = modelOf(text);
      const other = spoilt(original);
      expect(await distance(runner, original, other)).toBeGreaterThan(0.1);
      const { model, recovery } = await recovered(runner, original, other, await normalSamples(original, 60));
      expect(recovery.left).toEqual([]);
      // float32 weights and sums: 1e-6 and a little.
      expect(await distance(runner, original, model)).toBeLessThan(1e-5);
      expect(recovery.after).toBeLessThan(recovery.before);
    });
  }

  it("of layers one after the other, each on what the corrected ones before it give", async () => {
    const original =
      modelOf(`g (${image}) => (float[N, 3] y) <float[6, 4, 3, 3] w1 = {...}, float[6] b1 = {...}, float[6, 6, 3, 3] w2 = {...},
      float[6] b2 = {...}, float[6, 3] w3 = {...}, float[3] b3 = {...}> {
      a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu (a) c = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) s = Add (c, r) t = Relu (s)
      p = GlobalAveragePool (t) f = Flatten (p) y = Gemm (f, w3, b3) }`);
    const { model } = await recovered(runner, original, spoilt(original), await normalSamples(original, 100));
    expect(await distance(runner, original, model)).toBeLessThan(1e-5);
  });
});

describe("layers that are left, with a reason", () => {
  const left = async (text: string) => {
    const original = modelOf(text);
    return (await recovered(runner, original, spoilt(original), await normalSamples(original, 20))).recovery.left.map((l) => l.why);
  };
  it("a weight that two layers share", async () => {
    expect(
      await left("g (float[N, 6] x) => (float[N, 6] y) <float[6, 6] w = {...}> { h = MatMul (x, w) r = Relu (h) y = MatMul (r, w) }"),
    ).toEqual(["its weight is shared", "its weight is shared"]);
  });
  it("a weight that the graph computes", async () => {
    expect(
      await left("g (float[N, 6] x) => (float[N, 6] y) <float[6, 6] w = {...}, float[6] s = {...}> { v = Mul (w, s) y = MatMul (x, v) }"),
    ).toEqual(["its weight is computed in the graph"]);
  });
});
