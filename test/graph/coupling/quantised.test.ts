/**
 * Pruning of quantised models: sums of integers equal the oracle's to the last bit, scales and zero points leave with their
 * channels, and an axis whose scale a run finds out from all of its elements stays.
 */
import { describe, expect, test } from "vitest";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { findNode, findValue } from "../../support/build.js";
import { expectProven, fusedModel, groupNames } from "../../support/proven.js";

/** Every model quantises its input by s = 0.05 and zero point 120. */
const HEAD = "float s = {0.05}, uint8 z = {120}, float t = {0.2}, uint8 w = {8}, float r = {0.07}, int8 o = {0}";

function why(text: string, value: string, axis: number): string | undefined {
  const c = findGroups(fusedModel(text));
  const a = c.typing.axesOf(findValue(c.typing.model, value))?.[axis];
  return a && c.typing.system.reason(a)?.text;
}

describe("QLinearConv", () => {
  test("channels leave with their scale, zero point and bias; pads add nothing", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[N,3,6,6] x) => (float[N,4,6,6] y) < ${HEAD},
        uint8[8,3,3,3] a = {...}, float[8] as = {0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2}, uint8[8] az = {8, 7, 6, 5, 8, 7, 6, 5}, int32[8] ab = {...},
        uint8[4,8,3,3] b = {...} > {
        q = QuantizeLinear (x, s, z)
        h = QLinearConv <pads = [1,1,1,1]> (q, s, z, a, as, az, t, z, ab)
        k = QLinearConv <pads = [1,1,1,1]> (h, t, z, b, r, w, t, z)
        y = DequantizeLinear (k, t, z)
      }`),
      { groups: ["a:0 8"], tolerance: 0 },
    );
    expect(["a", "as", "az", "ab", "b"].map((v) => findValue(sliced, v).constant?.dims)).toEqual([
      [4, 3, 3, 3],
      [4],
      [4],
      [4],
      [4, 4, 3, 3],
    ]);
  });

  test("grouped and depthwise", async () => {
    await expectProven(
      fusedModel(`g (float[N,3,6,6] x) => (float[N,4,6,6] y) < ${HEAD},
        uint8[8,3,1,1] a = {...}, uint8[8,1,3,3] d = {...}, float[8] ds = {0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2}, uint8[8] dz = {8, 7, 6, 5, 8, 7, 6, 5},
        uint8[8,4,3,3] b = {...}, uint8[4,8,1,1] c = {...} > {
        q = QuantizeLinear (x, s, z)
        h = QLinearConv (q, s, z, a, r, w, t, z)
        i = QLinearConv <pads = [1,1,1,1], group = 8> (h, t, z, d, ds, dz, t, z)
        j = QLinearConv <pads = [1,1,1,1], group = 2> (i, t, z, b, r, w, t, z)
        k = QLinearConv (j, t, z, c, r, w, t, z)
        y = DequantizeLinear (k, t, z)
      }`),
      { groups: ["a:0 8", "b:0 8"], tolerance: 0 },
    );
  });

  test("with channels last, between pools, a sum and a concatenation of quantised tensors", async () => {
    await expectProven(
      fusedModel(`g (float[N,6,6,3] x) => (float[N,1,1,4] y) < ${HEAD},
        uint8[8,3,3,3] a = {...}, uint8[8,3,3,3] b = {...}, uint8[4,8,1,1] c = {...}, uint8[4,12,1,1] d = {...} > {
        q = QuantizeLinear (x, s, z)
        h = com.microsoft.QLinearConv <channels_last = 1, pads = [1,1,1,1]> (q, s, z, a, r, w, t, z)
        i = com.microsoft.QLinearConv <channels_last = 1, pads = [1,1,1,1]> (q, s, z, b, r, w, t, z)
        k = com.microsoft.QLinearAdd (h, t, z, i, t, z, t, z)
        l = com.microsoft.QLinearLeakyRelu <alpha = 0.1> (k, t, z, t, z)
        m = com.microsoft.NhwcMaxPool <kernel_shape = [2,2], strides = [2,2]> (l)
        n = com.microsoft.QLinearConv <channels_last = 1> (m, t, z, c, r, w, t, z)
        e = com.microsoft.QLinearConcat <axis = 3> (t, z, m, t, z, n, t, z)
        p = com.microsoft.QLinearAveragePool <kernel_shape = [2,2], channels_last = 1> (e, t, z, t, z)
        u = com.microsoft.QLinearGlobalAveragePool <channels_last = 1> (p, t, z, t, z)
        v = com.microsoft.QLinearConv <channels_last = 1> (u, t, z, d, r, w, t, z)
        y = DequantizeLinear (v, t, z)
      }`),
      { groups: ["a:0 8", "c:0 4"], tolerance: 0 },
    );
  });

  test("of a float model quantised afterwards: ConvInteger behind a fixed scale", async () => {
    await expectProven(
      fusedModel(`g (float[N,3,6,6] x) => (float[N,4,6,6] y) < ${HEAD},
        uint8[8,3,3,3] a = {...}, uint8[4,8,3,3] b = {...} > {
        q = QuantizeLinear (x, s, z)
        h = ConvInteger <pads = [1,1,1,1]> (q, a, z, w)
        f = Cast <to = 1> (h)
        u = Mul (f, s)
        k = QuantizeLinear (u, t, z)
        j = ConvInteger <pads = [1,1,1,1]> (k, b, z, w)
        y = Cast <to = 1> (j)
      }`),
      { groups: ["a:0 8"], tolerance: 0 },
    );
  });
});

describe("products of quantised matrices", () => {
  test("QLinearMatMul with a scale per column", async () => {
    await expectProven(
      fusedModel(`g (float[N,5] x) => (float[N,3] y) < ${HEAD},
        uint8[5,8] a = {...}, float[8] as = {0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2}, uint8[8] az = {8, 7, 6, 5, 8, 7, 6, 5}, uint8[8,3] b = {...} > {
        q = QuantizeLinear (x, s, z)
        h = QLinearMatMul (q, s, z, a, as, az, t, z)
        i = com.microsoft.QLinearSigmoid (h, t, z, r, w)
        k = QLinearMatMul (i, r, w, b, t, w, t, z)
        y = DequantizeLinear (k, t, z)
      }`),
      { groups: ["a:1 8"], tolerance: 0 },
    );
  });

  test("MatMulInteger with a zero point per column, and its form that gives floats", async () => {
    await expectProven(
      fusedModel(`g (float[N,5] x) => (float[N,3] y) < ${HEAD},
        uint8[5,8] a = {...}, float[8] as = {0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2}, uint8[8] az = {8, 7, 6, 5, 8, 7, 6, 5}, float[8] bias = {...},
        uint8[8,6] b = {...}, uint8[6] bz = {8, 7, 6, 5, 8, 7}, uint8[6,3] c = {...} > {
        q = QuantizeLinear (x, s, z)
        h = com.microsoft.MatMulIntegerToFloat (q, a, s, as, z, az, bias)
        i = QuantizeLinear (h, t, z)
        j = MatMulInteger (i, b, z, bz)
        f = Cast <to = 1> (j)
        u = Mul (f, s)
        k = QuantizeLinear (u, t, z)
        l = MatMulInteger (k, c, z)
        y = Cast <to = 1> (l)
      }`),
      { groups: ["a:1 8", "b:1 6"], tolerance: 0 },
    );
  });

  test("QGemm, transposed, into quantised numbers and into floats", async () => {
    await expectProven(
      fusedModel(`g (float[N,5] x) => (float[N,3] y) < ${HEAD},
        uint8[8,5] a = {...}, float[8] as = {0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2}, uint8[8] az = {8, 7, 6, 5, 8, 7, 6, 5}, int32[8] ac = {...},
        uint8[8,3] b = {...} > {
        q = QuantizeLinear (x, s, z)
        h = com.microsoft.QGemm <transB = 1> (q, s, z, a, as, az, ac, t, z)
        y = com.microsoft.QGemm (h, t, z, b, r, w)
      }`),
      { groups: ["a:0 8"] },
    );
  });

  test("QLinearMul and QLinearWhere act on each channel, QLinearSoftmax keeps what it normalises", async () => {
    const c = await expectProven(
      fusedModel(`g (float[N,5] x) => (float[N,3] y) < ${HEAD},
        uint8[5,8] a = {...}, uint8[5,8] b = {...}, uint8[8,6] c = {...}, uint8[6,3] d = {...}, bool[8] e = {...} > {
        q = QuantizeLinear (x, s, z)
        h = QLinearMatMul (q, s, z, a, r, w, t, z)
        i = QLinearMatMul (q, s, z, b, r, w, t, z)
        j = com.microsoft.QLinearMul (h, t, z, i, t, z, t, z)
        l = com.microsoft.QLinearWhere (e, j, t, z, i, t, z, t, z)
        k = QLinearMatMul (l, t, z, c, r, w, t, z)
        m = com.microsoft.QLinearSoftmax <opset = 13, axis = -1> (k, t, z, r, w)
        n = QLinearMatMul (m, r, w, d, r, w, t, z)
        y = DequantizeLinear (n, t, z)
      }`),
      { groups: ["a:1 8"], tolerance: 0 },
    );
    expect(c.sliced.graph.value("e")?.constant?.dims).toEqual([4]);
  });
});

describe("a scale that a run finds out", () => {
  test("keeps everything DynamicQuantizeLinear reads", () => {
    const text = `g (float[N,5] x) => (float[N,3] y) < ${HEAD}, float[5,8] a = {...}, uint8[8,3] b = {...} > {
      h = MatMul (x, a)
      q, qs, qz = DynamicQuantizeLinear (h)
      k = MatMulInteger (q, b, qz, w)
      f = Cast <to = 1> (k)
      y = Mul (f, qs)
    }`;
    expect(groupNames(findGroups(fusedModel(text)))).toEqual([]);
    expect(why(text, "a", 1)).toBe("its scale comes from the least and the largest element of the whole tensor");
    expect(why(text, "b", 0)).toBe(why(text, "a", 1));
  });

  test("keeps what DynamicQuantizeMatMul reads; the columns it makes may leave", async () => {
    const text = `g (float[N,5] x) => (float[N,3] y) < ${HEAD},
      uint8[5,8] a = {...}, float[8] as = {0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2}, uint8[8] az = {8, 7, 6, 5, 8, 7, 6, 5}, float[8] bias = {...},
      float[8,6] b = {...}, uint8[6,3] c = {...} > {
      h = com.microsoft.DynamicQuantizeMatMul (x, a, as, az, bias)
      i = MatMul (h, b)
      y = com.microsoft.DynamicQuantizeMatMul (i, c, t, w)
    }`;
    await expectProven(fusedModel(text), { groups: ["a:1 8"] });
    expect(why(text, "b", 1)).toBe("its scale comes from the least and the largest element of the whole tensor");
  });

  test("keeps DynamicQuantizeLSTM whole", () => {
    const text = `g (float[T,N,3] x) => (float[T,1,N,2] y) < float[3,6] a = {...}, int8[1,6,16] w = {...}, int8[1,4,16] r = {...}, float[1] s = {0.01},
      int8[1] z = {0}, float[4,2] b = {...} > {
      i = MatMul (x, a)
      h = com.microsoft.DynamicQuantizeLSTM <hidden_size = 4> (i, w, r, , , , , , s, z, s, z)
      y = MatMul (h, b)
    }`;
    expect(groupNames(findGroups(fusedModel(text)))).toEqual([]);
    expect(why(text, "a", 1)).toBe("it quantises its input and its hidden state by their least and largest elements");
  });
});

describe("weights behind DequantizeLinear", () => {
  test("a scale per filter, on either axis, with and without zero points; activations with one scale", async () => {
    const { sliced } = await expectProven(
      fusedModel(
        `g (float[N,3,5,5] x) => (float[N,2] y) < ${HEAD},
        int8[8,3,3,3] a = {...}, float[8] as = {...}, int8[8] az = {1, 2, 3, 4, 5, 6, 7, 0}, int32[8] ab = {...}, float[8] abs = {...},
        int8[8,6] b = {...}, float[6] bs = {...}, int8[6,2] c = {...} > {
        q = QuantizeLinear (x, s, z)
        dx = DequantizeLinear (q, s, z)
        da = DequantizeLinear <axis = 0> (a, as, az)
        db = DequantizeLinear <axis = 0> (ab, abs)
        h = Conv (dx, da, db)
        hq = QuantizeLinear (h, t, z)
        hd = DequantizeLinear (hq, t, z)
        i = ReduceMean <keepdims = 0> (hd, axes)
        dw = DequantizeLinear <axis = 1> (b, bs)
        j = MatMul (i, dw)
        jq = QuantizeLinear (j, t, z)
        jd = DequantizeLinear (jq, t, z)
        dc = DequantizeLinear (c, r)
        y = MatMul (jd, dc)
      }`.replace("int8[6,2] c", "int64[2] axes = {2, 3}, int8[6,2] c"),
      ),
      { groups: ["a:0 8", "b:1 6"] },
    );
    expect(findValue(sliced, "az").constant?.dims).toEqual([4]);
    expect(findValue(sliced, "abs").constant?.dims).toEqual([4]);
  });

  test("int4 in blocks: whole blocks leave along the blocked axis, single indices along the other", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[N,5] x) => (float[N,3] y) <
        float[5,24] a = {...}, int4[24,7] b = {...}, float[6,7] bs = {...}, int4[6,7] bz = {...}, int4[7,3] c = {...}, float[3] cs = {...} > {
        h = MatMul (x, a)
        u = Relu (h)
        db = DequantizeLinear <axis = 0, block_size = 4> (b, bs, bz)
        j = MatMul (u, db)
        v = Relu (j)
        dc = DequantizeLinear <axis = 1> (c, cs)
        y = MatMul (v, dc)
      }`),
      { groups: ["a:1 6", "b:1 7"] },
    );
    expect(["a", "b", "bs", "bz", "c"].map((v) => findValue(sliced, v).constant?.dims)).toEqual([
      [5, 12],
      [12, 3],
      [3, 3],
      [3, 3],
      [3, 3],
    ]);
  });

  test("activations quantised in blocks leave by blocks; a short last block keeps its axis", async () => {
    await expectProven(
      fusedModel(
        `g (float[N,5] x) => (float[N,3] y) < float[5,12] a = {...}, float[1,3] s = {0.1, 0.2, 0.3}, uint8[1,3] z = {100, 110, 120}, float[12,3] b = {...}, float[2,5] xx = {...} > {
        h = MatMul (xx, a)
        m = ReduceMean (h, axis)
        q = QuantizeLinear <axis = 1, block_size = 4> (m, s, z)
        d = DequantizeLinear <axis = 1, block_size = 4> (q, s, z)
        k = MatMul (x, a)
        e = Add (d, k)
        y = MatMul (e, b)
      }`.replace("float[2,5] xx", "int64[1] axis = {0}, float[2,5] xx"),
      ),
      { groups: ["a:1 3"] },
    );
    const short = `g (float[N,5] x) => (float[N,3] y) < float[5,10] a = {...}, int8[10,3] b = {...}, float[3,3] bs = {...} > {
      h = MatMul (x, a)
      db = DequantizeLinear <axis = 0, block_size = 4> (b, bs)
      y = MatMul (h, db)
    }`;
    expect(why(short, "a", 1)).toBe("it does not divide into blocks of 4");
  });

  test("the operators of com.microsoft, with 16-bit activations", async () => {
    await expectProven(
      fusedModel(`g (float[N,5] x) => (float[N,3] y) < float u = {0.0003}, uint16 v = {30000},
        int16[5,8] a = {...}, float[8] as = {...}, int16[8] az = {...}, float[8,3] b = {...} > {
        da = com.microsoft.DequantizeLinear <axis = 1> (a, as, az)
        h = MatMul (x, da)
        q = com.microsoft.QuantizeLinear (h, u, v)
        d = com.microsoft.DequantizeLinear (q, u, v)
        y = MatMul (d, b)
      }`),
      { groups: ["a:1 8"] },
    );
  });

  test("MatMulNBits: columns one by one, rows by whole blocks, zero points that share a byte together", async () => {
    const { sliced } = await expectProven(
      fusedModel(`g (float[N,5] x) => (float[N,3] y) <
        float[5,64] a = {...}, uint8[12,4,8] b = {...}, float[12,4] bs = {...}, uint8[24] bz = {...}, float[12] bias = {...},
        float[12,48] c = {...}, uint8[6,3,8] d = {...}, float[18] ds = {...}, float[6,3] e = {...} > {
        h = MatMul (x, a)
        i = com.microsoft.MatMulNBits <K = 64, N = 12, block_size = 16, bits = 4> (h, b, bs, bz, , bias)
        j = Relu (i)
        k = MatMul (j, c)
        l = com.microsoft.MatMulNBits <K = 48, N = 6, block_size = 16, bits = 4> (k, d, ds)
        y = MatMul (l, e)
      }`),
      { groups: ["a:1 2", "b:0 12", "c:1 3", "d:0 6"] },
    );
    expect(findNode(sliced, "i").int("K")).toBe(32);
    expect(findNode(sliced, "i").int("N")).toBe(6);
    expect(findValue(sliced, "bz").constant?.dims).toEqual([6]);
    expect(findNode(sliced, "l").int("K") % 16).toBe(0);
  });
});
