/** Statistics from the instrumented graph, against a two-pass float64 computation on the exposed activations. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Samples } from "../../src/calibrate/samples.js";
import { collect } from "../../src/calibrate/statistics/collect.js";
import type { Gram, StatisticRequest } from "../../src/calibrate/statistics/request.js";
import { statisticsFrom } from "../../src/calibrate/statistics/summary.js";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { extract } from "../../src/verify/extract.js";
import { modelOf, randomFloats } from "../support/build.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

/** Samples of one input: normal numbers, or what `make` says; labels cycle through `classes`. */
function samplesOf(dims: readonly number[], count: number, { classes = 0, make }: { classes?: number; make?: (i: number) => Float32Array } = {}): Samples {
  const size = dims.reduce((a, b) => a * b, 1);
  const row = make ?? ((i: number) => randomFloats(`sample ${i}`, size));
  return {
    count,
    labels: classes > 0 ? Int32Array.from({ length: count }, (_, i) => i % classes) : undefined,
    source: "test",
    bad: [],
    batch: async (from, to) => {
      const data = new Float32Array((to - from) * size);
      for (let i = from; i < to; i++) data.set(row(i), (i - from) * size);
      return { x: Tensor.floats([to - from, ...dims], data) };
    },
  } as Samples;
}

/** values[n][k] of channel k of sample n, in float64, from the exposed activation. */
async function exposed(model: Model, value: string, axis: number, samples: Samples): Promise<Float64Array[][]> {
  const session = await runner.load(sourceOf(extract(model, { outputs: [value] })));
  const out: Float64Array[][] = [];
  for (let i = 0; i < samples.count; i++) {
    const t = (await session.run(await samples.batch(i, i + 1)))[value] as Tensor;
    const inner = t.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
    const C = t.dims[axis] as number;
    const data = t.numbers();
    out.push(Array.from({ length: C }, (_, k) => Float64Array.from(data).filter((_x, p) => Math.floor(p / inner) % C === k)));
  }
  await session.release();
  return out;
}
const mean = (x: ArrayLike<number>) => Array.from(x).reduce((a, b) => a + b, 0) / x.length;
const variance = (x: ArrayLike<number>) => {
  const m = mean(x);
  return mean(Array.from(x, (v) => (v - m) ** 2));
};
/** All values of channel k. */
const pixels = (all: readonly Float64Array[][], k: number) => all.flatMap((s) => [...(s[k] as Float64Array)]);
const relative = (got: number, want: number, scale = Math.abs(want)) => Math.abs(got - want) / Math.max(scale, 1e-12);

const net = modelOf(`g (float[N, 3, 9, 7] x) => (float[N, 4] y)
  <float[6, 3, 3, 3] w1 = {...}, float[6] b1 = {...}, float[5, 6, 3, 3] w2 = {...}, float[4, 5] w3 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
  r = Relu (a)
  c = Conv <pads = [1, 1, 1, 1]> (r, w2)
  g = GlobalAveragePool (c)
  f = Flatten (g)
  y = Gemm <transB = 1> (f, w3)
}`);

describe.each([
  ["a feature map after Relu", net, "r", 1, [3, 9, 7]],
  ["a feature map that is negative too", net, "c", 1, [3, 9, 7]],
  ["a vector", net, "f", 1, [3, 9, 7]],
  [
    "tokens",
    modelOf("g (float[N, 5, 6] x) => (float[N, 5, 4] y) <float[6, 8] w1 = {...}, float[8, 4] w2 = {...}> { a = MatMul (x, w1) t = Tanh (a) y = MatMul (t, w2) }"),
    "t",
    2,
    [5, 6],
  ],
  [
    "windows of samples on axis 0",
    modelOf(
      'g (float[N, 4, 6] x) => (float[M, 8] y) <int64[2] s = {-1, 6}, float[6, 8] w1 = {...}> { f = Reshape (x, s) y = MatMul (f, w1) }',
    ),
    "y",
    1,
    [4, 6],
  ],
] as const)("%s", (_name, model, value, axis, dims) => {
  const samples = samplesOf(dims, 21, { classes: 3 });
  const tap = { value, axis };
  const requests = {
    pixels: { kind: "moments", variable: "pixels", byClass: true, ...tap },
    gap: { kind: "moments", variable: "gap", byClass: true, ...tap },
    gmp: { kind: "moments", variable: "gmp", byClass: false, ...tap },
    absolute: { kind: "absolute", ...tap },
    active: { kind: "active", ...tap },
    range: { kind: "range", ...tap },
    samples: { kind: "samples", variable: "gap", limit: 100, ...tap },
    gram: { kind: "gram", ...tap },
  } as const satisfies Record<string, StatisticRequest>;

  test("has the moments, ranges and covariances of its exposed numbers", async () => {
    const all = await exposed(model, value, axis, samples);
    const found = statisticsFrom(await collect(runner, model, Object.values(requests), samples, { batch: 4 }));
    const C = (all[0] as Float64Array[]).length;
    const gram: Gram = found.of(requests.gram);
    for (let k = 0; k < C; k++) {
      const p = pixels(all, k);
      const sd = Math.sqrt(variance(p));
      const moments = found.of(requests.pixels);
      expect(relative(moments.mean[k] as number, mean(p), sd)).toBeLessThan(1e-5);
      expect(relative(moments.variance[k] as number, variance(p))).toBeLessThan(1e-5);
      for (let c = 0; c < 3; c++) {
        const mine = all.filter((_, i) => i % 3 === c).flatMap((s) => [...(s[k] as Float64Array)]);
        expect(relative(moments.classes[c]?.variance[k] as number, variance(mine))).toBeLessThan(1e-5);
      }
      const gaps = all.map((s) => mean(s[k] as Float64Array));
      expect(relative(found.of(requests.gap).variance[k] as number, variance(gaps))).toBeLessThan(2e-5);
      const maxima = all.map((s) => Math.max(...(s[k] as Float64Array)));
      expect(relative(found.of(requests.gmp).mean[k] as number, mean(maxima))).toBeLessThan(1e-5);
      expect(relative(found.of(requests.absolute)[k] as number, mean(p.map(Math.abs)))).toBeLessThan(1e-5);
      expect(found.of(requests.active).positive[k]).toBeCloseTo(mean(p.map((v) => (v > 0 ? 1 : 0))), 6);
      expect(found.of(requests.active).zero[k]).toBeCloseTo(mean(p.map((v) => (v === 0 ? 1 : 0))), 6);
      expect(found.of(requests.range).min[k]).toBe(Math.min(...p));
      expect(found.of(requests.range).max[k]).toBe(Math.max(...p));
      gaps.forEach((g, i) => {
        expect(relative(found.of(requests.samples).values[i]?.[k] as number, g, sd)).toBeLessThan(1e-5);
      });
      for (let j = 0; j < C; j++) {
        const q = pixels(all, j);
        const want = mean(p.map((v, i) => (v - mean(p)) * ((q[i] as number) - mean(q))));
        expect(relative(gram.covariance[k * C + j] as number, want, Math.sqrt(variance(p) * variance(q)))).toBeLessThan(1e-5);
      }
    }
    expect(Array.from(found.of(requests.samples).labels ?? [])).toEqual(Array.from({ length: 21 }, (_, i) => i % 3));
    expect(found.of(requests.pixels).classes.map((c) => c.samples)).toEqual([7, 7, 7]);
  });
});
