import { describe, expect, test } from "vitest";
import { findGroups, type Group } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { foldBatchNorm } from "../../src/passes/fold-batch-norm.js";
import { runPass } from "../../src/passes/run-pass.js";
import { FoldedWeights } from "../../src/score/folded-weights.js";
import { modelOf } from "../support/build.js";
import { fusedModel } from "../support/proven.js";

const norm = (c: number, p = "") =>
  `float[${c}] g${p} = {...}, float[${c}] b${p} = {...}, float[${c}] m${p} = {...}, float[${c}] v${p} = {...}`;

function open(model: Model, name?: string): { group: Group; weights: FoldedWeights } {
  const coupling = findGroups(model);
  const group = (name === undefined ? coupling.groups[0] : coupling.groups.find((g) => g.name === name)) as Group;
  return { group, weights: new FoldedWeights((v) => coupling.typing.types.shape(v)) };
}
const rounded = (vectors: readonly Float64Array[]) => vectors.map((v) => Array.from(v, (x) => Math.round(x * 1e4) / 1e4));

describe("folded weights are those of the model with batch normalisation folded in:", () => {
  test.each([
    [
      "Conv",
      `g (float[1, 3, 4, 4] x) => (float[] y) <float[4, 3, 3, 3] w = {...}, float[4] cb = {...}, ${norm(4)}, float[2, 4, 1, 1] u = {...}, ${norm(2, "2")}> {
      c = Conv (x, w, cb) n = BatchNormalization (c, g, b, m, v) r = Relu (n) d = Conv (r, u) y = BatchNormalization (d, g2, b2, m2, v2) }`,
    ],
    [
      "ConvTranspose with groups",
      `g (float[1, 4, 4, 4] x) => (float[] y) <float[4, 4, 4, 4] p = {...}, float[4, 3, 2, 2] w = {...}, ${norm(6)}, float[2, 6, 1, 1] u = {...}> {
      c = ConvTranspose <group = 2> (x, w) n = BatchNormalization (c, g, b, m, v) r = Relu (n) y = Conv (r, u) }`,
    ],
    [
      "Gemm",
      `g (float[1, 3] x) => (float[] y) <float[3, 4] w = {...}, float[4] cb = {...}, ${norm(4)}, float[2, 4] u = {...}> {
      c = Gemm <alpha = 2.0, beta = 0.5> (x, w, cb) n = BatchNormalization (c, g, b, m, v) r = Relu (n) y = Gemm <transB = 1> (r, u) }`,
    ],
    [
      "MatMul",
      `g (float[N, 3] x) => (float[] y) <float[3, 4] w = {...}, ${norm(4)}, float[4, 2] u = {...}> {
      c = MatMul (x, w) n = BatchNormalization (c, g, b, m, v) r = Relu (n) y = MatMul (r, u) }`,
    ],
  ])("%s", (_, text) => {
    const model = modelOf(text);
    const { model: folded, changed } = runPass(foldBatchNorm, model);
    expect(changed).toBe(true);
    const [a, b] = [open(model), open(folded)];
    expect(a.group.slots.some((s) => s.role === "producer")).toBe(true);
    for (const what of ["producers", "consumers"] as const) {
      const [mine, theirs] = [a.weights[what](a.group), b.weights[what](b.group)];
      expect(mine.map((s) => rounded(s.vectors))).toEqual(theirs.map((s) => rounded(s.vectors)));
      expect(mine.map((s) => rounded(s.biases))).toEqual(theirs.map((s) => rounded(s.biases)));
    }
    expect(a.weights.vectors(a.group)).toEqual([]);
  });

  test("norms are those of the vectors", () => {
    const { group, weights } = open(
      modelOf(`g (float[1, 3, 4, 4] x) => (float[] y) <float[4, 3, 3, 3] w = {...}, ${norm(4)}, float[2, 4, 1, 1] u = {...}, ${norm(2, "2")}> {
      c = Conv (x, w) n = BatchNormalization (c, g, b, m, v) r = Relu (n) d = Conv (r, u) y = BatchNormalization (d, g2, b2, m2, v2) }`),
    );
    const l1 = (v: Float64Array) => v.reduce((s, x) => s + Math.abs(x), 0);
    const l2 = (v: Float64Array) => Math.sqrt(v.reduce((s, x) => s + x * x, 0));
    const [filters, readers] = [weights.producers(group)[0]?.vectors ?? [], weights.consumers(group)[0]?.vectors ?? []];
    filters.forEach((v, k) => {
      expect(weights.producerNorms(group, 1, false)[0]?.norms[k]).toBeCloseTo(l1(v), 9);
      expect(weights.producerNorms(group, 2, false)[0]?.norms[k]).toBeCloseTo(l2(v), 9);
    });
    readers.forEach((v, k) => {
      expect(weights.consumerNorms(group, 1)[0]?.norms[k]).toBeCloseTo(l1(v), 9);
    });
  });
});

test("a constant Add after a MatMul is its bias, and no vector of its own", () => {
  const { group, weights } = open(
    modelOf(`g (float[N, 5, 3] x) => (float[] y) <float[3, 4] w = {...}, float[4] b = {10, 20, 30, 40}, float[4, 2] u = {...}> {
    c = MatMul (x, w) a = Add (c, b) r = Relu (a) y = MatMul (r, u) }`),
  );
  expect(rounded(weights.producers(group)[0]?.biases ?? [])).toEqual([[10], [20], [30], [40]]);
  expect(weights.vectors(group)).toEqual([]);
});

test("a normalisation behind an Add of two branches is no fold: its scale and shift are vectors of the group", () => {
  const { group, weights } = open(
    modelOf(`g (float[1, 3, 4, 4] x) => (float[] y) <float[4, 3, 1, 1] w = {...}, float[4, 3, 1, 1] w2 = {...}, float[4] g = {2, 4, 6, 8},
    float[4] b = {1, 1, 1, 1}, float[4] m = {1, 1, 1, 1}, float[4] v = {4, 4, 4, 4}, float[2, 4, 1, 1] u = {...}> {
    c = Conv (x, w) d = Conv (x, w2) a = Add (c, d) n = BatchNormalization <epsilon = 0.0> (a, g, b, m, v) y = Conv (n, u) }`),
  );
  expect(weights.producers(group)).toHaveLength(2);
  expect(weights.vectors(group).map((s) => rounded(s.vectors))).toEqual([
    [[1], [2], [3], [4]],
    [[0], [-1], [-2], [-3]],
  ]);
});

test("the columns of a Gemm behind a Flatten are H·W per channel", () => {
  const { group, weights } = open(
    modelOf(`g (float[1, 1, 2, 2] x) => (float[] y) <float[2, 1, 1, 1] w = {1, 2}, float[1, 8] u = {0, 1, 2, 3, 4, 5, 6, 7}> {
    c = Conv (x, w) f = Flatten (c) y = Gemm <transB = 1> (f, u) }`),
  );
  expect(rounded(weights.consumers(group)[0]?.vectors ?? [])).toEqual([
    [0, 1, 2, 3],
    [4, 5, 6, 7],
  ]);
});

test("weights are followed through Transpose and DequantizeLinear", () => {
  const { group, weights } = open(
    modelOf(`g (float[N, 2] x) => (float[] y) <int8[3, 2] q = {1, 2, 3, 4, 5, 6}, float[3] s = {1.0, 0.5, 2.0}, int8[3] z = {0, 0, 1}, float[3, 2] u = {...}> {
    w = DequantizeLinear <axis = 0> (q, s, z) t = Transpose <perm = [1, 0]> (w) c = MatMul (x, t) r = Relu (c) y = MatMul (r, u) }`),
    "q:0",
  );
  expect(rounded(weights.producers(group)[0]?.vectors ?? [])).toEqual([
    [1, 2],
    [1.5, 2],
    [8, 10],
  ]);
});

const QUANTISED = `uint8[3, 2] q = {1, 2, 3, 4, 5, 6}, float[3] s = {1.0, 0.5, 2.0}, uint8[3] z = {0, 4, 7}, float one = {1.0}, uint8 zero = {0}, uint8[3, 2] u = {...}`;
test.each([
  ["QLinearConv", "x = QLinearConv (c, one, zero, q4, s, z, one, zero)", "uint8[3, 2, 1, 1] q4 = {1, 2, 3, 4, 5, 6}", "q4:0"],
  ["QGemm", "x = com.microsoft.QGemm <transB = 1> (r, one, zero, q, s, z, , one, zero)", "", "q:0"],
  ["QLinearMatMul", "x = QLinearMatMul (r, one, zero, t, s, z, one, zero)", "uint8[2, 3] t = {1, 3, 5, 2, 4, 6}", "t:1"],
])("weights of %s are the real numbers that they stand for", (op, body, extra, name) => {
  const isConv = op === "QLinearConv";
  const tail = isConv
    ? "y = QLinearConv (x, one, zero, v, one, zero, one, zero)"
    : "y = QLinearMatMul (x, one, zero, u, one, zero, one, zero)";
  const input = isConv ? "uint8[N, 2, 4, 4] c" : "uint8[N, 2] r";
  const { group, weights } = open(
    fusedModel(`g (${input}) => (uint8[] y) <${QUANTISED}, uint8[2, 3, 1, 1] v = {...}${extra ? `, ${extra}` : ""}> { ${body} ${tail} }`),
    name,
  );
  const real = [
    [1, 2],
    [-0.5, 0],
    [-4, -2],
  ];
  expect(rounded(weights.producers(group)[0]?.vectors ?? [])).toEqual(real);
});

test("weights in blocks take the scale of their block", () => {
  const { group, weights } = open(
    fusedModel(`g (float[N, 3] x) => (float[] y) <float[3, 4] a = {...}, int4[4, 2] q = {1, 2, 3, 4, 5, 6, 7, -8}, float[2, 2] s = {1.0, 0.5, 2.0, 4.0}, int4[2, 2] z = {0, 1, 2, 3}, float[2, 3] u = {...}> {
    h = MatMul (x, a) w = DequantizeLinear <axis = 0, block_size = 2> (q, s, z) c = MatMul (h, w) y = MatMul (c, u) }`),
    "q:1",
  );
  expect(rounded(weights.producers(group)[0]?.vectors ?? [])).toEqual([
    [1, 3, 6, 10],
    [0.5, 1.5, 12, -44],
  ]);
});

test("a tied matrix makes channels at one node and reads them at the other", () => {
  const { group, weights } = open(
    modelOf(`g (float[N, 2] x) => (float[N, 2] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}, float[3] b = {7, 8, 9}> {
    h = Gemm (x, w, b) r = Relu (h) y = Gemm <transB = 1> (r, w) }`),
  );
  expect(weights.producers(group).map((s) => rounded(s.vectors))).toEqual([
    [
      [1, 4],
      [2, 5],
      [3, 6],
    ],
  ]);
  expect(weights.producers(group).map((s) => rounded(s.biases))).toEqual([[[7], [8], [9]]]);
  expect(weights.consumers(group).map((s) => rounded(s.vectors))).toEqual([
    [
      [1, 4],
      [2, 5],
      [3, 6],
    ],
  ]);
});
