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
import { LatencyTable, type LayerShape, layersOf } from "../../src/verify/latency-table.js";
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

async function planned(machine: Machine, keep: number, align: number | "auto" = "auto") {
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
      model.graph.value("w1") ? 0.3 * layers.filter((l) => l.weight[0] !== 64).reduce((s, l) => s + staircase(l), 0) : 0;
    const { reached, runner } = await planned({ time: staircase, rest }, 0.5, 1);
    expect(Math.abs(reached / 0.5 - 1)).toBeLessThan(0.05);
    expect(runner.loaded.filter((m) => m.graph.value("w1")).length).toBeGreaterThan(2);
  });

  test("that narrower layers cannot meet ends in exit code 3, with what was reached", async () => {
    const slow = {
      time: staircase,
      rest: (model: Model, layers: readonly LayerShape[]) => (model.graph.value("w1") ? 40 - layers.length : 0),
    };
    await expect(planned(slow, 0.5)).rejects.toMatchObject({ exitCode: 3 });
  });
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
