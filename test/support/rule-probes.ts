/**
 * Small graphs, a few for every axis rule: between a layer that makes channels and one that sums them stands one op in
 * one spelling. Their groups are recorded (test/fixtures/golden/rules), and what they compute is proven.
 */
import type { Model } from "../../src/graph/graph.js";
import { modelOf } from "./build.js";

export interface Probe {
  readonly name: string;
  readonly opset: number;
  readonly text: string;
}

export const modelOfProbe = ({ text, opset }: Probe): Model => modelOf(text, opset);

/** Node lines between a convolution that makes `channels` channels `a` [2, channels, 4, 4] and one that sums those of `z` to `y`. */
const images = (name: string, body: string, { channels = 8, sums = channels, constants = "", opset = 13, space = 4 } = {}): Probe => ({
  name,
  opset,
  text: `g (float[2,3,4,4] x) => (float[2,3,${space},${space}] y) <
    float[${channels},3,1,1] w = {...}, float[${channels}] b = {...}, float[3,${sums},1,1] v = {...}${constants ? `, ${constants}` : ""}> {
    a = Conv (x, w, b)
    ${body}
    y = Conv (z, v)
  }`,
});

/** The same between two matrix products over tokens: `a` [2, 5, channels] and `z` [2, steps, sums]. */
const tokens = (name: string, body: string, { channels = 8, sums = channels, constants = "", opset = 13, steps = 5 } = {}): Probe => ({
  name,
  opset,
  text: `g (float[2,5,3] x) => (float[2,${steps},3] y) <
    float[3,${channels}] w = {...}, float[${channels}] b = {...}, float[${sums},3] v = {...}${constants ? `, ${constants}` : ""}> {
    m = MatMul (x, w)
    a = Add (m, b)
    ${body}
    y = MatMul (z, v)
  }`,
});

export const probes: readonly Probe[] = [
  // ---- convolutions ----
  images("Conv, plain", "z = Conv (a, u, c)", { constants: "float[6,8,1,1] u = {...}, float[6] c = {...}", sums: 6 }),
  images("Conv, grouped", "z = Conv <group = 2> (a, u, c)", { constants: "float[6,4,1,1] u = {...}, float[6] c = {...}", sums: 6 }),
  images("Conv, grouped twice", "d = Conv <group = 2> (a, u) z = Conv <group = 4> (d, t)", {
    constants: "float[8,4,1,1] u = {...}, float[8,2,1,1] t = {...}",
  }),
  images("Conv, groups of which one reads the model's input", "j = Concat <axis = 1> (x, a) z = Conv <group = 2> (j, u)", {
    constants: "float[6,3,1,1] u = {...}",
    channels: 3,
    sums: 6,
  }),
  images(
    "Conv, filters of groups that one more layer cuts elsewhere",
    "d = Conv <group = 2> (a, u) e = Gather <axis = 1> (d, i) z = Conv <group = 2> (e, t)",
    {
      constants: "float[12,6,1,1] u = {...}, float[12,6,1,1] t = {...}, int64[12] i = {0, 1, 2, 3, 4, 6, 5, 7, 8, 9, 10, 11}",
      channels: 12,
    },
  ),
  images(
    "Conv, grouped, shuffled and grouped again",
    "d = Conv <group = 2> (a, u) r = Reshape (d, n) p = Transpose <perm = [0,2,1,3,4]> (r) q = Reshape (p, m) z = Conv <group = 2> (q, t)",
    {
      constants: "float[8,4,1,1] u = {...}, float[8,4,1,1] t = {...}, int64[5] n = {2, 2, 4, 4, 4}, int64[4] m = {2, 8, 4, 4}",
    },
  ),
  images(
    "Conv, grouped, and in pairs of other groups",
    "d = Conv <group = 3> (a, u) e = Gather <axis = 1> (d, i) z = Conv <group = 3> (e, t)",
    {
      constants: "float[6,2,1,1] u = {...}, float[6,2,1,1] t = {...}, int64[6] i = {0, 5, 1, 3, 2, 4}",
      channels: 6,
    },
  ),
  images(
    "Conv, grouped, back to front and grouped again",
    "d = Conv <group = 3> (a, u) e = Gather <axis = 1> (d, i) z = Conv <group = 3> (e, t)",
    {
      constants: "float[12,4,1,1] u = {...}, float[12,4,1,1] t = {...}, int64[12] i = {11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 0, 1}",
      channels: 12,
    },
  ),
  images("Conv, depthwise", "z = Conv <group = 8, pads = [1,1,1,1]> (a, u, c)", {
    constants: "float[8,1,3,3] u = {...}, float[8] c = {...}",
  }),
  images("Conv, depthwise of multiplier 3", "z = Conv <group = 4> (a, u)", {
    constants: "float[12,1,1,1] u = {...}",
    channels: 4,
    sums: 12,
  }),
  images("Conv, one output per group", "z = Conv <group = 4> (a, u)", { constants: "float[4,3,1,1] u = {...}", channels: 12, sums: 4 }),
  tokens("Conv, one dimension", "t = Transpose <perm = [0,2,1]> (a) c = Conv <pads = [1,1]> (t, u) z = Transpose <perm = [0,2,1]> (c)", {
    constants: "float[6,8,3] u = {...}",
    sums: 6,
  }),
  images("ConvTranspose, plain", "z = ConvTranspose (a, u, c)", { constants: "float[8,6,1,1] u = {...}, float[6] c = {...}", sums: 6 }),
  images("ConvTranspose, grouped", "z = ConvTranspose <group = 2> (a, u, c)", {
    constants: "float[8,3,1,1] u = {...}, float[6] c = {...}",
    sums: 6,
  }),
  images("ConvTranspose, depthwise", "z = ConvTranspose <group = 8> (a, u)", { constants: "float[8,1,1,1] u = {...}" }),
  images("ConvTranspose, one input per group", "z = ConvTranspose <group = 4> (a, u)", {
    constants: "float[4,3,1,1] u = {...}",
    channels: 4,
    sums: 12,
  }),
  images("ConvTranspose, several inputs to one output per group", "z = ConvTranspose <group = 4> (a, u)", {
    constants: "float[8,1,1,1] u = {...}",
    sums: 4,
  }),

  // The number of channels was once written into group as its symbol.
  {
    name: "ConvTranspose, of channels whose number only a run knows",
    opset: 13,
    text: `g (float[2,H,4,4] x) => (float[2,3,4,4] y) <float[3,2,1,1] w = {...}, float[6] b = {...}, float[3,6,1,1] v = {...}> {
      a = ConvTranspose <group = 3> (x, w, b) y = Conv (a, v) }`,
  },
  {
    name: "Conv, of channels whose number only a run knows",
    opset: 13,
    text: `g (float[2,H,4,4] x) => (float[2,3,4,4] y) <float[6,1,1,1] w = {...}, float[6] b = {...}, float[3,6,1,1] v = {...}> {
      a = Conv <group = 3> (x, w, b) y = Conv (a, v) }`,
  },

  // ---- products ----
  tokens("MatMul, both sides", "z = MatMul (a, u)", { constants: "float[8,6] u = {...}", sums: 6 }),
  tokens("MatMul, weight on the left", "t = Transpose <perm = [0,2,1]> (a) c = MatMul (u, t) z = Transpose <perm = [0,2,1]> (c)", {
    constants: "float[6,8] u = {...}",
    sums: 6,
  }),
  tokens("MatMul, batched weight", "z = MatMul (a, u)", { constants: "float[1,8,6] u = {...}", sums: 6 }),
  tokens("MatMul, of two activations", "t = Transpose <perm = [0,2,1]> (a) s = MatMul (a, t) z = MatMul (s, a)"),
  {
    name: "Gemm, transposed or not, with a row of biases",
    opset: 13,
    text: `g (float[2,3] x) => (float[2,3] y) <float[3,6] p = {...}, float[1,6] c = {...}, float[5,6] q = {...}, float[5] d = {...}, float[5,3] r = {...}> {
      a = Gemm (x, p, c) e = Relu (a) f = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (e, q, d) y = Gemm (f, r) }`,
  },
  {
    name: "Gemm, column-major data",
    opset: 13,
    text: `g (float[3,2] x) => (float[2,4] y) <float[6,3] p = {...}, float[6,4] r = {...}> {
      a = MatMul (p, x) e = Relu (a) y = Gemm <transA = 1> (e, r) }`,
  },
  tokens(
    "Einsum, projection to heads and back",
    'e = Einsum <equation = "bld,dhk->blhk"> (a, u) z = Einsum <equation = "blhk,hko->blo"> (e, t)',
    {
      constants: "float[8,2,3] u = {...}, float[2,3,6] t = {...}",
      sums: 6,
    },
  ),
  tokens("Einsum, of three operands", 'z = Einsum <equation = "bld,de,blf,fe->ble"> (a, u, a, t)', {
    constants: "float[8,6] u = {...}, float[8,6] t = {...}",
    sums: 6,
  }),

  // ---- joining and cutting ----
  images("Concat, unequal parts", "c = Conv (x, u) z = Concat <axis = 1> (a, c)", { constants: "float[3,3,1,1] u = {...}", sums: 11 }),
  images("Concat, the same twice", "z = Concat <axis = -3> (a, a)", { sums: 16 }),
  images("Concat, added to another", "c = Conv (x, u) d = Concat <axis = 1> (a, c) e = Conv (x, t) z = Add (d, e)", {
    constants: "float[3,3,1,1] u = {...}, float[11,3,1,1] t = {...}",
    sums: 11,
  }),
  images("Split, unequal", "p, q = Split <axis = 1> (a, n) r = Sigmoid (q) c = Conv (r, u) z = Add (p, c)", {
    constants: "int64[2] n = {3, 5}, float[3,5,1,1] u = {...}",
    sums: 3,
  }),
  images("Split, equal halves multiplied", "p, q = Split <axis = 1> (a) r = Sigmoid (q) z = Mul (p, r)", { sums: 4 }),
  images("Split, by attribute", "p, q, r = Split <axis = 1, split = [1, 3, 4]> (a) z = Concat <axis = 1> (r, p, q)", { opset: 11 }),
  images("Split, by number", "p, q = Split <axis = 1, num_outputs = 2> (a) z = Concat <axis = 1> (q, p)", { opset: 18 }),
  images("Slice, first half", "z = Slice (a, s, e, k)", { constants: "int64[1] s = {0}, int64[1] e = {4}, int64[1] k = {1}", sums: 4 }),
  images("Slice, second half", "z = Slice (a, s, e, k)", { constants: "int64[1] s = {4}, int64[1] e = {8}, int64[1] k = {1}", sums: 4 }),
  images("Slice, every third from 1", "z = Slice (a, s, e, k, t)", {
    constants: "int64[1] s = {1}, int64[1] e = {8}, int64[1] k = {1}, int64[1] t = {3}",
    sums: 3,
  }),
  images("Slice, from the back", "r = Slice (a, s, e, k, t) z = Add (a, r)", {
    constants: "int64[1] s = {-1}, int64[1] e = {-100}, int64[1] k = {1}, int64[1] t = {-1}",
  }),
  images("Slice, by attributes", "z = Slice <axes = [1], starts = [2], ends = [7]> (a)", { opset: 9, sums: 5 }),
  images("Gather, a permutation", "r = Gather <axis = 1> (a, i) z = Add (a, r)", { constants: "int64[8] i = {3, 1, 2, 0, -1, 4, 5, 6}" }),
  images("Gather, some twice", "z = Gather <axis = 1> (a, i)", { constants: "int64[6] i = {0, 0, 5, 2, 5, -1}", sums: 6 }),
  tokens(
    "Gather, one index of stacked heads",
    "r = Reshape (a, n) p = Gather <axis = 2> (r, i) q = Gather <axis = 2> (r, j) z = Mul (p, q)",
    {
      constants: "int64[4] n = {2, 5, 2, 4}, int64 i = {0}, int64 j = {1}",
      sums: 4,
    },
  ),
  images("Pad, channels on both sides", "p = Pad (a, n) c = Conv (x, u) z = Add (p, c)", {
    constants: "int64[8] n = {0, 2, 0, 0, 0, 1, 0, 0}, float[11,3,1,1] u = {...}",
    sums: 11,
  }),
  images("Pad, cropping and growing", "z = Pad (a, n, k)", {
    constants: "int64[8] n = {0, -2, 0, 0, 0, 3, 0, 0}, float k = {0.5}",
    sums: 9,
  }),
  images("Pad, reflected", 'z = Pad <mode = "reflect"> (a, n)', { constants: "int64[8] n = {0, 1, 0, 0, 0, 1, 0, 0}", sums: 10 }),
  images("Tile, channels", "z = Tile (a, n)", { constants: "int64[4] n = {1, 3, 1, 1}", channels: 4, sums: 12 }),
  images("Tile, and added to a permuted", "t = Tile (a, n) c = Conv (x, u) z = Add (t, c)", {
    constants: "int64[4] n = {1, 2, 1, 1}, float[8,3,1,1] u = {...}",
    channels: 4,
    sums: 8,
  }),
  images("Expand, repeated channels", "q = Unsqueeze (a, i) e = Expand (q, n) z = Reshape (e, s)", {
    constants: "int64[1] i = {2}, int64[5] n = {1, 1, 2, 1, 1}, int64[4] s = {2, 8, 4, 4}",
    channels: 4,
    sums: 8,
  }),

  tokens("Concat, along tokens", "c = MatMul (x, u) j = Concat <axis = 1> (a, c) z = Relu (j)", {
    constants: "float[3,8] u = {...}",
    steps: 10,
  }),
  images(
    "Squeeze, a single index cut out",
    "p, q = Split <axis = 1> (a, n) s = Squeeze (p, i) r = Relu (s) t = Unsqueeze (r, i) z = Mul (q, t)",
    {
      constants: "int64[2] n = {1, 7}, int64[1] i = {1}",
      sums: 7,
    },
  ),
  images(
    "Squeeze, of old, a single index cut out",
    "p, q = Split <axis = 1, split = [7, 1]> (a) s = Squeeze <axes = [1]> (q) r = Relu (s) t = Unsqueeze <axes = [1]> (r) z = Mul (p, t)",
    { opset: 11, sums: 7 },
  ),
  images(
    "Squeeze, of all extents of 1, a single index cut out",
    "p, q = Split <axis = 1> (a, n) s = Squeeze (p) r = Relu (s) t = Unsqueeze (r, i) z = Add (q, t)",
    { constants: "int64[2] n = {1, 7}, int64[1] i = {1}", sums: 7 },
  ),
  images("Expand, channels three times each", "q = Unsqueeze (a, i) e = Expand (q, n) r = Reshape (e, s) z = Relu (r)", {
    constants: "int64[1] i = {2}, int64[5] n = {1, 1, 3, 1, 1}, int64[4] s = {2, 9, 4, 4}",
    channels: 3,
    sums: 9,
  }),
  images("Expand, a constant to the shape of the data", "e = Expand (k, n) z = Mul (a, e)", {
    constants: "float[8,1,1] k = {...}, int64[4] n = {2, 8, 4, 4}",
  }),

  // ---- axes that move ----
  images(
    "Transpose, to channels last and back",
    "t = Transpose <perm = [0,2,3,1]> (a) e = Add (t, c) z = Transpose <perm = [0,3,1,2]> (e)",
    {
      constants: "float[8] c = {...}",
    },
  ),
  {
    name: "Transpose, reversed by default",
    opset: 13,
    text: `g (float[4,3] x) => (float[4,2] y) <float[3,6] w = {...}, float[2,6] v = {...}> {
      a = MatMul (x, w) t = Transpose (a) c = MatMul (v, t) y = Transpose (c) }`,
  },
  images("Reshape, channel shuffle", "r = Reshape (a, n) t = Transpose <perm = [0,2,1,3,4]> (r) q = Reshape (t, m) z = Add (q, a)", {
    constants: "int64[5] n = {2, 2, 4, 4, 4}, int64[4] m = {2, 8, 4, 4}",
  }),
  images(
    "Reshape, a shuffle whose inside is read as well",
    "r = Reshape (a, n) t = Transpose <perm = [0,2,1,3,4]> (r) q = Reshape (t, m) s = Mul (t, k) p = Reshape (s, m) z = Add (q, p)",
    {
      constants: "int64[5] n = {2, 2, 4, 4, 4}, int64[4] m = {2, 8, 4, 4}, float[4,2,1,1] k = {...}",
    },
  ),
  images(
    "Reshape, a shuffle of channels and of columns",
    "r = Reshape (a, n) t = Transpose <perm = [0,2,1,3,5,4]> (r) z = Reshape (t, m)",
    {
      constants: "int64[6] n = {2, 2, 4, 4, 2, 2}, int64[4] m = {2, 8, 4, 4}",
    },
  ),
  images(
    "Reshape, a shuffle in two strides",
    "r = Reshape (a, n) t = Transpose <perm = [0,3,1,2,4,5]> (r) q = Reshape (t, m) z = Add (q, c)",
    {
      constants: "int64[6] n = {2, 2, 3, 2, 4, 4}, int64[4] m = {2, 12, 4, 4}, float[12,1,1] c = {...}",
      channels: 12,
    },
  ),
  tokens(
    "Reshape, heads with dims split once more",
    "r = Reshape (a, n) q = Mul (r, c) h = Reshape (q, l) p = Mul (h, k) z = Reshape (p, o)",
    {
      constants:
        "int64[4] n = {2, 5, 2, 4}, float[2,4] c = {...}, int64[5] l = {2, 5, 2, 2, 2}, float[2,2,1] k = {...}, int64[3] o = {2, 5, 8}",
    },
  ),
  tokens(
    "Reshape, heads of three projections as one axis",
    "r = Reshape (a, n) t = Transpose <perm = [0,2,3,1,4]> (r) q = Reshape (t, l) s = Mul (q, c) p = Reshape (s, k) u = Transpose <perm = [0,3,1,2,4]> (p) z = Reshape (u, o)",
    {
      constants:
        "int64[5] n = {2, 5, 3, 2, 4}, int64[4] l = {2, 6, 5, 4}, float[6,1,4] c = {...}, int64[5] k = {2, 3, 2, 5, 4}, int64[3] o = {2, 5, 24}",
      channels: 24,
    },
  ),
  tokens(
    "MatMul, of heads with keys that are joined from two matrices per head",
    "r = Reshape (a, n) q = Transpose <perm = [0,2,1,3]> (r) t = Reshape (a, e) f = MatMul (t, c) g = MatMul (t, d) k = Concat <axis = 3> (f, g) h = Transpose <perm = [0,1,3,2]> (k) s = MatMul (q, h) mixed = MatMul (s, k) p = Transpose <perm = [0,2,1,3]> (mixed) z = Reshape (p, o)",
    {
      constants:
        "int64[4] n = {2, 5, 2, 4}, int64[4] e = {2, 1, 5, 8}, float[2,8,2] c = {...}, float[2,8,2] d = {...}, int64[3] o = {2, 5, 8}",
    },
  ),
  tokens("Mul, by a constant per head and dim that broadcasts", "r = Reshape (a, n) q = Mul (r, c) z = Reshape (q, o)", {
    constants: "int64[4] n = {2, 5, 2, 4}, float[1,1,2,4] c = {...}, int64[3] o = {2, 5, 8}",
  }),
  images(
    "Reshape, a shuffle of three factors in a circle",
    "r = Reshape (a, n) t = Transpose <perm = [0,2,3,1,4,5]> (r) q = Reshape (t, m) s = Mul (q, c) z = Add (s, a)",
    {
      constants: "int64[6] n = {2, 2, 2, 3, 4, 4}, int64[4] m = {2, 12, 4, 4}, float[12,1,1] c = {...}",
      channels: 12,
    },
  ),
  tokens(
    "Split, halves of the dims of each head",
    "r = Reshape (a, n) q = Mul (r, c) f, g = Split <axis = 3> (q) j = Concat <axis = 3> (g, f) s = Add (j, d) z = Reshape (s, o)",
    {
      constants: "int64[4] n = {2, 5, 2, 8}, float[2,8] c = {...}, float[2,8] d = {...}, int64[3] o = {2, 5, 16}",
      channels: 16,
    },
  ),
  tokens(
    "Reshape, dims before their heads",
    "r = Reshape (a, n) q = Mul (r, c) t = Transpose <perm = [0,1,3,2]> (q) s = Relu (t) z = Reshape (s, o)",
    {
      constants: "int64[4] n = {2, 5, 2, 4}, float[2,4] c = {...}, int64[3] o = {2, 5, 8}",
    },
  ),
  images("Reshape, groups scaled", "r = Reshape (a, n) s = Mul (r, k) z = Reshape (s, m)", {
    constants: "int64[5] n = {0, 4, 2, 4, 4}, int64[4] m = {0, -1, 4, 4}, float[4,1,1,1] k = {...}",
  }),
  {
    name: "Flatten, channels and space",
    opset: 13,
    text: `g (float[N,3,2,2] x) => (float[N,4] y) <float[6,3,1,1] w = {...}, float[24,4] v = {...}> {
      a = Conv (x, w) f = Flatten (a) y = Gemm (f, v) }`,
  },
  {
    name: "Flatten, then channels in another order",
    opset: 13,
    text: `g (float[N,3,2,2] x) => (float[N,4] y) <float[6,3,1,1] w = {...}, float[24,4] v = {...}, int64[24] i = {8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7,
      12, 13, 14, 15, 20, 21, 22, 23, 16, 17, 18, 19}> {
      a = Conv (x, w) f = Flatten (a) s = Gather <axis = 1> (f, i) y = Gemm (s, v) }`,
  },
  {
    name: "MatMul, over channels and an extent that only a run knows",
    opset: 13,
    text: `g (float[2,3,H,4] x) => (float[2,2] y) <float[6,3,1,1] w = {...}, int64[2] n = {2, -1}> {
      a = Conv (x, w) f = Reshape (a, n) t = Transpose <perm = [1,0]> (f) y = MatMul (f, t) }`,
  },
  {
    name: "Einsum, over channels and an extent that only a run knows",
    opset: 13,
    text: `g (float[2,3,H,4] x) => (float[2,2] y) <float[6,3,1,1] w = {...}, int64[2] n = {2, -1}> {
      a = Conv (x, w) f = Reshape (a, n) y = Einsum <equation = "bi,ci->bc"> (f, f) }`,
  },
  {
    name: "ReduceSum, of channels and an extent that only a run knows",
    opset: 13,
    text: `g (float[2,3,H,4] x) => (float[2,1] y) <float[6,3,1,1] w = {...}, int64[2] n = {2, -1}, int64[1] i = {1}> {
      a = Conv (x, w) f = Reshape (a, n) y = ReduceSum (f, i) }`,
  },
  {
    name: "Flatten, channels last",
    opset: 13,
    text: `g (float[N,3,2,2] x) => (float[N,4] y) <float[6,3,1,1] w = {...}, float[24,4] v = {...}> {
      a = Conv (x, w) t = Transpose <perm = [0,2,3,1]> (a) f = Flatten <axis = 1> (t) y = Gemm (f, v) }`,
  },
  tokens("Squeeze and Unsqueeze", "u = Unsqueeze (a, i) s = Squeeze (u, i) z = Relu (s)", { constants: "int64[1] i = {1}" }),
  images("DepthToSpace, depth first", "d = DepthToSpace <blocksize = 2> (a) z = Relu (d)", { channels: 16, sums: 4, space: 8 }),
  images("DepthToSpace, column first", 'd = DepthToSpace <blocksize = 2, mode = "CRD"> (a) z = Relu (d)', {
    channels: 16,
    sums: 4,
    space: 8,
  }),
  images("SpaceToDepth", "z = SpaceToDepth <blocksize = 2> (a)", { channels: 4, sums: 16, space: 2 }),
  images("Resize, by sizes", 'z = Resize <mode = "nearest"> (a, , , n)', { constants: "int64[4] n = {2, 8, 8, 8}", space: 8 }),
  images("Resize, by scales", 'z = Resize <mode = "nearest"> (a, , n)', { constants: "float[4] n = {1.0, 1.0, 2.0, 2.0}", space: 8 }),

  // ---- sums, and what is none ----
  images(
    "ReduceSum, of stacked branches",
    "c = Conv (x, u) p = Unsqueeze (a, i) q = Unsqueeze (c, i) s = Concat <axis = 1> (p, q) z = ReduceSum <keepdims = 0> (s, i)",
    {
      constants: "float[8,3,1,1] u = {...}, int64[1] i = {1}",
    },
  ),
  images("ReduceSum, of channels", "s = ReduceSum (a, i) z = Mul (a, s)", { constants: "int64[1] i = {1}" }),
  images("ReduceMean, of channels", "s = ReduceMean <axes = [1]> (a) z = Sub (a, s)"),
  images("ReduceMax, of channels", "s = ReduceMax <axes = [1]> (a) z = Sub (a, s)"),
  images("ReduceL2, of channels", "s = ReduceL2 <axes = [1]> (a) z = Div (a, s)"),
  tokens("Softmax, over channels", "z = Softmax <axis = -1> (a)"),
  tokens("Softmax, of old: flattened from its axis on", "z = Softmax <axis = 1> (a)", { opset: 11 }),
  tokens("Softmax, over heads", "r = Reshape (a, n) s = Softmax <axis = 2> (r) z = Reshape (s, o)", {
    constants: "int64[4] n = {2, 5, 2, 4}, int64[3] o = {2, 5, 8}",
  }),
  tokens("CumSum, over channels", "z = CumSum (a, k)", { constants: "int64 k = {2}" }),
  tokens("TopK, over channels", "z, i = TopK <axis = -1> (a, k)", { constants: "int64[1] k = {3}", sums: 3 }),

  // ---- norms ----
  images("BatchNormalization", "z = BatchNormalization (a, s, o, m, q)", {
    constants: "float[8] s = {...}, float[8] o = {...}, float[8] m = {...}, float[8] q = {...}",
  }),
  images("InstanceNormalization", "z = InstanceNormalization (a, s, o)", { constants: "float[8] s = {...}, float[8] o = {...}" }),
  images("GroupNormalization, scales per group", "z = GroupNormalization <num_groups = 4> (a, s, o)", {
    constants: "float[4] s = {...}, float[4] o = {...}",
    opset: 18,
  }),
  images("GroupNormalization, scales per channel", "z = GroupNormalization <num_groups = 4> (a, s, o)", {
    constants: "float[8] s = {...}, float[8] o = {...}",
    opset: 21,
  }),
  tokens("LayerNormalization, over channels", "z = LayerNormalization (a, s, o)", {
    constants: "float[8] s = {...}, float[8] o = {...}",
    opset: 17,
  }),
  images("LayerNormalization, over space", "z = LayerNormalization <axis = 2> (a, s)", { constants: "float[4,4] s = {...}", opset: 17 }),
  images("LpNormalization, over channels", "z = LpNormalization <axis = 1> (a)"),
  images("LRN", "z = LRN <size = 3> (a)"),

  // ---- elementwise ----
  images("Add, of two layers", "c = Conv (x, u) z = Add (a, c)", { constants: "float[8,3,1,1] u = {...}" }),
  {
    name: "Add, of the model's input and layers that were joined",
    opset: 13,
    text: `g (float[2,8,4,4] x) => (float[2,3,4,4] y) <float[5,8,1,1] w = {...}, float[3,8,1,1] u = {...}, float[3,8,1,1] v = {...}> {
      a = Conv (x, w) b = Conv (x, u) j = Concat <axis = 1> (a, b) z = Add (x, j) y = Conv (z, v) }`,
  },
  images(
    "Add, of channels of which some are the model's input, in other orders",
    "j = Concat <axis = 1> (x, a) g = Gather <axis = 1> (j, i) c = Conv (x, u) h = Gather <axis = 1> (c, k) s = Add (g, h) d = Conv (x, t) f = Gather <axis = 1> (d, k) z = Add (f, s)",
    {
      constants:
        "int64[8] i = {3, 1, 2, 0, 7, 4, 5, 6}, int64[8] k = {7, 1, 0, 2, 3, 4, 5, 6}, float[8,3,1,1] u = {...}, float[8,3,1,1] t = {...}",
      channels: 5,
      sums: 8,
    },
  ),
  images("Mul, by one channel that broadcasts", "c = Conv (x, u) z = Mul (a, c)", { constants: "float[1,3,1,1] u = {...}" }),
  images("PRelu, a slope per channel", "z = PRelu (a, k)", { constants: "float[8,1,1] k = {...}" }),
  images("Where, a mask per channel", "z = Where (k, a, n)", { constants: "bool[8,1,1] k = {...}, float n = {0.25}" }),
  tokens(
    "MaxPool, over channels seen as space",
    "u = Unsqueeze (a, i) p = MaxPool <kernel_shape = [1,3], pads = [0,1,0,1]> (u) z = Squeeze (p, i)",
    {
      constants: "int64[1] i = {1}",
    },
  ),
  images("Clip", "z = Clip (a, n, k)", { constants: "float n = {-0.5}, float k = {0.5}" }),
  images(
    "MaxPool and squeeze-and-excitation",
    "p = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (a) g = GlobalAveragePool (p) c = Conv (g, u) r = Relu (c) d = Conv (r, t) s = Sigmoid (d) z = Mul (p, s)",
    {
      constants: "float[4,8,1,1] u = {...}, float[8,4,1,1] t = {...}",
    },
  ),
  {
    name: "DequantizeLinear, a scale per filter",
    opset: 13,
    text: `g (float[2,3,4,4] x) => (float[2,3,4,4] y) <int8[8,3,1,1] w = {...}, float[8] s = {...}, int8[8] o = {...}, float[3,8,1,1] v = {...}> {
      k = DequantizeLinear <axis = 0> (w, s, o) a = Conv (x, k) y = Conv (a, v) }`,
  },
  {
    name: "one bias that two layers share",
    opset: 13,
    text: `g (float[2,3,4,4] x) => (float[2,3,4,4] y) <float[8,3,1,1] w = {...}, float[8] b = {...}, float[8,8,1,1] u = {...}, float[3,8,1,1] v = {...}> {
      a = Conv (x, w, b) r = Relu (a) c = Conv (r, u, b) y = Conv (c, v) }`,
  },
  {
    name: "a tied embedding: rows looked up, and the last layer",
    opset: 13,
    text: `g (int64[2,5] ids) => (float[2,5,8] y) <float[8,6] table = {...}, float[6,6] w = {...}> {
      e = Gather (table, ids) h = MatMul (e, w) r = Relu (h) t = Transpose <perm = [1,0]> (table) y = MatMul (r, t) }`,
  },

  // ---- sizes that are computed ----
  {
    name: "a view whose sizes are computed from shapes",
    opset: 13,
    text: `g (float[N,5,3] x) => (float[N,5,3] y) <float[3,8] w = {...}, float[8,3] v = {...}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}> {
      a = MatMul (x, w) s = Shape (a) n = Gather (s, zero) l = Gather (s, one) d = Gather (s, two) h = Div (d, two)
      p = Concat <axis = 0> (n, l, two, h) r = Reshape (a, p) t = Transpose <perm = [0,1,3,2]> (r)
      q = Concat <axis = 0> (n, l, d) z = Reshape (t, q) y = MatMul (z, v) }`,
  },
  {
    name: "a scale computed from an extent that shrinks",
    opset: 13,
    text: `g (float[2,5,3] x) => (float[2,5,5] y) <float[3,8] p = {...}, float[3,8] q = {...}, int64 two = {2}> {
      a = MatMul (x, p) b = MatMul (x, q) s = Shape (a) d = Gather (s, two) f = Cast <to = 1> (d) r = Sqrt (f)
      t = Transpose <perm = [0,2,1]> (b) m = MatMul (a, t) y = Div (m, r) }`,
  },
  {
    name: "halves cut where arithmetic on the shape says",
    opset: 13,
    text: `g (float[2,5,3] x) => (float[2,5,3] y) <float[3,8] w = {...}, float[4,3] v = {...}, int64[1] zero = {0}, int64[1] two = {2}, int64[1] three = {3}> {
      a = MatMul (x, w) s = Shape (a) d = Slice (s, two, three) h = Div (d, two)
      f = Slice (a, zero, h, two) g = Slice (a, h, d, two) k = Sigmoid (g) z = Mul (f, k) y = MatMul (z, v) }`,
  },

  // ---- recurrences and attention ----
  ...(["LSTM", "GRU", "RNN"] as const).map((op): Probe => {
    const gates = { LSTM: 4, GRU: 3, RNN: 1 }[op];
    return {
      name: `${op}, between two layers`,
      opset: 14,
      text: `g (float[5,2,3] x) => (float[5,2,3] y) <float[3,6] p = {...}, float[1,${gates * 4},6] w = {...}, float[1,${gates * 4},4] r = {...},
        float[1,${gates * 8}] b = {...}, int64[1] i = {1}, float[4,3] v = {...}> {
        a = MatMul (x, p) h = ${op} <hidden_size = 4> (a, w, r, b) s = Squeeze (h, i) y = MatMul (s, v) }`,
    };
  }),
  {
    name: "LSTM, both ways, with states and peepholes",
    opset: 14,
    text: `g (float[5,2,3] x) => (float[5,2,3] y, float[2,2,3] z) <float[2,16,3] w = {...}, float[2,16,4] r = {...}, float[2,32] b = {...},
      float[2,2,4] h0 = {...}, float[2,2,4] c0 = {...}, float[2,12] p = {...}, int64[3] n = {5, 2, 8}, float[8,3] v = {...}, float[4,3] u = {...}> {
      h, last, cell = LSTM <hidden_size = 4, direction = "bidirectional"> (x, w, r, b, , h0, c0, p)
      t = Transpose <perm = [0,2,1,3]> (h) f = Reshape (t, n) y = MatMul (f, v) z = MatMul (last, u) }`,
  },
  {
    name: "attention, packed projections",
    opset: 13,
    text: `g (float[2,5,6] x) => (float[2,5,6] y) <float[6,24] w = {...}, float[24] b = {...}, int64[5] n = {2, 5, 3, 2, 4}, int64[3] m = {2, 5, 8},
      int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {2}, float[8,6] v = {...}> {
      p = MatMul (x, w) q = Add (p, b) r = Reshape (q, n) t = Transpose <perm = [2,0,3,1,4]> (r)
      query = Gather <axis = 0> (t, i0) key = Gather <axis = 0> (t, i1) value = Gather <axis = 0> (t, i2)
      kt = Transpose <perm = [0,1,3,2]> (key) s = MatMul (query, kt) a = Softmax <axis = -1> (s) o = MatMul (a, value)
      c = Transpose <perm = [0,2,1,3]> (o) z = Reshape (c, m) y = MatMul (z, v) }`,
  },
  {
    name: "attention, fewer keys than queries, rotated",
    opset: 13,
    text: `g (float[2,5,6] x) => (float[2,5,6] y) <float[6,16] wq = {...}, float[6,8] wk = {...}, float[6,8] wv = {...}, int64[4] nq = {2, 5, 4, 4},
      int64[4] nk = {2, 5, 2, 4}, int64[3] m = {2, 5, 16}, int64[1] two = {2}, int64[5] times = {1, 1, 2, 1, 1}, int64[4] heads = {2, 4, 5, 4},
      int64[1] start = {0}, int64[1] half = {2}, int64[1] end = {4}, int64[1] last = {-1}, float[5,4] cos = {...}, float[5,4] sin = {...}, float[16,6] v = {...}> {
      q0 = MatMul (x, wq) q1 = Reshape (q0, nq) q = Transpose <perm = [0,2,1,3]> (q1)
      k0 = MatMul (x, wk) k1 = Reshape (k0, nk) k = Transpose <perm = [0,2,1,3]> (k1)
      v0 = MatMul (x, wv) v1 = Reshape (v0, nk) v2 = Transpose <perm = [0,2,1,3]> (v1)
      f = Slice (k, start, half, last) g = Slice (k, half, end, last) ng = Neg (g) rot = Concat <axis = -1> (ng, f)
      kc = Mul (k, cos) ks = Mul (rot, sin) kr = Add (kc, ks)
      ku = Unsqueeze (kr, two) ke = Expand (ku, times) kk = Reshape (ke, heads) vu = Unsqueeze (v2, two) ve = Expand (vu, times) vv = Reshape (ve, heads)
      kt = Transpose <perm = [0,1,3,2]> (kk) s = MatMul (q, kt) a = Softmax <axis = -1> (s) o = MatMul (a, vv)
      c = Transpose <perm = [0,2,1,3]> (o) z = Reshape (c, m) y = MatMul (z, v) }`,
  },
];
