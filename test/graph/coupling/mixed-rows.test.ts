/**
 * What an operator mixes along an axis must be the same in all rows of that axis. Here the dims inside each of three rows
 * may leave row by row (a reshape made them), until an operator reads dim i of one row together with dim i of another.
 */
import { describe, expect, test } from "vitest";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { modelOf } from "../../support/build.js";
import { prove, randomRemoval } from "../../support/oracle.js";

interface Row {
  readonly name: string;
  readonly opset?: number;
  /** Makes u of r; `{rows}` is the number of the axis of the rows. */
  readonly body: string;
  readonly constants?: string;
  /** Axis numbers of the rows: where they come first, and behind the dims. Default: both. */
  readonly at?: readonly number[];
}

const mixing: readonly Row[] = [
  { name: "CumSum", body: "u = CumSum (r, axis)" },
  { name: "CumProd", opset: 26, body: "u = CumProd (r, axis)" },
  { name: "Softmax", body: "u = Softmax <axis = {rows}> (r)" },
  { name: "LogSoftmax", body: "u = LogSoftmax <axis = {rows}> (r)" },
  { name: "Hardmax", body: "m = Hardmax <axis = {rows}> (r) u = Mul (m, r)" },
  { name: "LpNormalization", body: "u = LpNormalization <axis = {rows}> (r)" },
  { name: "MeanVarianceNormalization", body: "u = MeanVarianceNormalization <axes = [{rows}]> (r)" },
  { name: "LayerNormalization", opset: 17, body: "u = LayerNormalization <axis = 2> (r, s)", constants: "float[3] s = {1, 2, 3}", at: [2] },
  { name: "RMSNormalization", opset: 23, body: "u = RMSNormalization <axis = 2> (r, s)", constants: "float[3] s = {1, 2, 3}", at: [2] },
  { name: "InstanceNormalization", body: "u = InstanceNormalization (r, s, s)", constants: "float[4] s = {1, 2, 3, 4}", at: [2] },
  {
    name: "ReverseSequence",
    body: "u = ReverseSequence <batch_axis = 0, time_axis = 1> (r, n)",
    constants: "int64[2] n = {2, 3}",
    at: [1],
  },
  {
    name: "SkipLayerNormalization",
    body: "u = com.microsoft.SkipLayerNormalization (r, r, s)",
    constants: "float[3] s = {1, 2, 3}",
    at: [2],
  },
  {
    name: "QLinearSoftmax",
    body: `n = QuantizeLinear (r, scale, zero) m = com.microsoft.QLinearSoftmax <axis = {rows}, opset = 13> (n, scale, zero, small, zero)
      k = DequantizeLinear (m, small, zero) u = Mul (k, r)`,
    constants: "float scale = {0.05}, uint8 zero = {128}, float small = {0.01}",
  },
  { name: "TopK", body: "u, i = TopK <axis = {rows}> (r, all)", constants: "int64[1] all = {3}" },
  { name: "ReduceMax", body: "m = ReduceMax <axes = [{rows}]> (r) u = Sub (r, m)" },
  { name: "GatherElements", body: "i = ArgMax <axis = {rows}> (r) g = GatherElements <axis = {rows}> (r, i) u = Sub (r, g)" },
  { name: "TensorScatter", opset: 24, body: "u = TensorScatter <axis = 1> (r, v)", constants: "float[2,3,4] v = {...}", at: [1] },
  { name: "ScatterND", body: "u = ScatterND (r, i, v)", constants: "int64[2,2] i = {0, 2, 1, 1}, float[2,4] v = {...}", at: [1] },
  { name: "AveragePool", body: "u = AveragePool <kernel_shape = [3], pads = [1, 1]> (r)", at: [2] },
  { name: "MatMul", body: "u = MatMul (w, r)", constants: "float[3,3] w = {...}", at: [1] },
  { name: "Compress", body: "u = Compress <axis = {rows}> (r, c)", constants: "bool[3] c = {1, 0, 1}" },
  {
    name: "DFT",
    opset: 20,
    body: "n = Unsqueeze (r, last) d = DFT (n, , axis) u = ReduceSum <keepdims = 0> (d, last)",
    constants: "int64[1] last = {-1}",
  },
];

const passing: readonly Row[] = [
  { name: "Relu", body: "u = Relu (r)" },
  { name: "Mul by a row each", body: "u = Mul (r, s)", constants: "float[3,1] s = {1, 2, 3}", at: [1] },
  {
    name: "Softmax along another axis",
    body: "e = Unsqueeze (r, first) s = Concat <axis = 0> (e, e) m = Softmax <axis = 0> (s) u = ReduceSum <keepdims = 0> (m, first)",
    constants: "int64[1] first = {0}",
  },
  {
    name: "a flip of the rows",
    body: "u = Slice (r, from, to, along, step)",
    constants: "int64[1] from = {-1}, int64[1] to = {-4}, int64[1] along = {1}, int64[1] step = {-1}",
    at: [1],
  },
];

/** h [2, 12] as three rows of four dims, or as those transposed; the operator; and a layer over all of it. */
function graphOf({ body, constants = "" }: Row, at: number): string {
  const back = at === 1 ? "t = Identity (u)" : "t = Transpose <perm = [0, 2, 1]> (u)";
  const read = at === 1 ? "r = Identity (q)" : "r = Transpose <perm = [0, 2, 1]> (q)";
  return `g (float[2,5] x) => (float[] y) <float[5,12] a = {...}, float[12,2] b = {...}, float[8,2] b8 = {...}, int64[3] shape = {2, 3, 4}, int64[2] flat = {2, -1},
    int64 axis = {${at}}${constants && `, ${constants}`}> {
    h = MatMul (x, a) q = Reshape (h, shape) ${read} ${body.replaceAll("{rows}", `${at}`)} ${back} f = Reshape (t, flat) y = MatMul (f, b) }`;
}

async function proved(row: Row, at: number): Promise<number> {
  const text = graphOf(row, at);
  // What Compress leaves is two rows.
  const header = `<ir_version: 10, opset_import: ["" : ${row.opset ?? 13}, "com.microsoft" : 1]>`;
  const model = modelOf(`${header} ${row.name === "Compress" ? text.replace("MatMul (f, b)", "MatMul (f, b8)") : text}`);
  const c = findGroups(model);
  for (const seed of [1, 2, 3]) {
    const removed = randomRemoval(c, seed, 0.5);
    expect(removed.size).toBeGreaterThan(0);
    expect((await prove(c, removed)).maxRel).toBeLessThanOrEqual(2e-5);
  }
  return c.groups.find((g) => g.name === "a:1")?.choices.length ?? 0;
}

describe("mixed along the rows, a dim leaves from all of them", () => {
  for (const row of mixing)
    for (const at of row.at ?? [1, 2])
      test(`${row.name}, the rows being axis ${at}`, async () => {
        expect(await proved(row, at)).toBeLessThanOrEqual(4);
      });
});

describe("not mixed, each row has its own", () => {
  for (const row of passing)
    for (const at of row.at ?? [1, 2])
      test(`${row.name}, the rows being axis ${at}`, async () => {
        expect(await proved(row, at)).toBe(12);
      });
});
