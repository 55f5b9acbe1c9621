import { describe, expect, test } from "vitest";
import { foldBatchNorm } from "../../src/passes/fold-batch-norm.js";
import { runPass } from "../../src/passes/run-pass.js";
import { bnScale } from "../../src/score/bn-scale.js";
import { criteria } from "../../src/score/criteria.js";
import { fpgm } from "../../src/score/fpgm.js";
import { l1, l2 } from "../../src/score/norm.js";
import { random } from "../../src/score/random.js";
import { removeBlocks } from "../../src/score/remove-blocks.js";
import { modelOf } from "../support/build.js";
import { activations, gauss } from "./activations.js";
import { removalOrder, score } from "./scoring.js";

/** One layer of four filters of two weights, read by a Conv of known weights. */
const layer = (weights: string, bias = "0, 0, 0, 0") =>
  modelOf(`g (float[1, 2, 4, 4] x) => (float[] y)
  <float[4, 2, 1, 1] w = {${weights}}, float[4] b = {${bias}}, float[1, 4, 1, 1] u = {1, 1, 1, 1}> {
    c = Conv (x, w, b) r = Relu (c) y = Conv (r, u) }`);

const bn = `float[4] g = {4, -1, 3, 2}, float[4] b = {0, 0, 0, 0}, float[4] m = {0, 0, 0, 0}, float[4] v = {1, 1, 1, 1}`;
const normed =
  modelOf(`g (float[1, 2, 4, 4] x) => (float[] y) <float[4, 2, 1, 1] w = {1, 1, 1, -1, -1, 1, 1, 1}, ${bn}, float[1, 4, 1, 1] u = {1, 1, 1, 1}> {
  c = Conv (x, w) n = BatchNormalization <epsilon = 0.0> (c, g, b, m, v) r = Relu (n) y = Conv (r, u) }`);

const close = (scores: Float64Array) => Array.from(scores, (s) => Math.round(s * 1e6) / 1e6);

test("l1 is the sum of magnitudes over the mean of the layer", () => {
  // Norms 2, 4, 6, 8; mean 5.
  expect(close(score(l1, layer("1, -1, 2, 2, -3, 3, 8, 0")).scores)).toEqual([0.4, 0.8, 1.2, 1.6]);
});

test("l2 is the Euclidean length over the mean of the layer", () => {
  // Lengths 5, 10, 5, 0; mean 5.
  expect(close(score(l2, layer("3, -4, 6, 8, 5, 0, 0, 0")).scores)).toEqual([1, 2, 1, 0]);
});

test("a bias counts only when asked for", () => {
  const model = layer("1, 1, 1, 1, 1, 1, 1, 1", "0, 0, 0, 4");
  expect(close(score(l1, model).scores)).toEqual([1, 1, 1, 1]);
  expect(close(score(l1, model, { bias: true }).scores)).toEqual([2 / 3, 2 / 3, 2 / 3, 2].map((x) => Math.round(x * 1e6) / 1e6));
});

test("fpgm is the mean distance to the other filters: the median filter goes first, however large", () => {
  const result = score(fpgm, layer("10, 0, 11, 0, 9, 0, 20, 0"));
  // Distances to the others: 1+1+10, 1+2+9, 1+2+11, 10+9+11.
  const sums = [12, 12, 14, 30];
  expect(close(result.scores)).toEqual(sums.map((s) => Math.round((s / 17) * 1e6) / 1e6));
  expect(removalOrder(result)[0]).toBe(0);
});

test("bn-scale is |γ|", () => {
  const result = score(bnScale, normed);
  expect(Array.from(result.scores)).toEqual([4, 1, 3, 2]);
  expect(result.notes).toEqual([]);
});

test("bn-scale without BatchNormalization ranks by the folded filters, and tells", () => {
  const result = score(bnScale, runPass(foldBatchNorm, normed).model);
  expect(removalOrder(result)).toEqual([1, 3, 2, 0]);
  expect(result.notes.map((n) => [n.code, n.about])).toEqual([["NO_BATCH_NORM", "w:0"]]);
});

test.each([l1, l2, fpgm])("$name does not depend on whether batch normalisation is folded", (criterion) => {
  const a = close(score(criterion, normed).scores);
  expect(a).toEqual(close(score(criterion, runPass(foldBatchNorm, normed).model).scores));
  expect(new Set(a).size).toBeGreaterThan(1);
});

test("each layer that makes a channel counts the same, however long its filters", () => {
  const text = (long: string) =>
    modelOf(`g (float[1, 1, 4, 4] x) => (float[] y)
    <float[2, 1, 1, 1] a = {1, 3}, float[2, 1, 2, 2] b = {${long}}, float[1, 2, 1, 1] u = {1, 1}> {
      c = Conv (x, a) d = Conv <auto_pad = "SAME_UPPER"> (x, b) s = Add (c, d) y = Conv (s, u) }`);
  // Shares 0.5 and 1.5 of one layer, 1.5 and 0.5 of the other.
  expect(close(score(l1, text("300, 300, 300, 300, 100, 100, 100, 100")).scores)).toEqual([1, 1]);
});

describe("random", () => {
  test("depends on seed and group name only", () => {
    const model =
      modelOf(`g (float[1, 2, 4, 4] x) => (float[] y) <float[4, 2, 1, 1] w = {...}, float[4, 4, 1, 1] w2 = {...}, float[1, 4, 1, 1] u = {...}> {
      c = Conv (x, w) r = Relu (c) d = Conv (r, w2) s = Relu (d) y = Conv (s, u) }`);
    const alone = score(random, layer("1, 1, 1, 1, 1, 1, 1, 1"), {}, "w:0", 7);
    expect(score(random, model, {}, "w:0", 7).scores).toEqual(alone.scores);
    expect(score(random, model, {}, "w2:0", 7).scores).not.toEqual(alone.scores);
    expect(score(random, model, {}, "w:0", 8).scores).not.toEqual(alone.scores);
  });
});

describe.each(criteria.map((c) => [c.name, c] as const))("%s", (_, criterion) => {
  test("scores every channel of every group with a finite number (of at least 0 where groups are compared by their means), the same each time", () => {
    const model = modelOf(`g (float[1, 3, 8, 8] x) => (float[] y)
      <float[8, 3, 3, 3] w = {...}, float[8, 1, 3, 3] dw = {...}, float[8] g = {...}, float[8] b = {...}, float[8] m = {...}, float[8] v = {...},
       float[8, 4, 1, 1] w2 = {...}, float[8] sl = {...}, float[6, 8, 1, 1] w3 = {...}, float[54, 4] u = {...}> {
      c = Conv (x, w)
      n = BatchNormalization (c, g, b, m, v)
      d = Conv <group = 8, pads = [1, 1, 1, 1]> (n, dw)
      r = Relu (d)
      e = Conv <group = 2> (r, w2)
      q = Add (e, r)
      k = Conv <strides = [2, 2]> (q, w3)
      f = Flatten (k)
      y = MatMul (f, u)
    }`);
    // What a criterion may keep whole by default is scored, too.
    const { success, data } = criterion.options.safeParse({ linked: "prune" });
    const options = success ? data : criterion.options.parse({});
    const normal = activations(60, ({ value }, k, n, p) => gauss(`${value} ${k} ${n} ${p}`) + (k % 3) * (n % 4), 4);
    const first = score(criterion, model, options, undefined, 0, normal);
    for (const g of first.coupling.groups) {
      const [a, b] = [score(criterion, model, options, g.name, 0, normal), score(criterion, model, options, g.name, 0, normal)];
      expect(a.scores).toHaveLength(g.choices.length);
      expect(a.whole).toBe(criterion === removeBlocks ? "only whole blocks leave" : undefined);
      expect(a.scores.every((s) => Number.isFinite(s) && (criterion.comparable || s >= 0))).toBe(true);
      expect(a.scores).toEqual(b.scores);
      expect([...removalOrder(a)].sort((p, q) => p - q)).toEqual([...g.choices.keys()]);
    }
  });

  test("refuses options it does not know", () => {
    expect(criterion.options.safeParse({ nosuch: 1 }).success).toBe(false);
  });
});
