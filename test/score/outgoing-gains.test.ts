import { expect, test } from "vitest";
import { findGroups } from "../../src/graph/coupling/groups.js";
import { FoldedWeights } from "../../src/score/folded-weights.js";
import { type GainNorm, gainsOf } from "../../src/score/outgoing-gains.js";
import { modelOf } from "../support/build.js";

/** Per read of the first group: gains of each channel to each filter. */
function gains(text: string, norm: GainNorm = "l1"): number[][][] {
  const coupling = findGroups(modelOf(text));
  const group = coupling.groups.find((g) => g.name === "w:0");
  if (!group) throw new Error("The test has no such group.");
  const weights = new FoldedWeights((v) => coupling.typing.types.shape(v) ?? v.shape);
  return weights.consumers(group).map((read) => group.choices.map((_, k) => [...gainsOf(read, norm)(k)]));
}

const conv = (u: string) =>
  `g (float[1, 1, 4, 4] x) => (float[] y) <float[2, 1, 1, 1] w = {1, 1}, ${u}> { c = Conv (x, w) y = Conv (c, u) }`;

test("a kernel's gain is its norm over the taps, for each filter", () => {
  // Filter 0: channel 0 by (1, -2), channel 1 by (3, 4). Filter 1: (0, 0) and (-5, 12).
  const u = "float[2, 2, 1, 2] u = {1, -2, 3, 4, 0, 0, -5, 12}";
  expect(gains(conv(u))).toEqual([
    [
      [3, 0],
      [7, 17],
    ],
  ]);
  expect(gains(conv(u), "l2")).toEqual([
    [
      [Math.sqrt(5), 0],
      [5, 13],
    ],
  ]);
  expect(gains(conv(u), "taps")).toEqual([
    [
      [1, 2, 0, 0],
      [3, 4, 5, 12],
    ],
  ]);
});

test("batch normalisation behind a filter scales its gains", () => {
  const text = `g (float[1, 1, 4, 4] x) => (float[] y) <float[2, 1, 1, 1] w = {1, 1}, float[2, 2, 1, 1] u = {1, 2, 3, 4},
    float[2] s = {10, -1}, float[2] b = {0, 0}, float[2] m = {0, 0}, float[2] v = {1, 1}> {
    c = Conv (x, w) d = Conv (c, u) y = BatchNormalization <epsilon = 0.0> (d, s, b, m, v) }`;
  expect(gains(text)).toEqual([
    [
      [10, 3],
      [20, 4],
    ],
  ]);
});

test("of a flattened map each channel has one kernel over its positions", () => {
  const text = (op: string, dims: string) => `g (float[1, 1, 1, 2] x) => (float[1, 2] y)
    <float[2, 1, 1, 1] w = {1, 1}, float[${dims}] u = {1, 2, 3, 4, 5, 6, 7, 8}> { c = Conv (x, w) f = Flatten (c) y = ${op} (f, u) }`;
  // Rows 1 2 | 3 4 and 5 6 | 7 8, one filter each.
  expect(gains(text("Gemm <transB = 1>", "2, 4"))).toEqual([
    [
      [3, 11],
      [7, 15],
    ],
  ]);
  // Columns: filter 0 has 1 3 | 5 7, filter 1 has 2 4 | 6 8.
  expect(gains(text("MatMul", "4, 2"))).toEqual([
    [
      [4, 6],
      [12, 14],
    ],
  ]);
});

test("a convolution in groups reads a channel with the filters of its group, a transposed one with columns", () => {
  const groups = `g (float[1, 1, 4, 4] x) => (float[] y) <float[4, 1, 1, 1] w = {...}, float[4, 2, 1, 1] u = {1, 2, 3, 4, 5, 6, 7, 8}> {
    c = Conv (x, w) y = Conv <group = 2> (c, u) }`;
  const read = gains(groups).filter((of) => of.some((k) => k.length > 0));
  expect(read.map((of) => of.filter((k) => k.length > 0))).toEqual([
    [
      [1, 3],
      [2, 4],
    ],
    [
      [5, 7],
      [6, 8],
    ],
  ]);
  const transposed = `g (float[1, 1, 4, 4] x) => (float[] y) <float[2, 1, 1, 1] w = {1, 1}, float[2, 3, 1, 2] u = {1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6}> {
    c = Conv (x, w) y = ConvTranspose (c, u) }`;
  expect(gains(transposed)).toEqual([
    [
      [2, 4, 6],
      [8, 10, 12],
    ],
  ]);
});
