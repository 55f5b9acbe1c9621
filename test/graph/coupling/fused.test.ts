/**
 * Pruning of what ONNX Runtime's transformer optimiser and the exporters of large language models write: heads leave whole, dims
 * inside heads leave without sharpening the softmax, and every size and scale in attributes follows.
 */
import { describe, expect, test } from "vitest";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { findNode, findValue } from "../../support/build.js";
import { expectProven, fusedModel, groupNames } from "../../support/proven.js";

function why(text: string, value: string, axis: number): string | undefined {
  const c = findGroups(fusedModel(text));
  const a = c.typing.axesOf(findValue(c.typing.model, value))?.[axis];
  return a && c.typing.system.reason(a)?.text;
}

describe("Attention", () => {
  const WEIGHTS = "float[8,48] w = {...}, float[48] b = {...}, float[16,3] o = {...}";

  test("heads leave, and dims of Q and K and of V, other ones in every head", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[N,5,6] x) => (float[N,5,3] y) < float[6,8] a = {...}, ${WEIGHTS} > {
        h = MatMul (x, a)
        k = com.microsoft.Attention <num_heads = 4> (h, w, b)
        y = MatMul (k, o)
      }`),
      { groups: ["a:1 8", "w:1 16", "w:1/2 16", "w:1/3 4"] },
    );
    const k = findNode(sliced, "k");
    expect(k.int("num_heads")).toBe(2);
    // Q, K and V of one size need no statement.
    expect(k.ints("qkv_hidden_sizes")).toBeUndefined();
    // The scale of the heads as they were: 1/√4.
    expect(k.float("scale")).toBe(0.5);
    expect(findValue(sliced, "w").constant?.dims).toEqual([4, 12]);
  });

  test("with a mask, a V of another size and a scale of its own", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[2,5,8] x) => (float[2,5,3] y) < float[8,40] w = {...}, float[40] b = {...}, float[24,3] o = {...}, int32[2,5] m = {1, 1, 1, 0, 0, 1, 1, 1, 1, 1} > {
        k = com.microsoft.Attention <num_heads = 4, qkv_hidden_sizes = [8, 8, 24], scale = 0.3, unidirectional = 1> (x, w, b, m)
        y = MatMul (k, o)
      }`),
      { groups: ["w:1 24", "w:1/2 8", "w:1/3 4"] },
    );
    expect(findNode(sliced, "k").float("scale")).toBeCloseTo(0.3);
  });

  test("an attention_bias loses the heads that leave", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[1,5,8] x) => (float[1,5,3] y) < ${WEIGHTS}, float[1,4,5,5] ab = {...} > {
        k = com.microsoft.Attention <num_heads = 4> (x, w, b, , , ab)
        y = MatMul (k, o)
      }`),
      { groups: ["w:1 16", "w:1/2 16", "w:1/3 4"] },
    );
    expect(findValue(sliced, "ab").constant?.dims).toEqual([1, 2, 5, 5]);
  });

  test("a cache ties the dims of K to those of V; a graph output keeps them", async () => {
    const cached = (
      outputs: string,
    ) => `g (float[1,5,8] x) => (${outputs}) < ${WEIGHTS}, float[2,1,4,3,4] past = {...}, int64[2] axes = {0, 3} > {
      k, present = com.microsoft.Attention <num_heads = 4> (x, w, b, , past)
      p = MatMul (k, o)
      s = ReduceSum <keepdims = 0> (present, axes)
      y = Add (p, s2)
      s2 = ReduceSum (s)
    }`;
    const text = cached("float[1,5,3] y")
      .replace("y = Add (p, s2)\n", "")
      .replace("s2 = ReduceSum (s)", "s2 = ReduceSum (s)  y = Add (p, s2)");
    const { sliced } = await expectProven(fusedModel(text), { groups: ["past:4 4", "w:1 4"] });
    expect(findValue(sliced, "past").constant?.dims).toEqual([2, 1, 2, 3, 2]);
    const open = text.replace("=> (float[1,5,3] y)", "=> (float[1,5,3] y, float[2,1,4,8,4] present)");
    expect(groupNames(findGroups(fusedModel(open)))).toEqual([]);
  });

  test("that turns dims inside runs on GPUs only, and is kept", () => {
    const text = `g (float[N,5,8] x) => (float[N,5,3] y) < float[8,192] w = {...}, float[192] b = {...}, float[64,3] o = {...} > {
      k = com.microsoft.Attention <num_heads = 2, do_rotary = 1, unidirectional = 1> (x, w, b)
      y = MatMul (k, o)
    }`;
    expect(groupNames(findGroups(fusedModel(text)))).toEqual([]);
    expect(why(text, "w", 1)).toMatch(/on GPUs only/);
  });
});

describe("QAttention", () => {
  const HEAD = "float s = {0.05}, uint8 z = {120}, float r = {0.02}, uint8 u = {8}";
  const quantised = (
    weights: string,
    call: string,
  ) => `g (float[N,5,6] x) => (float[N,5,3] y) < ${HEAD}, ${weights}, float[48] b = {...}, float[16,3] o = {...} > {
    q = QuantizeLinear (x, s, z)
    k = com.microsoft.QAttention <num_heads = 4> (${call})
    y = MatMul (k, o)
  }`;

  test("a scale per column: heads leave, and as many dims of V as of Q and K", async () => {
    const { sliced } = await expectProven(
      fusedModel(quantised("uint8[6,48] w = {...}, float[48] ws = {...}, uint8[48] wz = {...}", "q, w, b, s, ws, , z, wz")),
      { groups: ["w:1 16", "w:1/2 16", "w:1/3 4"] },
    );
    expect(findNode(sliced, "k").int("num_heads")).toBe(2);
    expect(["w", "ws", "wz", "b"].map((v) => findValue(sliced, v).constant?.dims)).toEqual([[6, 12], [12], [12], [12]]);
  });

  test("one scale and no zero point", async () => {
    await expectProven(fusedModel(quantised("int8[6,48] w = {...}", "q, w, b, s, r, , z")), {
      groups: ["w:1 16", "w:1/2 16", "w:1/3 4"],
    });
  });

  test("one scale and a zero point that is not 0", async () => {
    await expectProven(fusedModel(quantised("uint8[6,48] w = {...}", "q, w, b, s, r, , z, u")), {
      groups: ["w:1 16", "w:1/2 16", "w:1/3 4"],
    });
  });
});

describe("MultiHeadAttention", () => {
  const PROJECTED = `float[6,8] wq = {...}, float[6,8] wk = {...}, float[6,12] wv = {...}, float[12,3] o = {...}`;
  const SAME_SIZE = PROJECTED.replaceAll("12", "8");
  const PROJECTIONS = "q = MatMul (x, wq)  k = MatMul (x, wk)  v = MatMul (x, wv)";

  test("heads, dims of Q and K, and dims of V; the scale stays", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[N,5,6] x) => (float[N,5,3] y) < ${PROJECTED} > {
        ${PROJECTIONS}
        a = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v)
        y = MatMul (a, o)
      }`),
      { groups: ["wq:1 8", "wq:1/2 2", "wv:1 12"] },
    );
    expect(findNode(sliced, "a").float("scale")).toBe(0.5);
    expect(findNode(sliced, "a").int("num_heads")).toBe(1);
  });

  test("with a packed bias, a mask and an attention_bias", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[2,5,6] x) => (float[2,5,3] y) < ${PROJECTED}, float[28] b = {...}, int32[2,5] m = {1, 1, 1, 0, 0, 1, 1, 1, 1, 1},
        float[1,2,5,5] ab = {...} > {
        ${PROJECTIONS}
        a = com.microsoft.MultiHeadAttention <num_heads = 2, unidirectional = 1> (q, k, v, b, m, ab)
        y = MatMul (a, o)
      }`),
      { groups: ["wq:1 8", "wq:1/2 2", "wv:1 12"] },
    );
    expect(findValue(sliced, "b").constant?.dims).toEqual([2 + 2 + 3]);
  });

  test("with caches, and K and V out of a cache: as many dims of V as of Q and K", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[2,5,6] x) => (float[2,5,3] y) < ${SAME_SIZE}, float[2,2,3,4] pk = {...}, float[2,2,3,4] pv = {...}, float[6,8] wr = {...}, float[8,3] p = {...} > {
        ${PROJECTIONS}
        a, nk, nv = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v, , , , pk, pv)
        r = MatMul (x, wr)
        c = com.microsoft.MultiHeadAttention <num_heads = 2> (r, nk, nv)
        d = MatMul (a, o)
        e = MatMul (c, p)
        y = Add (d, e)
      }`),
      { groups: ["wq:1 4", "wq:1/2 2", "wv:1 4"] },
    );
    expect(findValue(sliced, "pv").constant?.dims).toEqual([2, 1, 3, 2]);
  });

  test("Q, K and V packed in one tensor are kept", () => {
    const text = `g (float[N,5,6] x) => (float[N,5,3] y) < float[6,24] w = {...}, int64[5] s = {0, 5, 2, 3, 4}, float[8,3] o = {...} > {
      h = MatMul (x, w)
      p = Reshape (h, s)
      a = com.microsoft.MultiHeadAttention <num_heads = 2> (p)
      y = MatMul (a, o)
    }`;
    expect(groupNames(findGroups(fusedModel(text)))).toEqual([]);
    expect(why(text, "p", 4)).toBe("MultiHeadAttention reads Q, K and V packed in one tensor");
  });
});

describe("GroupQueryAttention", () => {
  const LENGTHS = "int32[2] sl = {4, 4}, int32 total = {5}";

  test("heads of K and V with their groups, places within groups, and blocks of dims, as many of V as of Q", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[2,5,6] x) => (float[2,5,3] y) < float[6,128] wq = {...}, float[6,32] wk = {...}, float[6,32] wv = {...}, float[128,3] o = {...}, ${LENGTHS} > {
        q = MatMul (x, wq)
        k = MatMul (x, wk)
        v = MatMul (x, wv)
        a = com.microsoft.GroupQueryAttention <num_heads = 8, kv_num_heads = 2> (q, k, v, , , sl, total)
        y = MatMul (a, o)
      }`),
      { groups: ["wq:1 8", "wq:1/2 4", "wq:1/3 2", "wv:1 4"] },
    );
    const a = findNode(sliced, "a");
    expect([a.int("num_heads"), a.int("kv_num_heads"), a.float("scale")]).toEqual([2, 1, 0.25]);
  });

  test("packed and turned: pairs leave with their columns of the caches", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[2,5,6] x) => (float[2,5,3] y) < float[6,256] w = {...}, float[128,3] o = {...}, ${LENGTHS}, float[9,16] cos = {...}, float[9,16] sin = {...} > {
        q = MatMul (x, w)
        a = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2, do_rotary = 1> (q, , , , , sl, total, cos, sin)
        y = MatMul (a, o)
      }`),
      { groups: ["w:1 4", "w:1/2 2", "w:1/3 2", "w:1/4 2"] },
    );
    expect(findValue(sliced, "cos").constant?.dims).toEqual([9, 8]);
    expect(findNode(sliced, "a").float("scale")).toBeCloseTo(1 / Math.sqrt(32), 7);
  });

  test("partly turned, interleaved, with an attention_bias and a sink per head", async () => {
    await expectProven(
      fusedModel(`g (float[2,5,6] x) => (float[2,5,3] y) < float[6,512] w = {...}, float[256,3] o = {...}, ${LENGTHS}, float[9,16] cos = {...}, float[9,16] sin = {...},
        float[1,4,5,5] ab = {...}, float[4] sink = {...} > {
        q = MatMul (x, w)
        a = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2, do_rotary = 1, rotary_interleaved = 1, smooth_softmax = 1>
          (q, , , , , sl, total, cos, sin, , ab, sink)
        y = MatMul (a, o)
      }`),
      { groups: ["w:1 8", "w:1/2 4", "w:1/3 2", "w:1/4 2", "w:1/5 2"] },
    );
  });

  test("caches that are inputs and outputs of the model keep heads of K and V and dims; places within groups leave", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[2,1,6] x, float[2,2,4,8] pk, float[2,2,4,8] pv) => (float[2,1,3] y, float[2,2,5,8] nk, float[2,2,5,8] nv) <
        float[6,64] wq = {...}, float[6,16] wk = {...}, float[6,16] wv = {...}, float[64,3] o = {...}, ${LENGTHS} > {
        q = MatMul (x, wq)
        k = MatMul (x, wk)
        v = MatMul (x, wv)
        a, nk, nv = com.microsoft.GroupQueryAttention <num_heads = 8, kv_num_heads = 2> (q, k, v, pk, pv, sl, total)
        y = MatMul (a, o)
      }`),
      { groups: ["wq:1 8"] },
    );
    expect(findNode(sliced, "a").int("num_heads")).toBe(4);
  });
});

describe("RotaryEmbedding of com.microsoft", () => {
  test("pairs leave with their columns of the caches, heads with num_heads", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[2,5,6] x) => (float[2,5,3] y) < float[6,16] wq = {...}, float[6,16] wk = {...}, float[6,16] wv = {...}, float[16,3] o = {...},
        int64[1] at = {2}, float[9,2] cos = {...}, float[9,2] sin = {...} > {
        q = MatMul (x, wq)
        k = MatMul (x, wk)
        v = MatMul (x, wv)
        tq = com.microsoft.RotaryEmbedding <num_heads = 2, rotary_embedding_dim = 4> (q, at, cos, sin)
        tk = com.microsoft.RotaryEmbedding <num_heads = 2, rotary_embedding_dim = 4> (k, at, cos, sin)
        a = com.microsoft.MultiHeadAttention <num_heads = 2> (tq, tk, v)
        y = MatMul (a, o)
      }`),
      { groups: ["wq:1 8", "wq:1/2 2", "wq:1/3 2", "wv:1 16"] },
    );
    expect(findNode(sliced, "tq").int("rotary_embedding_dim")).toBe(2);
    expect(findNode(sliced, "tq").int("num_heads")).toBe(1);
  });

  test("interleaved, rank 4, and the size told by the caches", async () => {
    await expectProven(
      fusedModel(`g (float[2,5,6] x) => (float[2,5,3] y) < float[6,16] wq = {...}, float[16,3] o = {...}, int64[1] at = {1}, float[9,4] cos = {...}, float[9,4] sin = {...},
        int64[4] s = {2, 5, 2, 8}, int64[3] t = {2, 5, 16} > {
        q = MatMul (x, wq)
        h = com.microsoft.RotaryEmbedding (q, at, cos, sin)
        r = Reshape (h, s)
        p = Transpose <perm = [0, 2, 1, 3]> (r)
        i = com.microsoft.RotaryEmbedding (p, at, cos, sin)
        j = Transpose <perm = [0, 2, 1, 3]> (i)
        u = Reshape (j, t)
        y = MatMul (u, o)
      }`),
      { groups: ["wq:1 4", "wq:1/2 2"] },
    );
    await expectProven(
      fusedModel(`g (float[2,5,6] x) => (float[2,5,3] y) < float[6,16] wq = {...}, float[16,3] o = {...}, int64[1] at = {1}, float[9,4] cos = {...}, float[9,4] sin = {...} > {
        q = MatMul (x, wq)
        h = com.microsoft.RotaryEmbedding <interleaved = 1> (q, at, cos, sin)
        y = MatMul (h, o)
      }`),
      { groups: ["wq:1 4", "wq:1/2 2"] },
    );
  });
});

describe("products", () => {
  test("FusedMatMul in every spelling", async () => {
    await expectProven(
      fusedModel(`g (float[4,3,6] x) => (float[4,3,5] y) < float[6,8] a = {...}, float[7,8] b = {...}, float[3,7,5] c = {...} > {
        h = com.microsoft.FusedMatMul <alpha = 0.5> (x, a)
        i = com.microsoft.FusedMatMul <transB = 1> (h, b)
        j = Transpose <perm = [1, 0, 2]> (i)
        k = com.microsoft.FusedMatMul <transBatchA = 1> (i, c)
        l = Transpose <perm = [1, 2, 0]> (i)
        m = com.microsoft.FusedMatMul <transA = 1> (l, c)
        n = com.microsoft.TransposeMatMul (j, c)
        u = Sum (k, m, n)
        y = Transpose <perm = [1, 0, 2]> (u)
      }`),
      { groups: ["a:1 8", "b:0 7"] },
    );
  });

  test("batches that are transposed carry channels too", async () => {
    await expectProven(
      fusedModel(`g (float[4,6] x) => (float[4,5] y) < float[6,8] a = {...}, int64[3] s = {4, 8, 1}, int64[2] t = {8, 4}, float[8,1,3] b = {...}, float[8,3,5] c = {...}, int64[1] axis = {0} > {
        h = MatMul (x, a)
        i = Reshape (h, s)
        k = com.microsoft.FusedMatMul <transBatchA = 1> (i, b)
        l = MatMul (k, c)
        y = ReduceSum <keepdims = 0> (l, axis)
      }`),
      { groups: ["a:1 8", "b:2 3"] },
    );
  });

  test("FusedGemm and FusedConv with a residual", async () => {
    await expectProven(
      fusedModel(`g (float[N,3,4,4] x) => (float[N,3] y) < float[8,3,3,3] a = {...}, float[8] ab = {...}, float[8,3,1,1] b = {...}, float[6,8] c = {...}, float[6] cb = {...}, float[6,3] d = {...} > {
        h = Conv <pads = [1,1,1,1]> (x, a)
        i = com.microsoft.FusedConv <activation = "Relu"> (x, b, ab, h)
        p = GlobalAveragePool (i)
        f = Flatten (p)
        j = com.microsoft.FusedGemm <transB = 1, activation = "Sigmoid"> (f, c, cb)
        y = MatMul (j, d)
      }`),
      { groups: ["a:0 8", "c:0 6"] },
    );
  });
});

describe("activations and normalisations", () => {
  test("BiasGelu, FastGelu and QuickGelu act on each channel", async () => {
    await expectProven(
      fusedModel(`g (float[N,5] x) => (float[N,3] y) < float[5,8] a = {...}, float[8] ab = {...}, float[8,6] b = {...}, float[6] bb = {...}, float[6,7] c = {...}, float[7,3] d = {...} > {
        h = MatMul (x, a)
        i = com.microsoft.BiasGelu (h, ab)
        j = MatMul (i, b)
        k = com.microsoft.FastGelu (j, bb)
        l = MatMul (k, c)
        m = com.microsoft.QuickGelu (l)
        y = MatMul (m, d)
      }`),
      { groups: ["a:1 8", "b:1 6", "c:1 7"] },
    );
  });

  test("a transformer block of fused operators: the residual axis stays, heads and the inner layer are free", async () => {
    const block = `g (float[2,5,6] x) => (float[2,5,3] y) < float[6,8] e = {...}, float[8] g0 = {...}, float[8,24] w = {...}, float[24] b = {...}, float[8,8] o = {...},
      float[8] g1 = {...}, float[8] b1 = {...}, float[8] c1 = {...}, float[8,20] u = {...}, float[20] ub = {...}, float[20,8] d = {...}, float[8] g2 = {...}, float[8,3] h = {...} > {
      i = MatMul (x, e)
      n = SimplifiedLayerNormalization (i, g0)
      a = com.microsoft.Attention <num_heads = 2> (n, w, b)
      p = MatMul (a, o)
      s, , , t = com.microsoft.SkipLayerNormalization (p, i, g1, b1, c1)
      q = MatMul (s, u)
      r = com.microsoft.BiasGelu (q, ub)
      v = MatMul (r, d)
      z = com.microsoft.SkipSimplifiedLayerNormalization (v, t, g2)
      y = MatMul (z, h)
    }`;
    await expectProven(fusedModel(block), { groups: ["w:1 8", "w:1/2 8", "w:1/3 2", "u:1 20"] });
    expect(why(block, "e", 1)).toBe("SimplifiedLayerNormalization normalises over it");
    expect(why(block, "d", 1)).toBe("SimplifiedLayerNormalization normalises over it");
  });

  test("batches pass through Skip and Embed normalisations; tables stay", () => {
    const text = `g (int32[N,5] ids) => (float[N,5,3] y) < float[9,8] w = {...}, float[5,8] p = {...}, float[8] ga = {...}, float[8] be = {...}, float[8,3] o = {...} > {
      e, m = com.microsoft.EmbedLayerNormalization (ids, , w, p, , ga, be)
      y = MatMul (e, o)
    }`;
    expect(groupNames(findGroups(fusedModel(text)))).toEqual([]);
    expect(why(text, "w", 0)).toBe("EmbedLayerNormalization looks rows up in it");
    expect(why(text, "o", 0)).toBe("EmbedLayerNormalization normalises over it");
  });

  test("operators that only GPUs run are kept whole", () => {
    const text = `g (float[N,5,6] x) => (float[N,5,3] y) < float[6,8] a = {...}, float[8] b = {...}, float[4,3] o = {...} > {
      h = MatMul (x, a)
      k = com.microsoft.BiasSplitGelu (h, b)
      y = MatMul (k, o)
    }`;
    expect(why(text, "a", 1)).toBe("ONNX Runtime has no CPU kernel for it: a removal could not be proven");
  });

  test("Inverse reads whole matrices, of which a batch may leave", async () => {
    await expectProven(
      fusedModel(`g (float[N,6] x) => (float[N,4] y) < float[6,8] a = {...}, float[8,2,2] b = {...}, float[8,4] c = {...}, int64[2] s = {8, 4} > {
        h = MatMul (x, a)
        i = com.microsoft.Inverse (b)
        j = Reshape (i, s)
        k = Add (j, c)
        y = MatMul (h, k)
      }`),
      { groups: ["a:1 8"] },
    );
  });
});
