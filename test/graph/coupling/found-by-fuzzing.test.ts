/** Graphs that random search found wrong once, cut down: each removal computes what the oracle computes. */
import { expect, test } from "vitest";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { modelOf } from "../../support/build.js";
import { prove, randomRemoval } from "../../support/oracle.js";
import { extentOf } from "../../support/recipe.js";

const graphs: readonly (readonly [story: string, text: string, opset: number])[] = [
  [
    "channels whose number only a run knows, into a convolution of one group",
    `g (float[N,5,H6,W6] x) => (float[N,a,b,c] y) <float[10,6,2,1] w = {...}, float[10] b = {...}, float[3,10,1,1] v = {...}> {
      t = Transpose <perm = [0, 3, 2, 1]> (x)
      c = Conv <strides = [2, 2], dilations = [2, 1], pads = [0, 1, 1, 0]> (t, w, b)
      y = Conv (c, v) }`,
    18,
  ],
  [
    "frozen and free channels alternate where a view cuts them in rows",
    `g (float[2,4,4,4] x, float[2,1,2,2] k) => (float[2,2,2,3] y) <float[4,4,1,1] w = {...}, float[2,4,1,1] u = {...}, int64[5] n = {2, 2, 0, 2, 2},
      int64[4] m = {2, 4, 2, 2}, float[2,4,1,1] t = {...}, float[4,3] v = {...}> {
      a = Conv (x, w)
      p = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (a)
      c = Conv (p, u)
      d = Concat <axis = 1> (k, k, c)
      r = Reshape (d, n)
      s = Reshape (r, m)
      e = Conv (p, t)
      f = Concat <axis = 1> (k, e, k)
      h = Add (s, f)
      q = Transpose <perm = [0, 2, 3, 1]> (h)
      y = MatMul (q, v) }`,
    21,
  ],
  [
    "the same with rows of two, and other places",
    `g (float[2,6,8,8] x, float[2,1,8,8] k, float[2,3,8,8] l) => (float[2,3,8,8] y) <float[3,6,1,1] v = {...}, float[2,6,1,1] u = {...},
      int64[5] n = {0, -1, 2, 8, 8}, int64[4] m = {-1, 6, 8, 0}, float[2,6,1,1] t = {...}> {
      c = Conv (x, u)
      d = Concat <axis = 1> (l, c, k)
      r = Reshape (d, n)
      s = Reshape (r, m)
      e = Conv (x, t)
      f = Concat <axis = 1> (l, k, e)
      h = Add (s, f)
      y = Conv (h, v) }`,
    13,
  ],
];

test.each(graphs)("%s", async (_, text, opset) => {
  for (let seed = 1; seed <= 12; seed++) {
    const coupling = findGroups(modelOf(text, opset));
    const removed = randomRemoval(coupling, seed, seed % 2 === 0 ? 0.5 : undefined);
    const { maxRel } = await prove(coupling, removed, { seed, extent: extentOf });
    expect(maxRel, `seed ${seed}`).toBeLessThanOrEqual(1e-5);
  }
});
