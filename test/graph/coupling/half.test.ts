/** Pruning of float16 models, weights and activations: sums of fewer terms round like the oracle's, to the tolerance of the type (ARCHITECTURE.md, "Numbers that must be equal"). */
import { expect, test } from "vitest";
import { findValue } from "../../support/build.js";
import { expectProven, fusedModel } from "../../support/proven.js";

/** max|Δ| / max|reference| allowed in float16. */
const TOLERANCE = 5e-3;

test("convolutions, normalisation, a residual and a classifier", async () => {
  const { sliced } = await expectProven(
    fusedModel(`g (float[N,3,6,6] x) => (float[N,4] y) < float16[8,3,3,3] a = {...}, float16[8] ab = {...}, float16[8] s = {...}, float16[8] b = {...}, float16[8] m = {...}, float16[8] v = {...},
      float16[8,1,3,3] d = {...}, float16[8,8,1,1] p = {...}, float16[8,4] f = {...}, float16[4] fb = {...} > {
      h = Cast <to = 10> (x)
      i = Conv <pads = [1,1,1,1]> (h, a, ab)
      j = BatchNormalization (i, s, b, m, v)
      k = Relu (j)
      l = Conv <pads = [1,1,1,1], group = 8> (k, d)
      n = Conv (l, p)
      o = Add (n, k)
      q = GlobalAveragePool (o)
      r = Flatten (q)
      t = Gemm (r, f, fb)
      y = Cast <to = 1> (t)
    }`),
    { groups: ["a:0 8"], tolerance: TOLERANCE },
  );
  expect(findValue(sliced, "a").constant?.dtype).toBe("float16");
});

test("a block of fused operators with grouped queries, and a weight of 4 bits", async () => {
  await expectProven(
    fusedModel(`g (float[2,5,6] x) => (float[2,5,3] y) < float16[6,32] e = {...}, float16[32] g0 = {...}, float16[32,64] wq = {...}, float16[32,32] wk = {...}, float16[32,32] wv = {...}, float16[64,32] o = {...},
      int32[2] sl = {4, 4}, int32 total = {5}, float16[32] g1 = {...}, uint8[48,2,8] u = {...}, float16[48,2] us = {...}, float16[48,32] d = {...}, float16[32,3] h = {...} > {
      xh = Cast <to = 10> (x)
      i = MatMul (xh, e)
      n = SimplifiedLayerNormalization (i, g0)
      q = MatMul (n, wq)
      k = MatMul (n, wk)
      v = MatMul (n, wv)
      a = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2> (q, k, v, , , sl, total)
      p = MatMul (a, o)
      s, , , t = com.microsoft.SkipSimplifiedLayerNormalization (p, i, g1)
      w = com.microsoft.MatMulNBits <K = 32, N = 48, block_size = 16, bits = 4> (s, u, us)
      c = com.microsoft.FastGelu (w)
      z = MatMul (c, d)
      r = Add (z, t)
      l = MatMul (r, h)
      y = Cast <to = 1> (l)
    }`),
    { groups: ["wq:1 2", "wq:1/2 2", "wq:1/3 2", "wv:1 2", "u:0 48"], tolerance: TOLERANCE },
  );
});

test("Q, K and V with a bias: what the oracle silences is float16 too", async () => {
  await expectProven(
    fusedModel(`g (float[2,5,6] x) => (float[2,5,3] y) < float16[6,8] wq = {...}, float16[6,8] wk = {...}, float16[6,8] wv = {...}, float16[24] b = {...}, float16[8,3] o = {...} > {
      h = Cast <to = 10> (x)
      q = MatMul (h, wq)
      k = MatMul (h, wk)
      v = MatMul (h, wv)
      a = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v, b)
      p = MatMul (a, o)
      y = Cast <to = 1> (p)
    }`),
    { groups: ["wq:1 2", "wq:1/2 4", "wv:1 4"], tolerance: TOLERANCE },
  );
});
