/** Covariances of patches, against im2col written out in float64. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Samples } from "../../src/calibrate/samples.js";
import { collect } from "../../src/calibrate/statistics/collect.js";
import { readStatistics, writeStatistics } from "../../src/calibrate/statistics/file.js";
import type { PatchesRequest, Window } from "../../src/calibrate/statistics/request.js";
import { mergeSummaries, statisticsFrom } from "../../src/calibrate/statistics/summary.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Runner } from "../../src/runtime/runner.js";
import { modelOf, randomFloats } from "../support/build.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

const COUNT = 11;

function samplesOf(dims: readonly number[], shift = 0): Samples {
  const size = dims.reduce((a, b) => a * b, 1);
  const rows = Array.from({ length: COUNT }, (_, i) => randomFloats(`sample ${i}`, size).map((x) => x + shift));
  return {
    count: COUNT,
    labels: undefined,
    source: "test",
    fingerprint: `${dims}`,
    bad: [],
    batch: async (from, to) => {
      const data = new Float32Array((to - from) * size);
      for (let i = from; i < to; i++) data.set(rows[i] as Float32Array, (i - from) * size);
      return { x: Tensor.floats([to - from, ...dims], data) };
    },
  } as Samples;
}

/** Every patch of [C, …spatial] as a row of channels [from, to) times taps, pads as zeros. */
function patchesOf(x: Float32Array, dims: readonly number[], { window, channels, every = 1 }: PatchesRequest): number[][] {
  const spatial = dims.slice(1);
  const [from, to] = channels ?? [0, dims[0] as number];
  const rank = spatial.length;
  const { kernel, strides, pads, dilations } = window;
  const out = spatial.map((n, a) => {
    const reach = ((kernel[a] as number) - 1) * (dilations[a] as number) + 1;
    return Math.floor((n + (pads[a] as number) + (pads[a + rank] as number) - reach) / (strides[a] as number)) + 1;
  });
  const grid = (extents: readonly number[]): number[][] =>
    extents.reduce<number[][]>((all, n) => all.flatMap((p) => Array.from({ length: n }, (_, i) => [...p, i])), [[]]);
  return grid(out)
    .filter((p) => p.every((i) => i % every === 0))
    .map((p) =>
      Array.from({ length: to - from }, (_, c) => c + from).flatMap((c) =>
        grid(kernel).map((t) => {
          const at = t.map((d, a) => (p[a] as number) * (strides[a] as number) + d * (dilations[a] as number) - (pads[a] as number));
          if (at.some((i, a) => i < 0 || i >= (spatial[a] as number))) return 0;
          return x[at.reduce((o, i, a) => o * (spatial[a] as number) + i, c)] as number;
        }),
      ),
    );
}

const window = (kernel: number[], rest: Partial<Window> = {}): Window => ({
  kernel,
  strides: kernel.map(() => 1),
  pads: [...kernel, ...kernel].map(() => 0),
  dilations: kernel.map(() => 1),
  ...rest,
});

test.each<[string, readonly number[], Partial<PatchesRequest>, number, number]>([
  ["3 × 3, padded", [3, 7, 6], { window: window([3, 3], { pads: [1, 1, 1, 1] }) }, 0, 13],
  [
    "strided, dilated, padded on one side more",
    [2, 9, 8],
    { window: window([2, 3], { strides: [2, 1], dilations: [1, 2], pads: [0, 2, 1, 0] }) },
    0,
    13,
  ],
  ["one group of channels", [6, 5, 5], { window: window([3, 3], { pads: [1, 1, 1, 1] }), channels: [2, 4] }, 0, 13],
  ["every other position", [3, 7, 8], { window: window([3, 3], { pads: [1, 1, 1, 1] }), every: 2 }, 0, 13],
  ["every third of a strided 1 × 1", [4, 13, 9], { window: window([1, 1], { strides: [2, 2] }), every: 3 }, 0, 13],
  ["one spatial axis", [3, 12], { window: window([5], { pads: [2, 2], strides: [2] }) }, 0, 13],
  ["three spatial axes", [2, 4, 3, 5], { window: window([2, 2, 2], { pads: [1, 0, 0, 0, 0, 1] }) }, 0, 13],
  ["a mean far from 0, and zeros beside it", [3, 6, 6], { window: window([3, 3], { pads: [1, 1, 1, 1] }) }, 300, 13],
  ["more entries than one block of products", [30, 4, 4], { window: window([3, 3], { pads: [1, 1, 1, 1] }) }, 0, 18],
  ["an old opset", [4, 6, 6], { window: window([3, 3], { pads: [1, 1, 1, 1] }), channels: [1, 3] }, 0, 9],
])("%s: covariances are those of the patches written out", async (_name, dims, asked, shift, opset) => {
  const symbols = dims.slice(1).map((_, a) => `S${a}`);
  // Spatial extents that only the run knows change nothing.
  const model = modelOf(
    `g (float[N, ${dims[0]}, ${symbols.join(", ")}] x) => (float[N, ${dims[0]}, ${symbols.join(", ")}] y) { y = LeakyRelu (x) }`,
    opset,
  );
  const request = { kind: "patches", value: "x", axis: 1, ...asked } as PatchesRequest;
  const samples = samplesOf(dims, shift);
  const found = statisticsFrom(await collect(runner, model, [request], samples, { batch: 4 })).of(request);
  const rows: number[][] = [];
  for (let i = 0; i < COUNT; i++) rows.push(...patchesOf((await samples.batch(i, i + 1)).x?.numbers() as Float32Array, dims, request));
  const D = rows[0]?.length as number;
  expect(found.count).toBe(rows.length);
  expect(found.mean.length).toBe(D);
  const mean = Array.from({ length: D }, (_, d) => rows.reduce((s, r) => s + (r[d] as number), 0) / rows.length);
  const centred = rows.map((r) => r.map((v, d) => v - (mean[d] as number)));
  const covariance = (d: number, e: number) => centred.reduce((s, r) => s + (r[d] as number) * (r[e] as number), 0) / rows.length;
  const deviation = mean.map((_, d) => Math.sqrt(covariance(d, d)));
  for (let d = 0; d < D; d++) {
    expect(Math.abs((found.mean[d] as number) - (mean[d] as number))).toBeLessThan(2e-5 * (deviation[d] as number));
    for (let e = 0; e < D; e += D > 100 ? 7 : 1) {
      const error = Math.abs((found.covariance[d * D + e] as number) - covariance(d, e));
      expect(error).toBeLessThanOrEqual(2e-5 * (deviation[d] as number) * (deviation[e] as number));
    }
  }
});

test("sums of shards, written and read, are the bytes of one run", async () => {
  const model = modelOf("g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) { y = Relu (x) }");
  const request = { kind: "patches", value: "y", axis: 1, window: window([3, 3], { pads: [1, 1, 1, 1] }), every: 2 } as const;
  const samples = samplesOf([3, 8, 8]);
  const run = (index: number) => collect(runner, model, [request], samples, { batch: 2, shard: { index, of: 2 } });
  const whole = writeStatistics(await collect(runner, model, [request], samples, { batch: 2 }));
  const [a, b] = [readStatistics(writeStatistics(await run(0)), "a"), await run(1)];
  expect(Buffer.compare(writeStatistics(mergeSummaries(b, a)), whole)).toBe(0);
});

test("a window that does not fit the value is refused", async () => {
  const model = modelOf("g (float[N, 3, 8] x) => (float[N, 3, 8] y) { y = Relu (x) }");
  const request = { kind: "patches", value: "y", axis: 1, window: window([3, 3]) } as const;
  await expect(collect(runner, model, [request], samplesOf([3, 8]))).rejects.toThrow(/Windows of 2 axes cannot slide over "y" of 3 axes/);
});
