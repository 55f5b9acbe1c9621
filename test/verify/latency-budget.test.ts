/** Budgets of time, on a machine whose times are a formula. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { keepTable, openTable } from "../../src/export/latency-tables.js";
import { decode } from "../../src/graph/codec.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import type { Note } from "../../src/graph/note.js";
import { removeDead } from "../../src/passes/remove-dead.js";
import { applyPlan } from "../../src/passes/remove-filters.js";
import { runPass } from "../../src/passes/run-pass.js";
import type { Feeds, Runner, Session } from "../../src/runtime/runner.js";
import { makePlan, type PlanResult } from "../../src/score/budget.js";
import { l1 } from "../../src/score/norm.js";
import { randomFeeds } from "../../src/verify/feeds.js";
import { planForLatency } from "../../src/verify/latency-budget.js";
import { LatencyTable, type LayerShape, layersOf, leastOf } from "../../src/verify/latency-table.js";
import { modelOf } from "../support/build.js";

/** Milliseconds of a layer: convolutions compute whole blocks of 16 filters. */
const staircase = ({ input, weight }: LayerShape): number => {
  const positions = input.slice(2).reduce((a, b) => a * b, 1);
  const taps = weight.slice(2).reduce((a, b) => a * b, 1);
  return (Math.ceil((weight[0] as number) / 16) * 16 * (weight[1] as number) * taps * positions) / 1e6;
};

interface Machine {
  readonly time: (layer: LayerShape) => number;
  /** What a run costs beside its layers. */
  readonly rest: (model: Model, layers: readonly LayerShape[]) => number;
}

/** A runner whose sessions take what `machine` says. */
function runnerOf({ time, rest }: Machine): Runner & { readonly loaded: Model[] } {
  const loaded: Model[] = [];
  return {
    loaded,
    provider: "cpu",
    runtime: "a formula",
    async load(source) {
      const model = decode("bytes" in source ? source.bytes : new Uint8Array());
      loaded.push(model);
      const layers = layersOf(
        model,
        Object.fromEntries(
          model.graph.inputs.filter((v) => !v.constant).map((v) => [v.name, [2, ...(v.shape ?? []).slice(1)] as number[]]),
        ),
      );
      const took = layers.reduce((s, l) => s + time(l), 0) + rest(model, layers);
      return {
        time: async (_feeds: Feeds, runs: number) => new Float64Array(runs).fill(took),
        release: async () => undefined,
      } as unknown as Session;
    },
    close: async () => undefined,
  };
}

const net = modelOf(`g (float[N, 3, 16, 16] x) => (float[N, 10] y)
  <float[64, 3, 3, 3] w1 = {...}, float[64, 64, 3, 3] w2 = {...}, float[64, 64, 3, 3] w3 = {...}, float[10, 64] w4 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1)
  b = Relu (a)
  c = Conv <pads = [1, 1, 1, 1]> (b, w2)
  d = Relu (c)
  e = Conv <pads = [1, 1, 1, 1]> (d, w3)
  p = GlobalAveragePool (e)
  f = Flatten (p)
  y = Gemm <transB = 1> (f, w4)
}`);

/** Not a model of copies of one layer, which is timed for the table. */
const isNet = (model: Model) => model.graph.name === "g";

async function planned(machine: Machine, keep: number, align: number | "auto" = "auto", exclude: readonly string[] = []) {
  const runner = runnerOf(machine);
  const notes: Note[] = [];
  const feeds = randomFeeds(net, 1);
  const table = new LatencyTable("test");
  const clean = (m: Model) => runPass(removeDead, m).model;
  const coupling = findGroups(net);
  const { plan, reached } = await planForLatency<PlanResult>(runner, {
    original: net,
    keep,
    feeds,
    table,
    plan: (asked, predict) =>
      makePlan(net, {
        criterion: l1,
        options: { bias: false },
        coupling,
        target: { latency: asked },
        scope: "global",
        exclude,
        align,
        seed: 0,
        original: net,
        measure: (m) => predict(clean(m)),
        note: () => undefined,
      }),
    carryOut: (p) => clean(applyPlan(net, p.plan).result),
    note: (n) => notes.push(n),
  });
  const widths = ["w1", "w2", "w3"].map((w) => clean(applyPlan(net, plan.plan).result).graph.value(w)?.constant?.dims[0] as number);
  return { reached, widths, notes, table, runner };
}

describe("a budget of time", () => {
  test("is met by what is measured on the model that comes out", async () => {
    const { reached, widths, table } = await planned({ time: staircase, rest: () => 0.1 }, 0.5);
    expect(Math.abs(reached / 0.5 - 1)).toBeLessThan(0.05);
    for (const w of widths) expect(w % 16 === 0 || w <= 8).toBe(true);
    // The table has what the machine takes: copies of a layer differ by the layer.
    const [first] = layersOf(net, { x: [2, 3, 16, 16] });
    expect(table.get(first?.key as string)).toBeCloseTo(staircase(first as LayerShape), 9);
  });

  test("is corrected where the table is wrong about the whole", async () => {
    // In the network layers of fewer than 64 filters take 30 % more than by themselves.
    const rest = (model: Model, layers: readonly LayerShape[]) =>
      isNet(model) ? 0.3 * layers.filter((l) => l.weight[0] !== 64).reduce((s, l) => s + staircase(l), 0) : 0;
    const { reached, runner } = await planned({ time: staircase, rest }, 0.5, 1);
    expect(Math.abs(reached / 0.5 - 1)).toBeLessThan(0.05);
    expect(runner.loaded.filter(isNet).length).toBeGreaterThan(2);
  });

  test("keeps every channel that takes no time", async () => {
    // Blocks of 16 on both sides of a convolution; what is no multiple of 4 falls out of the blocked kernels.
    const blocks = (w: number) => Math.ceil(w / 16) * (w % 4 === 0 || w < 16 ? 1 : 1.5);
    const time = ({ input, weight, macs }: LayerShape) =>
      input.length === 2 ? macs / 1e6 : Math.ceil((weight[0] as number) / 16) * blocks(weight[1] as number) * 0.01 + macs / 1e12;
    const { reached, widths } = await planned({ time, rest: () => 0.1 }, 0.5, 1);
    expect(Math.abs(reached / 0.5 - 1)).toBeLessThan(0.05);
    for (const w of widths) expect(w % 16).toBe(0);
  });

  test("gives channels back where the model is faster than the table says", async () => {
    // Half of what a run costs beside its layers goes with the first channel that leaves.
    const rest = (model: Model, layers: readonly LayerShape[]) =>
      isNet(model) ? (layers.some((l) => l.weight[0] !== 64 && l.call.startsWith("Conv")) ? 2 : 4) : 0;
    const { reached, widths, runner, notes } = await planned({ time: staircase, rest }, 0.75, 1);
    expect(Math.abs(reached / 0.75 - 1)).toBeLessThan(0.05);
    expect(notes).toEqual([]);
    const channels = (m: Model) => ["w1", "w2", "w3"].reduce((n, w) => n + (m.graph.value(w)?.constant?.dims[0] as number), 0);
    const measured = runner.loaded.filter(isNet).map(channels);
    expect(measured.length).toBeGreaterThan(2);
    expect(widths.reduce((a, b) => a + b)).toBe(measured.at(-1));
    expect(measured.at(-1)).toBeGreaterThan(measured[1] as number);
  });

  test("is undercut with a note where there is no width between", async () => {
    // Nothing but the whole takes more than 70 %.
    const rest = (model: Model, layers: readonly LayerShape[]) =>
      isNet(model) && layers.every((l) => l.weight[0] === 64 || l.call.startsWith("Gemm")) ? 20 : 0;
    const { reached, notes } = await planned({ time: staircase, rest }, 0.9);
    expect(reached).toBeLessThan(0.9 * 0.95);
    expect(notes).toMatchObject([{ code: "FASTER_THAN_ASKED" }]);
    expect(notes[0]?.why).toContain(`${(100 * reached).toFixed(1)} %`);
  });

  test("is met where the table says that it cannot be, if what costs time beside the layers gets less with them", async () => {
    const channels = (layers: readonly LayerShape[]) => layers.slice(0, 3).reduce((n, l) => n + (l.weight[0] as number), 0);
    const rest = (model: Model, layers: readonly LayerShape[]) => (isNet(model) ? (10 * channels(layers)) / 192 : 0);
    // Of 29.4 ms 10 are no layer's.
    const { reached } = await planned({ time: staircase, rest }, 0.3, 1);
    expect(Math.abs(reached / 0.3 - 1)).toBeLessThan(0.05);
  });

  test("below what the fastest model takes ends in exit code 3, with what was reached", async () => {
    const rest = (model: Model) => (isNet(model) ? 10 : 0);
    await expect(planned({ time: staircase, rest }, 0.3)).rejects.toMatchObject({
      code: "LATENCY_NOT_MET",
      exitCode: 3,
      // 10 of 29.4 ms, and the layers at their least.
      message: expect.stringMatching(/measured on what came out it was 3[4-5]\.\d %/),
    });
  });

  test("is out of reach where nothing can leave", async () => {
    await expect(planned({ time: staircase, rest: () => 0 }, 0.5, "auto", ["c", "a", "e"])).rejects.toMatchObject({
      code: "BUDGET_NOTHING_TO_PRUNE",
      exitCode: 3,
    });
  });

  test("that narrower layers cannot meet ends in exit code 3, with what was reached", async () => {
    // Whatever leaves, the kernels of what stays are slower by as much.
    const rest = (model: Model, layers: readonly LayerShape[]) => (isNet(model) ? 19.5 - layers.reduce((t, l) => t + staircase(l), 0) : 0);
    await expect(planned({ time: staircase, rest }, 0.5)).rejects.toMatchObject({
      code: "LATENCY_NOT_MET",
      exitCode: 3,
      message: expect.stringMatching(/measured on what came out it was \d+\.\d %/),
    });
  });
});

test("products of matrices of about one size are timed once, and take their share of it", async () => {
  const gemm = (inner: number, outer: number) =>
    modelOf(`g (float[2, ${inner}] x) => (float[2, ${outer}] y) <float[${inner}, ${outer}] w = {...}> { y = Gemm (x, w) }`);
  const shapes = (inner: number) => ({ x: [2, inner] });
  const of = (inner: number, outer: number) => layersOf(gemm(inner, outer), shapes(inner))[0] as LayerShape;
  // Steps of an eighth of the power of two below: 16 from 128 on, 64 from 512 on, 1 below 16.
  const a = of(130, 513);
  expect(a).toMatchObject({ input: [2, 128], weight: [128, 512], macs: 2 * 128 * 512 });
  expect(a.share).toBeCloseTo((130 * 513) / (128 * 512), 12);
  expect(of(124, 520).key).toBe(a.key);
  expect(of(152, 520).key).not.toBe(a.key);
  expect(of(15, 9)).toMatchObject({ weight: [15, 9], share: 1 });
  const transposed = modelOf(
    "g (float[130, 2] x) => (float[2, 40] y) <float[40, 130] w = {...}> { y = Gemm <transA = 1, transB = 1> (x, w) }",
  );
  expect(layersOf(transposed, { x: [130, 2] })[0]).toMatchObject({ input: [128, 2], weight: [40, 128], macs: 2 * 40 * 128 });
  const tokens = modelOf("g (float[2, 7, 130] x) => (float[2, 7, 40] y) <float[130, 40] w = {...}> { y = MatMul (x, w) }");
  expect(layersOf(tokens, { x: [2, 7, 130] })[0]).toMatchObject({ input: [2, 7, 128], macs: 2 * 7 * 128 * 40 });
  // What is timed is the one that stands for them; the sum has each one's own.
  const table = new LatencyTable("test", [[a.key, 8]]);
  expect(table.predict([a, of(124, 520)])).toMatchObject({ estimated: 0, missing: [] });
  expect(table.predict([a, of(124, 520)]).milliseconds).toBeCloseTo((8 * (130 * 513 + 124 * 520)) / (128 * 512), 12);
  // An estimate of another is by multiply-accumulates, its own.
  const large = of(260, 1026);
  expect(table.predict([a, large]).estimated).toBeCloseTo((8 * 260 * 1026) / (128 * 512), 12);
});

test("a table is kept for the same machine alone", async () => {
  const folder = mkdtempSync(join(tmpdir(), "onnx-prune-"));
  try {
    const runner = runnerOf({ time: staircase, rest: () => 0 });
    const table = await openTable(runner, 2, folder);
    await table.fill(runner, layersOf(net, { x: [2, 3, 16, 16] }));
    expect(table.size).toBe(3);
    await keepTable(table, folder);
    expect(readdirSync(folder).length).toBe(1);
    expect((await openTable(runner, 2, folder)).print()).toBe(table.print());
    expect((await openTable(runner, 1, folder)).size).toBe(0);
    expect((await openTable({ ...runner, runtime: "another" }, 2, folder)).size).toBe(0);
    expect(LatencyTable.read("{ damaged", "test").size).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the time of a run is what two runs agree on, however much other work there is", async () => {
  // Every seventh run of this machine is left alone; others take up to six times as long.
  let run = 0;
  const session = {
    time: async (_: Feeds, runs: number) => Float64Array.from({ length: runs }, () => (++run % 7 === 0 ? 10 : 10 + ((run * 37) % 50))),
  };
  expect((await leastOf([{ session, feeds: {} }], 6, 12))[0]).toBe(10);
  // Two blocks where nothing disturbs: three runs to warm up and two in each.
  run = 0;
  const quiet = {
    time: async (_: Feeds, runs: number) => {
      run += runs;
      return new Float64Array(runs).fill(10);
    },
  };
  await leastOf([{ session: quiet, feeds: {} }], 6, 12);
  expect(run).toBe(7);
});
