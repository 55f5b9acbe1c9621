/** Output change of bypassed blocks, against runs of the models without them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bypassOrder, measureBypass } from "../../src/calibrate/bypass.js";
import { modelInputs } from "../../src/calibrate/model-inputs.js";
import { openSamples, type Samples } from "../../src/calibrate/samples.js";
import { findBlocks } from "../../src/graph/blocks/find.js";
import { removeBlocks } from "../../src/graph/blocks/remove.js";
import type { Model } from "../../src/graph/graph.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { modelOf } from "../support/build.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

const zeros = (n: number) => new Array(n).fill(0).join(", ");
const weight = (name: string, scale: "{...}" | 0) => `float[6, 6] ${name} = ${scale === 0 ? `{${zeros(36)}}` : scale}`;

/** Three blocks in a row; `dead` gives nothing, `small` a hundredth of what `large` does. */
const net = (end: string, batch: number | "N" = "N") =>
  modelOf(`g (float[${batch}, 6] x) => (float[${batch}, 4] y) <${weight("w1", "{...}")}, ${weight("w2", 0)}, ${weight("w3", "{...}")}, float[6, 4] wf = {...}, float hundredth = {0.01}> {
    h1 = MatMul (x, w1) t1 = Tanh (h1) k1 = Mul (t1, hundredth) small = Add (x, k1)
    h2 = MatMul (small, w2) dead = Add (h2, small)
    h3 = MatMul (dead, w3) large = Add (dead, h3)
    l = MatMul (large, wf) y = ${end} (l) }`);

const samplesOf = (model: Model, count: number): Promise<Samples> => openSamples(`random:${count}`, modelInputs(model));

/** Rows of the first output, one run per sample. */
async function rows(model: Model, samples: Samples): Promise<number[][]> {
  const session = await runner.load(sourceOf(model), { optimization: "disabled" });
  const out: number[][] = [];
  for (let i = 0; i < samples.count; i++) {
    const outputs = await session.run(await samples.batch(i, i + 1));
    out.push(Array.from(Object.values(outputs)[0]?.numbers() ?? []));
  }
  await session.release();
  return out;
}

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((s, x, i) => s + x * (b[i] as number), 0);
const softmax = (x: readonly number[]) => {
  const e = x.map(Math.exp);
  return e.map((v) => v / e.reduce((s, y) => s + y, 0));
};
const DISTANCES = {
  cosine: (a: readonly number[], b: readonly number[]) => 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)),
  relative: (a: readonly number[], b: readonly number[]) =>
    Math.sqrt(a.reduce((s, x, i) => s + (x - (b[i] as number)) ** 2, 0) / dot(a, a)),
  kl: (a: readonly number[], b: readonly number[]) => {
    const [p, q] = [softmax(a), softmax(b)];
    return p.reduce((s, x, i) => s + x * Math.log(x / (q[i] as number)), 0);
  },
};

describe("measureBypass", () => {
  it.each(["cosine", "kl", "relative"] as const)("%s is that of models without the block, run sample by sample", async (metric) => {
    const model = net("Identity");
    const { blocks } = findBlocks(model);
    const samples = await samplesOf(model, 11);
    const changes = await measureBypass(runner, model, blocks, samples, { metric, batch: 4 });
    const before = await rows(model, samples);
    for (const [k, block] of blocks.entries()) {
      const after = await rows(removeBlocks(model, [block]), samples);
      const want = before.reduce((s, row, i) => s + DISTANCES[metric](row, after[i] as number[]), 0) / samples.count;
      expect(Math.abs((changes[k] as number) - want), block.name).toBeLessThan(1e-5 * Math.max(1, want));
    }
  });

  it.each(["cosine", "kl", "relative"] as const)("%s of a block that gives nothing is 0 exactly, and orders the others", async (metric) => {
    const model = net("Identity");
    const { blocks } = findBlocks(model);
    const [small, dead, large] = await measureBypass(runner, model, blocks, await samplesOf(model, 8), { metric });
    expect(blocks.map((b) => b.name)).toEqual(["small", "dead", "large"]);
    expect(dead).toBe(0);
    expect(small).toBeGreaterThan(0);
    expect(large).toBeGreaterThan(20 * (small as number));
  });

  it("takes probabilities as they are where a Softmax makes them", async () => {
    const [logits, probabilities] = [net("Identity"), net("Softmax")];
    const of = async (m: Model) => measureBypass(runner, m, findBlocks(m).blocks, await samplesOf(m, 6), { metric: "kl" });
    const [a, b] = [await of(logits), await of(probabilities)];
    a.forEach((x, k) => {
      expect(Math.abs(x - (b[k] as number))).toBeLessThan(1e-5 * Math.max(1, x));
    });
    expect(a[2]).toBeGreaterThan(0.01);
  });

  it("pads the last batch of a model with a batch of its own, and counts each sample once", async () => {
    const [free, fixed] = [net("Identity"), net("Identity", 4)];
    const samples = await samplesOf(free, 6);
    const a = await measureBypass(runner, free, findBlocks(free).blocks, samples, { batch: 1 });
    const b = await measureBypass(runner, fixed, findBlocks(fixed).blocks, samples);
    a.forEach((x, k) => {
      expect(Math.abs(x - (b[k] as number))).toBeLessThan(1e-6);
    });
  });

  it("gives the same numbers every time, and tells its progress in runs", async () => {
    const model = net("Identity");
    const { blocks } = findBlocks(model);
    const samples = await samplesOf(model, 10);
    const seen: number[][] = [];
    const once = () => measureBypass(runner, model, blocks, samples, { batch: 5, onProgress: (...p) => seen.push(p) });
    expect(await once()).toEqual(await once());
    expect(seen.slice(0, 8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((n) => [n, 8]));
  });

  it("measures blocks of bodies, fused sums and projections too", async () => {
    const model = modelOf(
      `<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]> g (float[N, 3, 6] x) => (float[N, 3, 6] y) <${weight("w1", "{...}")}, ${weight("w2", "{...}")}, ${weight("w3", "{...}")}, ${weight("w4", "{...}")},
      float[6] gamma = {...}, float[6] bias = {...}, int64 two = {2}, bool yes = {1}> {
      z = Loop (two, yes, x) <body = c (int64 i, bool go, float[N, 3, 6] s) => (bool on, float[N, 3, 6] o) { on = Identity (go) k = MatMul (s, w1) o = Add (k, s) }>
      h = MatMul (z, w2) n = com.microsoft.SkipLayerNormalization (z, h, gamma, , bias)
      a = MatMul (n, w3) b = MatMul (n, w4) y = Add (a, b) }`,
    );
    const { blocks } = findBlocks(model, undefined, { projections: true });
    expect(blocks.map((b) => `${b.name} ${b.kind}`)).toEqual(["n identity", "y projection", "o identity"]);
    const samples = await samplesOf(model, 4);
    const changes = await measureBypass(runner, model, blocks, samples, { metric: "relative" });
    const before = await rows(model, samples);
    for (const [k, block] of blocks.entries()) {
      const after = await rows(removeBlocks(model, [block]), samples);
      const want = before.reduce((s, row, i) => s + DISTANCES.relative(row, after[i] as number[]), 0) / samples.count;
      expect(Math.abs((changes[k] as number) - want), block.name).toBeLessThan(1e-5 * Math.max(1, want));
      expect(want).toBeGreaterThan(0.01);
    }
  });

  it("is refused where it has no meaning", async () => {
    const scoreless = modelOf("g (float[N, 2, 2] x) => (float[N, 2, 2] y) <float[2, 2] w = {...}> { c = MatMul (x, w) y = Add (x, c) }");
    const samples = await samplesOf(scoreless, 2);
    const measured = (m: Model, options: object) => measureBypass(runner, m, findBlocks(m).blocks, samples, options);
    await expect(measured(scoreless, { metric: "kl" })).rejects.toMatchObject({ code: "BYPASS_METRIC" });
    await expect(measured(scoreless, { batch: 0 })).rejects.toMatchObject({ code: "BYPASS_BATCH" });
    const old = modelOf("g (float[2, 2, 2] x) => (float[2, 2, 2] y) <float[2, 2] w = {...}> { c = MatMul (x, w) y = Add (x, c) }", 6);
    await expect(measured(old, {})).rejects.toMatchObject({ code: "BYPASS_OPSET" });
    const summed = modelOf(`g (float[N, 2, 2] x) => (float[2, 2] y) <float[2, 2] w = {...}, int64[1] axis = {0}> {
      c = MatMul (x, w) s = Add (x, c) y = ReduceSum <keepdims = 0> (s, axis) }`);
    const three = await samplesOf(summed, 3);
    await expect(measureBypass(runner, summed, findBlocks(summed).blocks, three, { batch: 3 })).rejects.toMatchObject({
      code: "BYPASS_ROWS",
    });
    expect((await measureBypass(runner, summed, findBlocks(summed).blocks, three, { batch: 1 }))[0]).toBeGreaterThan(0);
  });

  it("stops when told to", async () => {
    const model = net("Identity");
    const stop = new AbortController();
    const run = measureBypass(runner, model, findBlocks(model).blocks, await samplesOf(model, 50), {
      batch: 1,
      signal: stop.signal,
      onProgress: () => stop.abort(),
    });
    await expect(run).rejects.toThrow();
  });
});

describe("bypassOrder", () => {
  it("removes first what changes least, measured anew without what went before", async () => {
    const model = net("Identity");
    const { blocks } = findBlocks(model);
    const samples = await samplesOf(model, 8);
    const steps = await bypassOrder(runner, model, blocks, samples, { metric: "relative" });
    expect(steps.map((s) => s.block.name)).toEqual(["dead", "small", "large"]);
    const alone = await measureBypass(runner, model, blocks, samples, { metric: "relative" });
    expect(steps[0]?.change).toBe(0);
    expect(steps[1]?.change).toBe(alone[0]);
    const before = await rows(model, samples);
    const after = await rows(removeBlocks(model, blocks), samples);
    const want = before.reduce((s, row, i) => s + DISTANCES.relative(row, after[i] as number[]), 0) / samples.count;
    expect(Math.abs((steps[2]?.change ?? 0) - want)).toBeLessThan(1e-5 * want);
    expect((await bypassOrder(runner, model, blocks, samples, { count: 1 })).map((s) => s.block.name)).toEqual(["dead"]);
  });

  it("leaves out what lies in a block that went", async () => {
    const model = modelOf(`g (float[N, 6] x) => (float[N, 6] y) <${weight("w1", "{...}")}, ${weight("w2", 0)}> {
      h = MatMul (x, w1) inner = Add (x, h) k = MatMul (inner, w2) outer = Add (x, k) y = Identity (outer) }`);
    const { blocks } = findBlocks(model);
    expect(blocks.map((b) => b.name)).toEqual(["inner", "outer"]);
    const steps = await bypassOrder(runner, model, [...blocks].reverse(), await samplesOf(model, 2));
    expect(steps.map((s) => [s.block.name, s.change])).toEqual([["outer", 0]]);
  });
});
