/** obs: the loss after optimal reconstruction, against dense least squares over every set of channels. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Samples } from "../../src/calibrate/samples.js";
import { collect } from "../../src/calibrate/statistics/collect.js";
import type { StatisticRequest, Statistics } from "../../src/calibrate/statistics/request.js";
import { statisticsFrom } from "../../src/calibrate/statistics/summary.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { eliminate, precisionOf, type ReadingLayer } from "../../src/score/obs/elimination.js";
import { obs } from "../../src/score/obs/obs.js";
import { extract } from "../../src/verify/extract.js";
import { findValue, modelOf, randomFloats } from "../support/build.js";
import { edited, type Scored, score } from "./scoring.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

/** Least squares of targets [n][m] on columns X [n][d] and a constant: the mean squared residual, summed over targets. Gauss–Jordan in float64. */
function residual(X: readonly (readonly number[])[], Y: readonly (readonly number[])[]): number {
  const n = X.length;
  const centre = (A: readonly (readonly number[])[]) => {
    const mean = (A[0] as number[]).map((_, j) => A.reduce((s, r) => s + (r[j] as number), 0) / n);
    return A.map((r) => r.map((v, j) => v - (mean[j] as number)));
  };
  const [x, y] = [centre(X), centre(Y)];
  const d = x[0]?.length ?? 0;
  // Modified Gram–Schmidt: what is left of the targets after each direction that is not already spanned.
  let left = y;
  const basis: number[][] = [];
  for (let j = 0; j < d; j++) {
    let v = x.map((r) => r[j] as number);
    const size = Math.hypot(...v);
    for (let pass = 0; pass < 2; pass++) {
      for (const b of basis) {
        const c = b.reduce((s, bi, i) => s + bi * (v[i] as number), 0);
        v = v.map((vi, i) => vi - c * (b[i] as number));
      }
    }
    const rest = Math.hypot(...v);
    if (rest <= 1e-7 * size || rest === 0) continue;
    const unit = v.map((vi) => vi / rest);
    basis.push(unit);
    left = left.map((r) => [...r]);
    for (let m = 0; m < (left[0] as number[]).length; m++) {
      const c = unit.reduce((s, u, i) => s + u * ((left[i] as number[])[m] as number), 0);
      unit.forEach((u, i) => {
        (left[i] as number[])[m] = ((left[i] as number[])[m] as number) - c * u;
      });
    }
  }
  return left.reduce((s, r) => s + r.reduce((t, v) => t + v * v, 0), 0) / n;
}

interface Data {
  readonly x: readonly (readonly number[])[];
  readonly features: readonly (readonly number[])[];
  /** rows × all features. */
  readonly W: readonly (readonly number[])[];
  readonly importance: number;
}

function layerOf({ x, features, W, importance }: Data, ridge = 1e-12): ReadingLayer {
  const [n, size] = [x.length, (x[0] as number[]).length];
  const mean = Array.from({ length: size }, (_, i) => x.reduce((s, r) => s + (r[i] as number), 0) / n);
  const covariance = new Float64Array(size * size);
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++)
      covariance[i * size + j] =
        x.reduce((s, r) => s + ((r[i] as number) - (mean[i] as number)) * ((r[j] as number) - (mean[j] as number)), 0) / n;
  const weights = features.map((f) => Float64Array.from(W.flatMap((row) => f.map((i) => row[i] as number))));
  return { precision: precisionOf(covariance, size, ridge), features, weights, importance };
}

/** What is lost of Wx when only the features outside `gone` may be used. */
function lossOf({ x, features, W, importance }: Data, gone: readonly number[]): number {
  const out = new Set(gone.flatMap((k) => features[k] as number[]));
  const keep = (x[0] as number[]).map((_, i) => i).filter((i) => !out.has(i));
  const y = x.map((r) => W.map((row) => row.reduce((s, w, i) => s + w * (r[i] as number), 0)));
  return importance * residual(keep.length > 0 ? x.map((r) => keep.map((i) => r[i] as number)) : x.map(() => []), y);
}

const normals = (seed: string, rows: number, columns: number): number[][] => {
  const flat = randomFloats(seed, rows * columns);
  return Array.from({ length: rows }, (_, i) => [...flat.subarray(i * columns, (i + 1) * columns)]);
};
/** Correlated features: few sources mixed, and noise of their own. */
function mixed(seed: string, rows: number, columns: number): number[][] {
  const sources = normals(`${seed} sources`, rows, 3);
  const mix = normals(`${seed} mix`, 3, columns);
  const noise = normals(`${seed} noise`, rows, columns);
  return sources.map(
    (s, i) => noise[i]?.map((e, j) => 0.4 * e + s.reduce((t, v, a) => t + v * (mix[a]?.[j] as number), 0) + j) as number[],
  );
}

describe("elimination", () => {
  const two: Data[] = [
    {
      x: mixed("a", 60, 12),
      features: [
        [0, 1],
        [2, 3],
        [4, 5],
        [8, 9],
        [10, 11],
      ],
      W: normals("wa", 3, 12),
      importance: 1,
    },
    // A second layer that reads four of the five, in another order, one feature each.
    { x: mixed("b", 50, 5), features: [[3], [], [1], [0], [4]], W: normals("wb", 2, 5), importance: 0.3 },
  ];

  test("takes the channel whose leaving costs least, and the cost is that of dense least squares, at every step", () => {
    const { order, losses } = eliminate(
      5,
      two.map((d) => layerOf(d)),
    );
    const total = (gone: readonly number[]) => two.reduce((s, d) => s + lossOf(d, gone), 0);
    let before = 0;
    order.forEach((k, i) => {
      const gone = order.slice(0, i);
      const costs = [0, 1, 2, 3, 4].filter((c) => !gone.includes(c)).map((c) => ({ c, cost: total([...gone, c]) }));
      const best = costs.reduce((a, b) => (b.cost < a.cost ? b : a));
      expect(k).toBe(best.c);
      expect(losses[i]).toBeCloseTo(best.cost - before, 8);
      before = best.cost;
    });
  });

  test("is as good as the best of all sets where channels do not depend on each other", () => {
    const x = normals("independent", 400, 6);
    const data: Data = { x, features: [[0], [1], [2], [3], [4], [5]], W: normals("w", 2, 6), importance: 1 };
    const { order } = eliminate(6, [layerOf(data)]);
    for (let size = 1; size < 6; size++) {
      let best = Number.POSITIVE_INFINITY;
      for (let set = 0; set < 64; set++) {
        const gone = [0, 1, 2, 3, 4, 5].filter((k) => set & (1 << k));
        if (gone.length === size) best = Math.min(best, lossOf(data, gone));
      }
      expect(lossOf(data, order.slice(0, size))).toBeLessThan(1.02 * best);
    }
  });

  test("of duplicates, scaled duplicates, sums of others and dead channels costs nothing, though H is singular", () => {
    const base = mixed("base", 80, 4);
    // 4: twice channel 0; 5: its opposite; 6: the sum of 1 and 2; 7: dead; 8: constant.
    const x = base.map((r) => [...r, 2 * (r[0] as number), -(r[0] as number) + 5, (r[1] as number) + (r[2] as number), 0, 3]);
    const data: Data = { x, features: x[0]?.map((_, i) => [i]) as number[][], W: normals("w9", 3, 9), importance: 1 };
    const energy = lossOf(data, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    const { order, losses } = eliminate(9, [layerOf(data, 1e-4)]);
    expect(new Set(order.slice(0, 2))).toEqual(new Set([7, 8]));
    // Two of the three twins, and one of the three that add up: what is left has four dimensions.
    for (const loss of losses.subarray(0, 5)) expect(loss).toBeLessThan(3e-4 * energy);
    expect(losses[5]).toBeGreaterThan(3e-3 * energy);
    expect(lossOf(data, order.slice(0, 5))).toBeLessThan(1e-8 * energy);
    for (const loss of losses) expect(Number.isFinite(loss)).toBe(true);
  });
});

/** Samples of input x that are normal numbers. */
function samplesOf(dims: readonly number[], count: number): Samples {
  const size = dims.reduce((a, b) => a * b, 1);
  return {
    count,
    labels: undefined,
    source: "test",
    fingerprint: `${dims} ${count}`,
    bad: [],
    batch: async (from, to) => {
      const data = new Float32Array((to - from) * size);
      for (let i = from; i < to; i++) data.set(randomFloats(`sample ${i}`, size), (i - from) * size);
      return { x: Tensor.floats([to - from, ...dims], data) };
    },
  } as Samples;
}

/** The ranking of a group with statistics of real runs. */
async function judged(model: Model, samples: Samples, options: object = {}, group?: string): Promise<Scored> {
  let wanted: readonly StatisticRequest[] = [];
  score(obs, model, options, group, 0, (requests) => {
    wanted = requests;
    return { samples: 0, classes: 0, has: () => false, of: (r) => empty(r) } as unknown as Statistics;
  });
  const statistics = statisticsFrom(await collect(runner, model, wanted, samples));
  return score(obs, model, options, group, 0, () => statistics);
}
/** Nothing known: no feature varies. */
function empty(request: StatisticRequest): unknown {
  return request.kind === "moments"
    ? { variance: new Float64Array(1), mean: new Float64Array(1) }
    : { mean: new Float64Array(4096), covariance: { length: 0 } as unknown as Float64Array, count: 0 };
}

async function valuesOf(model: Model, name: string, samples: Samples): Promise<Tensor> {
  const session = await runner.load(sourceOf(extract(model, { outputs: [name] })));
  const out = (await session.run(await samples.batch(0, samples.count)))[name] as Tensor;
  await session.release();
  return out;
}

const DIMS = [2, 6, 6] as const;
const convs = modelOf(`g (float[N, 2, 6, 6] x) => (float[N, 3, 6, 6] y)
  <float[5, 2, 3, 3] w1 = {...}, float[5] b1 = {...}, float[3, 5, 3, 3] w2 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
  r = Relu (a)
  y = Conv <pads = [1, 1, 1, 1]> (r, w2)
}`);

test("losses of a padded convolution are those of fitting it anew by least squares on its patches", async () => {
  const samples = samplesOf(DIMS, 12);
  const { order, scores } = await judged(convs, samples, { per: "none", ridge: 1e-7 });
  const r = await valuesOf(convs, "r", samples);
  const y = await valuesOf(convs, "y", samples);
  const at = (t: Tensor, n: number, c: number, i: number, j: number) => {
    const [, C, H, W] = t.dims as [number, number, number, number];
    return i < 0 || j < 0 || i >= H || j >= W ? 0 : (t.numbers()[((n * C + c) * H + i) * W + j] as number);
  };
  const places = Array.from({ length: 12 * 36 }, (_, p) => [Math.floor(p / 36), Math.floor((p % 36) / 6), p % 6] as const);
  const targets = places.map(([n, i, j]) => [0, 1, 2].map((o) => at(y, n, o, i, j)));
  const patches = (of: readonly number[]) =>
    places.map(([n, i, j]) =>
      of.flatMap((c) => Array.from({ length: 9 }, (_, t) => at(r, n, c, i + Math.floor(t / 3) - 1, j + (t % 3) - 1))),
    );
  const energy = residual(
    targets.map(() => []),
    targets,
  );
  let before = 0;
  let highest = 0;
  order?.forEach((k, i) => {
    const loss = residual(patches([0, 1, 2, 3, 4].filter((c) => !order.slice(0, i + 1).includes(c))), targets) / energy;
    highest = Math.max(highest, loss - before);
    expect(Math.abs((scores[k] as number) - highest)).toBeLessThan(2e-5);
    before = loss;
  });
});

describe("scores", () => {
  const samples = samplesOf(DIMS, 16);

  test("move with the channels when these are permuted", async () => {
    const order = [3, 0, 4, 2, 1];
    const permute = (model: Model, name: string, rows: number, inner: number) =>
      edited(model, name, (data) => {
        const before = Float32Array.from(data);
        for (let o = 0; o < rows; o++)
          order.forEach((from, to) => {
            data.set(before.subarray((o * 5 + from) * inner, (o * 5 + from + 1) * inner), (o * 5 + to) * inner);
          });
      });
    const turned = permute(permute(permute(convs, "w1", 1, 18), "b1", 1, 1), "w2", 3, 9);
    const [a, b] = [await judged(convs, samples), await judged(turned, samples)];
    order.forEach((from, to) => {
      expect((b.scores[to] as number) / (a.scores[from] as number)).toBeCloseTo(1, 3);
    });
  });

  test("do not change when a channel is scaled and the weights that read it take that back", async () => {
    const scaled = edited(
      edited(
        edited(convs, "w1", (d) => {
          for (let i = 18; i < 36; i++) d[i] = 64 * (d[i] as number);
        }),
        "b1",
        (d) => {
          d[1] = 64 * (d[1] as number);
        },
      ),
      "w2",
      (d) => {
        for (let o = 0; o < 3; o++) for (let t = 0; t < 9; t++) d[(o * 5 + 1) * 9 + t] = (d[(o * 5 + 1) * 9 + t] as number) / 64;
      },
    );
    const [a, b] = [await judged(convs, samples), await judged(scaled, samples)];
    expect(b.order).toEqual(a.order);
    a.scores.forEach((s, k) => {
      expect((b.scores[k] as number) / s).toBeCloseTo(1, 3);
    });
  });

  test("of a twin that is twice the other, and of a dead channel, are nothing beside the rest", async () => {
    const planted = edited(
      edited(convs, "w1", (d) => {
        for (let i = 0; i < 18; i++) {
          d[3 * 18 + i] = 2 * (d[i] as number);
          d[4 * 18 + i] = 0;
        }
      }),
      "b1",
      (d) => {
        d[3] = 2 * (d[0] as number);
        d[4] = -1;
      },
    );
    const { order, scores } = await judged(planted, samples, { per: "none", ridge: 1e-4 });
    expect(order?.[0]).toBe(4);
    expect([0, 3]).toContain(order?.[1]);
    expect(scores[order?.[1] as number]).toBeLessThan(1e-3);
    expect(scores[order?.[2] as number]).toBeGreaterThan(1e-2);
  });

  test("per multiply-accumulate: of two layers that lose alike the dearer leaves first", async () => {
    // The same channels read at 6 × 6 by one filter or by eight that are all alike: the same share of what is fed is lost.
    const text = (filters: number) => `g (float[N, 2, 6, 6] x) => (float[N, ${filters}, 6, 6] y)
      <float[4, 2, 1, 1] w1 = {...}, float[${filters}, 4, 1, 1] w2 = {...}> { a = Conv (x, w1) r = Relu (a) y = Conv (r, w2) }`;
    const one = modelOf(text(1));
    const row = Float32Array.from(findValue(one, "w2").constant?.numbers() ?? []);
    const eight = edited(modelOf(text(8)), "w2", (d) => {
      for (let o = 0; o < 8; o++) d.set(row, o * 4);
    });
    const [a, b] = [await judged(one, samples, { per: "none" }), await judged(eight, samples, { per: "none" })];
    a.scores.forEach((s, k) => {
      expect((b.scores[k] as number) / s).toBeCloseTo(1, 3);
    });
    // A channel saves a quarter of all, whatever the layer: as shares of the model the two are alike, too.
    const [c, d] = [await judged(one, samples), await judged(eight, samples)];
    c.scores.forEach((s, k) => {
      expect(s / (a.scores[k] as number)).toBeCloseTo(4, 3);
      expect((d.scores[k] as number) / (b.scores[k] as number)).toBeCloseTo(4, 3);
    });
  });
});

describe("layers", () => {
  test("of a residual stream all count, each as a share of what it feeds", async () => {
    const stream = modelOf(`g (float[N, 2, 6, 6] x) => (float[N, 3, 6, 6] v)
      <float[4, 2, 1, 1] w0 = {...}, float[4] b0 = {...}, float[5, 4, 1, 1] w1 = {...}, float[4, 5, 1, 1] w2 = {...},
       float[4, 4, 1, 1] w3 = {...}, float[3, 4, 1, 1] w4 = {...}> {
      p = Conv (x, w0, b0)
      s = Tanh (p)
      a = Conv (s, w1)
      b = Relu (a)
      c = Conv (b, w2)
      t = Add (s, c)
      u0 = Conv (t, w3)
      u = Add (t, u0)
      v = Conv (u, w4)
    }`);
    const samples = samplesOf(DIMS, 16);
    const { order, scores } = await judged(stream, samples, { per: "none", ridge: 1e-7 }, "w0:0");
    /** Rows: positions of all samples; columns: channels. */
    const columns = async (name: string) => {
      const t = await valuesOf(stream, name, samples);
      const [N, C, H, W] = t.dims as [number, number, number, number];
      const x = t.numbers();
      return Array.from({ length: N * H * W }, (_, p) =>
        Array.from({ length: C }, (_, c) => x[(Math.floor(p / (H * W)) * C + c) * H * W + (p % (H * W))] as number),
      );
    };
    // Layer, what it reads, what it feeds: the second is added to the stream.
    const readers = await Promise.all(
      [["a", "s", "a"] as const, ["u0", "t", "u"] as const, ["v", "u", "v"] as const].map(async (names) => Promise.all(names.map(columns))),
    );
    const loss = (gone: readonly number[]) =>
      readers.reduce((sum, [y, x, fed]) => {
        const left = (x as number[][]).map((r) => r.filter((_, c) => !gone.includes(c)));
        return (
          sum +
          residual(left, y as number[][]) /
            residual(
              (fed as number[][]).map(() => []),
              fed as number[][],
            )
        );
      }, 0);
    let [before, highest] = [0, 0];
    order?.forEach((k, i) => {
      const after = loss(order.slice(0, i + 1));
      highest = Math.max(highest, after - before);
      expect(Math.abs((scores[k] as number) - highest)).toBeLessThan(5e-5 * (1 + highest));
      before = after;
    });
  });

  test.each([
    ["groups of channels", "Conv <group = 2> (r, w2)", "float[4, 2, 1, 1] w2 = {...}", "float[N, 4, 6, 6] y"],
    ["a transposed convolution", "ConvTranspose (r, w2)", "float[4, 3, 2, 2] w2 = {...}", "float[N, 3, 7, 7] y"],
    [
      "uneven padding by name",
      `Conv <auto_pad = "SAME_LOWER", strides = [2, 2]> (r, w2)`,
      "float[3, 4, 2, 2] w2 = {...}",
      "float[N, 3, 3, 3] y",
    ],
  ])("%s are judged", async (_name, conv, weight, output) => {
    const model = modelOf(`g (float[N, 2, 6, 6] x) => (${output}) <float[4, 2, 1, 1] w1 = {...}, ${weight}> {
      a = Conv (x, w1) r = Relu (a) y = ${conv} }`);
    const { whole, scores } = await judged(model, samplesOf(DIMS, 16));
    expect(whole).toBeUndefined();
    for (const s of scores) expect(s).toBeGreaterThan(0);
  });

  test("after a flattened map, all positions of a channel leave together; sharing their covariances ranks a dead channel first, too", async () => {
    const model = edited(
      modelOf(`g (float[N, 2, 6, 6] x) => (float[N, 3] y) <float[4, 2, 1, 1] w1 = {...}, float[4] b1 = {...}, float[3, 144] w2 = {...}> {
        a = Conv (x, w1, b1) r = Relu (a) f = Flatten (r) y = Gemm <transB = 1> (f, w2) }`),
      "w2",
      (d) => {
        for (let o = 0; o < 3; o++) for (let p = 0; p < 36; p++) d[o * 144 + 2 * 36 + p] = 0;
      },
    );
    for (const features of [1152, 100]) {
      const { order, scores } = await judged(model, samplesOf(DIMS, 300), { features, per: "none" });
      expect(order?.[0]).toBe(2);
      expect(scores[2]).toBeLessThan(1e-9);
      expect(scores[order?.[1] as number]).toBeGreaterThan(1e-3);
    }
  });

  test("whose channels meet other activations keep them all, and the reason is told", async () => {
    const model = modelOf(`g (float[N, 5, 6] x) => (float[N, 5, 5] y) <float[6, 4] q = {...}, float[6, 4] k = {...}> {
      a = MatMul (x, q) b = MatMul (x, k) t = Transpose <perm = [0, 2, 1]> (b) y = MatMul (a, t) }`);
    const { whole } = score(obs, model, {}, undefined, 0, undefined);
    expect(whole).toMatch(/multiplied with other activations/);
    // The same in heads, each with channels of its own.
    const heads =
      modelOf(`g (float[N, 5, 6] x) => (float[N, 2, 5, 5] y) <float[6, 8] q = {...}, float[6, 8] k = {...}, int64[4] s = {0, 5, 2, 4}> {
      a = MatMul (x, q) b = MatMul (x, k) c = Reshape (a, s) d = Reshape (b, s)
      e = Transpose <perm = [0, 2, 1, 3]> (c) t = Transpose <perm = [0, 2, 3, 1]> (d) y = MatMul (e, t) }`);
    const { groups } = findGroups(heads);
    expect(groups.length).toBeGreaterThan(0);
    for (const { name } of groups) expect(score(obs, heads, {}, name).whole).toMatch(/multiplied with other activations/);
  });
});
