/** obs with exchanges in a whole run: the same widths, less lost, and a file that computes what it should. */
import { describe, expect, test } from "vitest";
import type { Samples } from "../../src/calibrate/samples.js";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { findEntry } from "../../src/passes/registry.js";
import { type PruneOptions, prune } from "../../src/pipeline.js";
import { findValue, modelOf, randomFloats } from "../support/build.js";

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

async function pruned(model: Model, swaps: number, options: Omit<PruneOptions, "passes">) {
  const passes = [{ entry: await findEntry("obs"), options: { swaps } }];
  const made = await prune(model, { ep: "cpu", latency: false, align: 1, threads: 1, seed: 0, ...options, passes });
  expect(made.report.equality.map((e) => e.ok)).toEqual(made.report.equality.map(() => true));
  expect(made.report.equality.length).toBeGreaterThan(0);
  return made;
}
type Made = Awaited<ReturnType<typeof pruned>>;
const widths = ({ plans }: Made) => Object.entries(plans[0]?.remove ?? {}).map(([group, gone]) => [group, gone.length]);
const exchanges = ({ plans }: Made) => plans[0]?.why["exchanges"] as { channels: number; loss: [number, number] } | undefined;

/** Channel 0 is 1 + 2 and a little of its own: one of them is easily spared, but of two it is 1 and 2. */
function planted(): Model {
  const model = modelOf(`g (float[N,5,6,6] x) => (float[N,2,6,6] y) < float[5,5,1,1] w1 = {...}, float[2,5,1,1] w2 = {...} > {
    a = Conv (x, w1) y = Conv (a, w2) }`);
  const set = (name: string, rows: readonly (readonly number[])[]) =>
    model.graph.setConstant(findValue(model, name), Tensor.floats([rows.length, 5, 1, 1], Float32Array.from(rows.flat())));
  set("w1", [
    [1, 1, 0.1, 0, 0],
    [1, 0, 0, 0, 0],
    [0, 1, 0, 0, 0],
    [0, 0, 0, 1, 0],
    [0, 0, 0, 0, 1],
  ]);
  set("w2", [
    [0.5, 1, 1, 0, 0],
    [0, 0, 0, 3, 4],
  ]);
  return model;
}

describe("exchanges", () => {
  test("find what the greedy choice misses, and recovery finds it as well", async () => {
    const options = { target: { ratio: 0.6 }, calibration: samplesOf([5, 6, 6], 40), reconstruct: "least-squares" } as const;
    const [greedy, swapped] = [await pruned(planted(), 0, options), await pruned(planted(), 1, options)];
    expect(greedy.plans[0]?.remove["w1:0"]).toContain(0);
    expect(swapped.plans[0]?.remove).toEqual({ "w1:0": [1, 2] });
    expect(widths(swapped)).toEqual(widths(greedy));
    // Recovery may add a bias to one and not to the other.
    expect(swapped.report.cost.after.macs).toBe(greedy.report.cost.after.macs);
    expect(exchanges(greedy)).toBeUndefined();
    const { channels, loss } = exchanges(swapped) as NonNullable<ReturnType<typeof exchanges>>;
    expect(channels).toBe(1);
    expect(loss[1]).toBeLessThan(0.1 * loss[0]);
    const left = ({ report }: Made) => report.steps.find((s) => s.recovery)?.recovery?.after as number;
    expect(left(swapped)).toBeLessThan(0.1 * left(greedy));
  });

  test("keep the widths where channels leave in units: of each group of a convolution as many, of each head as many", async () => {
    const models: readonly (readonly [readonly number[], () => Model])[] = [
      [
        [3, 6, 6],
        () =>
          modelOf(`g (float[N,3,6,6] x) => (float[N,5,6,6] y) <
              float[32,3,1,1] w0 = {...}, float[32] b0 = {...}, float[48,16,3,3] w1 = {...}, float[48] b1 = {...}, float[5,48,1,1] w2 = {...} > {
            a = Conv (x, w0, b0) b = Relu (a) c = Conv <group = 2, pads = [1, 1, 1, 1]> (b, w1, b1) d = Relu (c) y = Conv (d, w2) }`),
      ],
      [
        [5, 12],
        () =>
          modelOf(`g (float[N,5,12] x) => (float[N,5,7] y) <
              float[12,24] wq = {...}, float[12,24] wk = {...}, float[12,24] wv = {...}, float[24,12] wo = {...}, float[12,7] wy = {...},
              int64[4] split = {0,5,4,6}, int64[3] merged = {0,5,24} > {
            q0 = MatMul (x, wq) k0 = MatMul (x, wk) v0 = MatMul (x, wv)
            q1 = Reshape (q0, split) k1 = Reshape (k0, split) v1 = Reshape (v0, split)
            q = Transpose <perm = [0, 2, 1, 3]> (q1) k = Transpose <perm = [0, 2, 3, 1]> (k1) v = Transpose <perm = [0, 2, 1, 3]> (v1)
            s = MatMul (q, k) p = Softmax <axis = -1> (s) h = MatMul (p, v)
            t = Transpose <perm = [0, 2, 1, 3]> (h) m = Reshape (t, merged) o = MatMul (m, wo) r = Relu (o) y = MatMul (r, wy) }`),
      ],
    ];
    for (const [dims, made] of models) {
      const options = { target: { ratio: 0.5 }, calibration: samplesOf(dims, 24) } as const;
      const [greedy, swapped] = [await pruned(made(), 0, options), await pruned(made(), 8, options)];
      expect(widths(swapped)).toEqual(widths(greedy));
      expect(swapped.report.cost.after).toEqual(greedy.report.cost.after);
      const { channels, loss } = exchanges(swapped) as NonNullable<ReturnType<typeof exchanges>>;
      expect(channels).toBeGreaterThan(0);
      expect(loss[1]).toBeLessThan(loss[0]);
    }
  });
});
