/** Statistics from the instrumented graph, against a two-pass float64 computation on the exposed activations. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Samples } from "../../src/calibrate/samples.js";
import { collect } from "../../src/calibrate/statistics/collect.js";
import { readStatistics, writeStatistics } from "../../src/calibrate/statistics/file.js";
import { instrument, tapped } from "../../src/calibrate/statistics/instrument.js";
import type { Gram, StatisticRequest } from "../../src/calibrate/statistics/request.js";
import { chunksOf, mergeSummaries, type Summary, statisticsFrom } from "../../src/calibrate/statistics/summary.js";
import { readModel } from "../../src/export/read.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import { placementOf } from "../../src/runtime/placement.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { carriersOf } from "../../src/score/carriers.js";
import { extract } from "../../src/verify/extract.js";
import { randomFeeds } from "../../src/verify/feeds.js";
import { modelOf, randomFloats } from "../support/build.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

/** Samples of one input: normal numbers, or what `make` says; labels cycle through `classes`. */
function samplesOf(
  dims: readonly number[],
  count: number,
  { classes = 0, make }: { classes?: number; make?: (i: number) => Float32Array } = {},
): Samples {
  const size = dims.reduce((a, b) => a * b, 1);
  const row = make ?? ((i: number) => randomFloats(`sample ${i}`, size));
  return {
    count,
    labels: classes > 0 ? Int32Array.from({ length: count }, (_, i) => i % classes) : undefined,
    source: "test",
    fingerprint: `${dims} ${count} ${classes}`,
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
    modelOf(
      "g (float[N, 5, 6] x) => (float[N, 5, 4] y) <float[6, 8] w1 = {...}, float[8, 4] w2 = {...}> { a = MatMul (x, w1) t = Tanh (a) y = MatMul (t, w2) }",
    ),
    "t",
    2,
    [5, 6],
  ],
  [
    "windows of samples on axis 0",
    modelOf(
      "g (float[N, 4, 6] x) => (float[M, 8] y) <int64[2] s = {-1, 6}, float[6, 8] w1 = {...}> { f = Reshape (x, s) y = MatMul (f, w1) }",
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

describe("sums", () => {
  const samples = samplesOf([3, 9, 7], 37, { classes: 3 });
  const requests: StatisticRequest[] = [
    { kind: "moments", variable: "pixels", byClass: true, value: "r", axis: 1 },
    { kind: "gram", pool: 3, value: "r", axis: 1 },
    { kind: "samples", variable: "gmp", limit: 10, value: "c", axis: 1 },
    { kind: "histogram", variable: "pixels", byClass: false, bins: 16, value: "c", axis: 1 },
    { kind: "range", value: "c", axis: 1 },
  ];
  const options = { batch: 2 };
  const shard = (index: number, of: number) => collect(runner, net, requests, samples, { ...options, shard: { index, of } });

  test("of eight shards, merged in any order, are the bytes of one run", async () => {
    const whole = writeStatistics(await collect(runner, net, requests, samples, options));
    const parts = await Promise.all(Array.from({ length: 8 }, (_, i) => shard(i, 8)));
    for (const order of [
      [0, 1, 2, 3, 4, 5, 6, 7],
      [7, 2, 5, 0, 3, 6, 1, 4],
      [4, 3, 5, 2, 6, 1, 7, 0],
    ]) {
      // Through files, as shards travel.
      const files = order.map((i) => readStatistics(writeStatistics(parts[i] as Summary), "part.npz"));
      expect(writeStatistics(files.reduce((a, b) => mergeSummaries(a, b)))).toEqual(whole);
    }
    // Pairs first, then pairs of pairs.
    const [a, b, c, d] = [0, 2, 4, 6].map((i) => mergeSummaries(parts[i + 1] as Summary, parts[i] as Summary));
    expect(writeStatistics(mergeSummaries(mergeSummaries(d as Summary, a as Summary), mergeSummaries(c as Summary, b as Summary)))).toEqual(
      whole,
    );
  });

  test("do not depend on threads, or on how many runs memory allows", async () => {
    const whole = writeStatistics(await collect(runner, net, requests, samples, options));
    expect(writeStatistics(await collect(runner, net, requests, samples, { ...options, memory: 1 }))).toEqual(whole);
    const two = await openNodeRunner({ threads: 2 });
    expect(writeStatistics(await collect(two, net, requests, samples, options))).toEqual(whole);
    await two.close();
  });

  test("go on from a checkpoint with the chunks that are missing, and end in the same bytes", async () => {
    const whole = writeStatistics(await collect(runner, net, requests, samples, options));
    const saved: Summary[] = [];
    const stop = new AbortController();
    const save = async (s: Summary) => {
      saved.push(readStatistics(writeStatistics(s), "checkpoint"));
      if (saved.length === 5) stop.abort();
    };
    await expect(
      collect(runner, net, requests, samples, { ...options, checkpoint: { every: 0, save }, signal: stop.signal }),
    ).rejects.toThrow("abort");
    const before = saved.at(-1) as Summary;
    expect(chunksOf(before)).toEqual([0, 1, 2, 3, 4]);
    let read = 0;
    const counted: Samples = {
      ...samples,
      batch: (from, to) => {
        read++;
        return samples.batch(from, to);
      },
    };
    const resumed = await collect(runner, net, requests, counted, { ...options, resume: before });
    expect(writeStatistics(resumed)).toEqual(whole);
    // A look at the first batch, for where means lie; then 14 of 19 batches.
    expect(read).toBe(1 + 14);
  });

  test("of other data, another batch, or the same shard twice do not add up", async () => {
    const [first, second] = [await shard(0, 2), await shard(1, 2)];
    expect(() => mergeSummaries(first, first)).toThrow(/chunk 0 of 19/);
    const other = await collect(runner, net, requests, samplesOf([3, 9, 7], 37), options);
    expect(() => mergeSummaries(first, other)).toThrow(/data is .* in one/);
    expect(() => mergeSummaries(second, { ...first, gathered: first.gathered.slice(1) })).toThrow(/statistics is/);
    expect(() => statisticsFrom(second)).toThrow(/9 of 19 chunks of the data are missing/);
  });
});

test("a mean far from 0 costs no digits", async () => {
  const model = modelOf(`g (float[N, 2, 16, 16] x) => (float[N, 2, 16, 16] y) <float[2] b = {100, -300}> {
    t = Transpose <perm = [0, 2, 3, 1]> (x)
    a = Add (t, b)
    y = Transpose <perm = [0, 3, 1, 2]> (a)
  }`);
  const samples = samplesOf([2, 16, 16], 24);
  const tap = { value: "y", axis: 1 };
  const requests = [
    { kind: "moments", variable: "pixels", byClass: false, ...tap },
    { kind: "moments", variable: "gap", byClass: false, ...tap },
    { kind: "gram", ...tap },
  ] as const;
  const found = statisticsFrom(await collect(runner, model, requests, samples, { batch: 8 }));
  const all = await exposed(model, "y", 1, samples);
  for (const k of [0, 1]) {
    const p = pixels(all, k);
    expect(relative(found.of(requests[0]).variance[k] as number, variance(p))).toBeLessThan(1e-5);
    expect(relative(found.of(requests[0]).mean[k] as number, mean(p))).toBeLessThan(1e-7);
    expect(relative(found.of(requests[2]).covariance[3 * k] as number, variance(p))).toBeLessThan(1e-5);
    const gaps = all.map((s) => mean(s[k] as Float64Array));
    // Sums of float32 values near 300: their own rounding, relative to the deviation of means.
    expect(relative(found.of(requests[1]).variance[k] as number, variance(gaps))).toBeLessThan(1e-4);
  }
});

test("maps are pooled as adaptive average pooling does, whatever their extents", async () => {
  const samples = samplesOf([3, 9, 7], 6);
  const request = { kind: "gram", pool: 4, value: "r", axis: 1 } as const;
  const found = statisticsFrom(await collect(runner, net, [request], samples, { batch: 3 })).of(request);
  const all = await exposed(net, "r", 1, samples);
  const pooled = all.map((sample) =>
    sample.map((map) => {
      const out: number[] = [];
      for (let i = 0; i < 4; i++)
        for (let j = 0; j < 4; j++) {
          const rows = [Math.floor((i * 9) / 4), Math.ceil(((i + 1) * 9) / 4)] as const;
          const columns = [Math.floor((j * 7) / 4), Math.ceil(((j + 1) * 7) / 4)] as const;
          const cell: number[] = [];
          for (let h = rows[0]; h < rows[1]; h++) for (let w = columns[0]; w < columns[1]; w++) cell.push(map[h * 7 + w] as number);
          out.push(mean(cell));
        }
      return out;
    }),
  );
  expect(found.count).toBe(6 * 16);
  for (let k = 0; k < 6; k++) {
    for (let j = 0; j < 6; j++) {
      const [p, q] = [k, j].map((c) => pooled.flatMap((s) => s[c] as number[])) as [number[], number[]];
      const want = mean(p.map((v, i) => (v - mean(p)) * ((q[i] as number) - mean(q))));
      expect(relative(found.covariance[k * 6 + j] as number, want, Math.sqrt(variance(p) * variance(q)))).toBeLessThan(1e-5);
    }
  }
});

test.each([256, 700])("covariances of %i channels are those of a product of all with all", async (C) => {
  const model = modelOf(`g (float[N, 9] x) => (float[N, ${C}] y) <float[9, ${C}] w = {...}> { m = MatMul (x, w) y = Tanh (m) }`);
  const samples = samplesOf([9], 30);
  const request = { kind: "gram", value: "y", axis: 1 } as const;
  const { covariance } = statisticsFrom(await collect(runner, model, [request], samples, { batch: 7 })).of(request);
  const all = (await exposed(model, "y", 1, samples)).map((s) => s.map((x) => x[0] as number));
  const means = Array.from({ length: C }, (_, k) => mean(all.map((s) => s[k] as number)));
  let worst = 0;
  for (let k = 0; k < C; k++) {
    for (let j = 0; j < C; j++) {
      const want = mean(all.map((s) => ((s[k] as number) - (means[k] as number)) * ((s[j] as number) - (means[j] as number))));
      worst = Math.max(worst, Math.abs((covariance[k * C + j] as number) - want));
    }
  }
  expect(worst).toBeLessThan(1e-6);
});

test("a histogram counts every sample once, in bins that lie around the first batch", async () => {
  const samples = samplesOf([3, 9, 7], 40, { classes: 2 });
  const request = { kind: "histogram", variable: "gap", byClass: true, bins: 12, value: "r", axis: 1 } as const;
  const found = statisticsFrom(await collect(runner, net, [request], samples, { batch: 8 })).of(request);
  const all = await exposed(net, "r", 1, samples);
  for (let k = 0; k < 6; k++) {
    const gaps = all.map((s) => mean(s[k] as Float64Array));
    const [low, width] = [found.low[k] as number, found.width[k] as number];
    const want = new Float64Array(12);
    for (const g of gaps) {
      const b = Math.min(11, Math.max(0, Math.floor((g - low) / width)));
      want[b] = (want[b] as number) + 1;
    }
    expect(found.counts[k]).toEqual(want);
    const [first, second] = found.byClass.map((counts) => counts[k]) as [Float64Array, Float64Array];
    const sums = first.map((n, b) => n + (second[b] as number));
    expect(sums).toEqual(want);
    expect(low).toBeLessThan(Math.min(...gaps.slice(0, 8)));
    expect(low + 12 * width).toBeGreaterThan(Math.max(...gaps.slice(0, 8)));
  }
});

test("what cannot be measured is refused with the reason", async () => {
  const samples = samplesOf([3, 9, 7], 4);
  const ask = (value: string, axis: number) => collect(runner, net, [{ kind: "range", value, axis }], samples);
  await expect(ask("nothing", 1)).rejects.toThrow(/no tensor of the main graph/);
  await expect(ask("r", 0)).rejects.toThrow(/axis 0 counts samples/);
  await expect(ask("r", 4)).rejects.toThrow(/axis 0 counts samples/);
  const turned = modelOf("g (float[N, 5, 6] x) => (float[5, N, 6] y) { y = Transpose <perm = [1, 0, 2]> (x) }");
  await expect(collect(runner, turned, [{ kind: "range", value: "y", axis: 2 }], samplesOf([5, 6], 4))).rejects.toThrow(
    /does not count samples/,
  );
  const infinite = samplesOf([3, 9, 7], 4, { make: () => new Float32Array(3 * 63).fill(Number.NaN) });
  const request = { kind: "moments", variable: "gap", byClass: false, value: "c", axis: 1 } as const;
  await expect(collect(runner, net, [request], infinite).then(statisticsFrom)).rejects.toThrow(/NaN or infinity/);
});

test("taps cost no fusion: as many convolutions run, in the same layout, and nothing that they had absorbed", async () => {
  const model = await readModel("models/cifar10_resnet20.onnx");
  const coupling = findGroups(model);
  const carriers = coupling.groups.flatMap((g) => carriersOf(g, coupling));
  const feeds = randomFeeds(model, 1);
  const opsOf = async (m: Model) => Object.values((await placementOf(runner, sourceOf(m), feeds)) ?? {})[0] ?? {};
  const plain = await opsOf(model);
  const taps = [...new Map(carriers.map((c) => [c.value.name, c])).values()].map(({ value, axis }) => ({
    tap: tapped(model, coupling.typing.types, { value: value.name, axis }, "N"),
    reductions: ["mean", "square"] as const,
  }));
  expect(taps.length).toBeGreaterThan(18);
  const { model: copy } = instrument(model, taps);
  const seen = await opsOf(copy);
  expect(seen["Conv"]).toBe(plain["Conv"]);
  // What convolutions absorb: were one tapped inside, these would run by themselves.
  for (const op of ["Relu", "Add", "BatchNormalization", "FusedConv"]) expect([op, seen[op] ?? 0]).toEqual([op, plain[op] ?? 0]);
  // One product and two pools a tap, and what takes their small results out of the blocked layout.
  expect(seen["Mul"]).toBe((plain["Mul"] ?? 0) + taps.length);
  expect(seen["ReorderOutput"]).toBeLessThanOrEqual((plain["ReorderOutput"] ?? 0) + 2 * taps.length);
});

test("progress counts samples, to the last, over every run that memory asks for", async () => {
  const samples = samplesOf([3, 9, 7], 37);
  const requests = ["r", "c"].map((value): StatisticRequest => ({ kind: "range", value, axis: 1 }));
  const told: [number, number][] = [];
  const onProgress = (done: number, total: number) => told.push([done, total]);
  await collect(runner, net, requests, samples, { batch: 10, onProgress });
  expect(told).toEqual([10, 20, 30, 37].map((n) => [n, 37]));
  told.length = 0;
  await collect(runner, net, requests, samples, { batch: 10, onProgress, memory: 1, shard: { index: 1, of: 2 } });
  expect(told).toEqual([10, 17, 27, 34].map((n) => [n, 34]));
});
