/** Running statistics of normalisations that are left in the graph are estimated anew. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cloneModel } from "../../src/graph/clone.js";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { findNode, findValue, modelOf } from "../support/build.js";
import { normalSamples, prunedBy, recovered } from "./support.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

const SAMPLES = 40;
/** Samples of `normalSamples(…, 40)` that fit: batches of 8, the third of each five is held out. */
const FITTING = [0, 8, 24, 32];

/** Mean and variance per channel of `name` over the samples that fit, by running the model. */
async function statisticsOf(model: Model, name: string): Promise<{ mean: number[]; variance: number[] }> {
  const copy = cloneModel(model);
  copy.graph.setOutputs([findValue(copy, name)]);
  const session = await runner.load(sourceOf(copy), { optimization: "disabled" });
  const samples = await normalSamples(model, SAMPLES);
  const sums: number[] = [];
  const squares: number[] = [];
  let count = 0;
  for (const from of FITTING) {
    const t = (await session.run(await samples.batch(from, from + 8)))[name] as Tensor;
    const [n, channels] = t.dims as [number, number];
    const size = t.size / n / channels;
    const numbers = t.numbers();
    for (let i = 0; i < numbers.length; i++) {
      const c = Math.floor(i / size) % channels;
      sums[c] = (sums[c] ?? 0) + (numbers[i] as number);
      squares[c] = (squares[c] ?? 0) + (numbers[i] as number) ** 2;
    }
    count += n * size;
  }
  await session.release();
  const mean = sums.map((s) => s / count);
  return { mean, variance: squares.map((s, c) => s / count - (mean[c] as number) ** 2) };
}

const constantOf = (model: Model, norm: string, index: number) => findNode(model, norm).inputs[index]?.constant as Tensor;
const parameter = (model: Model, norm: string, index: number) => Array.from(constantOf(model, norm, index).numbers());

/** `model` whose normalisations have the statistics of what they read, as a trained one has. */
async function settled(model: Model, norms: readonly string[]): Promise<Model> {
  for (const name of norms) {
    const node = findNode(model, name);
    const { mean, variance } = await statisticsOf(model, node.inputs[0]?.name as string);
    for (const [i, numbers] of [mean, variance].entries()) {
      const value = node.inputs[3 + i] as NonNullable<(typeof node.inputs)[number]>;
      model.graph.setConstant(value, Tensor.floats([numbers.length], numbers));
    }
  }
  return model;
}

const params = (k: number, channels: number) =>
  ["s", "t", "m", "v"]
    .map((p) => `float[${channels}] ${p}${k} = {${Array.from({ length: channels }, (_, c) => (p === "t" ? 0.3 * c - 0.5 : 1 + 0.2 * c))}}`)
    .join(", ");

const CASES: Readonly<Record<string, { text: string; norms: string[]; remove: Record<string, number[]> }>> = {
  "after a convolution": {
    text: `g (float[N, 2, 6, 6] x) => (float[N, 3, 6, 6] y) <float[6, 2, 3, 3] w1 = {...}, float[6] b1 = {...}, float[3, 6, 3, 3] w2 = {...}, ${params(1, 3)}> {
      a = Conv (x, w1, b1) r = Relu (a) c = Conv <pads = [2, 2, 2, 2]> (r, w2) n = BatchNormalization (c, s1, t1, m1, v1) y = Relu (n) }`,
    norms: ["n"],
    remove: { "w1:0": [1, 4] },
  },
  "before a convolution, after a sum, which no weights can stand in for": {
    text: `g (float[N, 4, 6, 6] x) => (float[N, 3, 6, 6] y) <float[6, 4, 1, 1] w1 = {...}, float[6] b1 = {...}, float[4, 6, 3, 3] w2 = {...}, float[3, 4, 1, 1] w3 = {...},
      ${params(1, 4)}> { a = Conv (x, w1, b1) r = Relu (a) c = Conv <pads = [1, 1, 1, 1]> (r, w2) s = Add (x, c)
      n = BatchNormalization (s, s1, t1, m1, v1) q = Relu (n) y = Conv (q, w3) }`,
    norms: ["n"],
    remove: { "w1:0": [0, 1, 5] },
  },
  "after a concatenation, and one after the other": {
    text: `g (float[N, 3, 6, 6] x) => (float[N, 3, 6, 6] y) <float[6, 3, 1, 1] w1 = {...}, float[6] b1 = {...}, float[3, 6, 3, 3] w2 = {...}, float[3, 6, 1, 1] w3 = {...},
      ${params(1, 6)}, ${params(2, 3)}> { a = Conv (x, w1, b1) r = Relu (a) c = Conv <pads = [1, 1, 1, 1]> (r, w2) s = Concat <axis = 1> (x, c)
      n = BatchNormalization (s, s1, t1, m1, v1) q = Relu (n) d = Conv (q, w3) k = BatchNormalization (d, s2, t2, m2, v2) y = Relu (k) }`,
    norms: ["n", "k"],
    remove: { "w1:0": [0, 1, 5] },
  },
  "of features without height and width": {
    text: `g (float[N, 12] x) => (float[N, 5] y) <float[12, 8] w1 = {...}, float[8] b1 = {...}, float[8, 5] w2 = {...}, float[5] b2 = {...}, ${params(1, 5)}> {
      a = Gemm (x, w1, b1) r = Relu (a) c = Gemm (r, w2, b2) n = BatchNormalization (c, s1, t1, m1, v1) y = Relu (n) }`,
    norms: ["n"],
    remove: { "w1:1": [0, 3, 6] },
  },
};

/** `original` without the channels that `remove` names, and what `normalise` makes of that. */
async function normalised(original: Model, remove: Readonly<Record<string, readonly number[]>>) {
  const { removal, pruned } = prunedBy(original, remove);
  return {
    pruned,
    ...(await recovered(runner, original, pruned, await normalSamples(original, SAMPLES), { method: "normalise" }, removal)),
  };
}

describe("normalise gives a normalisation the statistics of what it now reads", () => {
  for (const [name, { text, norms, remove }] of Object.entries(CASES)) {
    it(name, async () => {
      const original = await settled(modelOf(text), norms);
      const { pruned, model, recovery } = await normalised(original, remove);
      expect(recovery.steps.map((s) => s.kept)).toEqual([true]);
      expect(recovery.left).toEqual([]);
      expect(recovery.after).toBeLessThan(recovery.before);
      for (const norm of norms) {
        const { mean, variance } = await statisticsOf(model, findNode(model, norm).inputs[0]?.name as string);
        const [running, spread] = [parameter(model, norm, 3), parameter(model, norm, 4)];
        for (const [c, v] of variance.entries()) {
          expect(spread[c]).toBeCloseTo(v, 3);
          expect(Math.abs((running[c] as number) - (mean[c] as number))).toBeLessThan(2e-3 * Math.sqrt(v));
        }
        // γ and β, and the weights before it, are as they were.
        for (const index of [1, 2]) expect(parameter(model, norm, index)).toEqual(parameter(pruned, norm, index));
      }
      if (name === "after a convolution") expect(parameter(model, "c", 1)).toEqual(parameter(pruned, "c", 1));
    });
  }

  it("and a parameter that two share is changed for one", async () => {
    const shared = (CASES["after a convolution"] as (typeof CASES)[string]).text
      .replace("y = Relu (n)", "k = BatchNormalization (x2, s1, t1, m1, v1) z = Relu (k) y = Relu (n)")
      .replace("=> (", "=> (float[N, 3, 6, 6] z, ")
      .replace("x) =>", "x, float[N, 3, 6, 6] x2) =>");
    const original = modelOf(shared);
    const { pruned, model, recovery } = await normalised(original, { "w1:0": [1, 4] });
    expect(recovery.steps.map((s) => s.kept)).toEqual([true]);
    for (const index of [3, 4]) {
      // What reads x2 reads what it did.
      const [now, was] = [parameter(model, "k", index), parameter(pruned, "k", index)];
      for (const [c, x] of was.entries()) expect(now[c]).toBeCloseTo(x, 5);
      expect(Math.abs((parameter(model, "n", index)[0] as number) - (was[0] as number))).toBeGreaterThan(1e-3);
    }
  });

  it("and one whose statistics the graph computes stays, with the reason", async () => {
    const original =
      modelOf(`g (float[N, 3, 4, 4] x) => (float[N, 3, 4, 4] y) <float[3] s = {1, 1, 1}, float[3] t = {0, 0, 0}, float[3] v = {1, 1, 1}, float[3] m0 = {0, 0, 0},
      float[4, 3, 1, 1] w1 = {...}, float[3, 4, 1, 1] w2 = {...}> { a = Conv (x, w1) r = Relu (a) c = Conv (r, w2) m = Neg (m0) y = BatchNormalization (c, s, t, m, v) }`);
    const { recovery } = await normalised(original, { "w1:0": [1] });
    expect(recovery.left).toEqual([{ node: "y", why: "its parameters are not all constants" }]);
  });
});
