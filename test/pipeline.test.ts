import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openSamples } from "../src/calibrate/samples.js";
import { BudgetError, ConfigError, PlanError } from "../src/errors.js";
import { readModel } from "../src/export/read.js";
import { encode, joinChunks } from "../src/graph/codec.js";
import type { Model } from "../src/graph/graph.js";
import { findEntry } from "../src/passes/registry.js";
import { applyOnly, gather, type PassRequest, type PruneOptions, planOnly, prune } from "../src/pipeline.js";
import { criteria } from "../src/score/criteria.js";
import { parsePlan, printPlan } from "../src/score/plan.js";
import { modelOf } from "./support/build.js";

const lenet = () => readModel("models/mnist_lenet5.onnx");
const quick = { ep: "cpu", latency: false, align: 1, threads: 1 } as const;
const request = async (name: string, options?: unknown) => [{ entry: await findEntry(name), options }];
const bytesOf = (m: Model) => Buffer.from(joinChunks(encode(m)));

async function mnist(model: Model) {
  const inputs = model.graph.inputs.map((v) => ({ name: v.name, dtype: v.dtype ?? "undefined", shape: v.shape ?? [] }));
  return openSamples("models/data/mnist-2000[0:400]", { inputs } as Parameters<typeof openSamples>[1]);
}

describe("prune", () => {
  for (const { name } of criteria.filter((c) => c.name !== "remove-blocks")) {
    it(`meets a MACs budget with ${name} and equals the oracle`, async () => {
      const model = await lenet();
      const options = { ...quick, passes: await request(name), target: { macs: 0.6 }, calibration: await mnist(model) };
      const { report, plans } = await prune(model, options);
      // LeNet's first convolution has 6 filters: one of them is 4 % of all MACs, so 1 % is met through the other layers.
      expect(Math.abs(report.cost.after.macs / report.cost.before.macs / 0.6 - 1)).toBeLessThanOrEqual(0.01);
      // One for the removal, and one for the gates of a second stage.
      expect(report.equality).toHaveLength(report.steps.filter((s) => s.changed).length);
      expect(report.equality[0]?.maxRel).toBeLessThanOrEqual(1e-5);
      expect(report.equality[0]?.drift).toBeGreaterThan(1e-3);
      expect(report.loads.map((l) => l.ok)).toEqual([true, true, true, true]);
      expect(Object.keys(plans[0]?.remove ?? {}).length).toBeGreaterThan(0);
    });
  }

  it("takes statistics that were gathered before for the same plan, and says so", async () => {
    const model = await lenet();
    const passes = await request("output-l1");
    const calibration = await mnist(model);
    const measured = await planOnly(model, passes[0] as NonNullable<(typeof passes)[0]>, {
      ...quick,
      passes,
      target: { macs: 0.6 },
      calibration,
    });
    const both = [...passes, ...(await request("wmi"))];
    const statistics = await gather(model, both as PassRequest[], { ...quick, calibration });
    const looked = await planOnly(model, passes[0] as NonNullable<(typeof passes)[0]>, {
      ...quick,
      passes,
      target: { macs: 0.6 },
      statistics,
    });
    expect(printPlan(looked.plan)).toBe(printPlan(measured.plan));
    expect(measured.calibration).toMatchObject({ samples: 400, classes: 10 });
    expect(looked.calibration).toMatchObject({ samples: 400, seconds: 0 });
  });

  it("says what is missing where a criterion looks at activations", async () => {
    const model = await lenet();
    const passes = await request("wmi");
    const options = { ...quick, passes, target: { macs: 0.6 } };
    await expect(prune(model, options)).rejects.toMatchObject({ code: "CALIBRATION_MISSING", exitCode: 2 });
    const statistics = await gather(model, (await request("output-l1")) as PassRequest[], { ...quick, calibration: await mnist(model) });
    await expect(prune(model, { ...options, statistics })).rejects.toMatchObject({ code: "STATISTICS_LACKING" });
    const other = await readModel("models/cifar10_resnet20.onnx");
    await expect(prune(other, { ...options, statistics })).rejects.toMatchObject({ code: "STATISTICS_OTHER_MODEL", exitCode: 2 });
    await expect(
      gather(model, (await request("l1")) as PassRequest[], { ...quick, calibration: await mnist(model) }),
    ).rejects.toMatchObject({
      code: "GATHER_NOTHING",
    });
  });

  it("asks for labels before it measures, where a criterion needs them", async () => {
    const model = await lenet();
    const unread = { ...(await mnist(model)), labels: undefined, batch: () => Promise.reject(new Error("A batch was read.")) };
    const options = { ...quick, passes: await request("mi"), target: { macs: 0.6 }, calibration: unread };
    await expect(prune(model, options)).rejects.toMatchObject({ code: "CRITERION_NEEDS_LABELS", exitCode: 1 });
    await expect(prune(model, { ...options, passes: await request("entropy") })).rejects.toThrow("A batch was read.");
  });

  it("measures the accuracy of both graphs on labelled data", async () => {
    const model = await lenet();
    const { report } = await prune(model, { ...quick, passes: await request("l1"), target: { macs: 0.9 }, data: await mnist(model) });
    expect(report.accuracy?.before.samples).toBe(400);
    // 98.95 % on all 2,000 images; a wrong preprocessing or label order would be far below.
    expect(report.accuracy?.before.top1).toBeGreaterThan(0.97);
    expect(report.accuracy?.after.top1).toBeGreaterThan(0.5);
    expect(report.equality[0]?.runs).toBe(3);
  });

  it("refuses a result that loses more than --max-drop", async () => {
    const model = await lenet();
    const run = prune(model, { ...quick, passes: await request("random"), target: { macs: 0.2 }, data: await mnist(model), maxDrop: 1 });
    await expect(run).rejects.toThrow(BudgetError);
    await expect(run).rejects.toMatchObject({ code: "ACCURACY_DROP", details: { accuracy: { before: { samples: 400 } } } });
  });

  it("needs data for --max-drop", async () => {
    const run = prune(await lenet(), { ...quick, passes: await request("l1"), target: { macs: 0.9 }, maxDrop: 1 });
    await expect(run).rejects.toMatchObject({ code: "MAX_DROP_NEEDS_LABELS", exitCode: 2 });
  });

  it("counts a budget from the model the run began with, whatever passes came before", async () => {
    const model = await readModel("models/cifar10_resnet20.onnx");
    const passes = [...(await request("l1")), ...(await request("l2"))];
    const { report } = await prune(model, { ...quick, passes, target: { params: 0.7 } });
    expect(report.cost.after.parameters / report.cost.before.parameters).toBeCloseTo(0.7, 2);
    // The first pass met it; the second finds nothing left to do.
    expect(report.steps.map((s) => s.changed)).toEqual([true, false]);
  });

  it("says what is reachable when the budget is not", async () => {
    const run = prune(await lenet(), { ...quick, passes: await request("l1"), target: { macs: 0.001 } });
    await expect(run).rejects.toMatchObject({ code: "BUDGET_UNREACHABLE", exitCode: 3 });
  });

  it("wants exactly one budget, and at least one pass", async () => {
    const model = await lenet();
    await expect(prune(model, { ...quick, passes: await request("l1") })).rejects.toThrow(ConfigError);
    await expect(prune(model, { ...quick, passes: await request("l1"), target: { macs: 0.5, params: 0.5 } })).rejects.toMatchObject({
      code: "TARGET_COUNT",
    });
    await expect(prune(model, { ...quick, passes: [] })).rejects.toMatchObject({ code: "PASS_NONE" });
  });

  it("gives byte-identical output for the same input and seed, at 1 and at 2 threads", async () => {
    const once = async (threads: number) =>
      bytesOf((await prune(await lenet(), { ...quick, threads, passes: await request("random"), target: { params: 0.5 } })).model);
    const [a, b, c] = [await once(1), await once(1), await once(2)];
    expect(a.equals(b)).toBe(true);
    expect(a.equals(c)).toBe(true);
  });

  it("takes passes by name", async () => {
    const { report } = await prune(await lenet(), { ...quick, passes: ["fold-constants", "l1"], target: { ratio: 0.5 }, check: "none" });
    expect(report.steps.map((s) => s.pass)).toEqual(["fold-constants", "l1"]);
    expect(report.notes.map((n) => n.code)).toEqual(["UNPROVEN"]);
    await expect(prune(await lenet(), { ...quick, passes: ["l11"] })).rejects.toMatchObject({ code: "PASS_UNKNOWN" });
  });

  it("leaves the model it was given as it was", async () => {
    const model = await lenet();
    const before = bytesOf(model);
    await prune(model, { ...quick, passes: await request("similar"), target: { macs: 0.5 }, scope: "local" });
    expect(bytesOf(model).equals(before)).toBe(true);
  });

  it("proves cleaning passes against the graph before them, and removal against the oracle, in the order given", async () => {
    const model = await readModel("models/cifar10_resnet20.onnx");
    const passes = [...(await request("fold-constants")), ...(await request("remove-identity")), ...(await request("l2"))];
    const { report } = await prune(model, { ...quick, passes, target: { params: 0.7 }, verifyWith: "wasm" });
    expect(report.steps.map((s) => s.pass)).toEqual(["fold-constants", "remove-identity", "l2"]);
    expect(report.equality.every((e) => e.ok)).toBe(true);
    expect(report.equality.some((e) => e.on.startsWith("wasm"))).toBe(true);
    expect(report.cost.after.parameters / report.cost.before.parameters).toBeCloseTo(0.7, 2);
  });

  it("runs a pass and a criterion of the user's own, by path", async () => {
    const folder = await mkdtemp(join(tmpdir(), "onnx-prune-"));
    try {
      const file = join(folder, "first.mjs");
      await writeFile(
        file,
        `export default { name: "first", summary: "keep the first channels", source: "test", needs: [], comparable: false,
          options: { safeParse: (x) => ({ success: true, data: x }) },
          prepare: () => (group) => ({ scores: Float64Array.from(group.choices, (_, k) => group.choices.length - k) }) };`,
      );
      const { plans } = await prune(await lenet(), { ...quick, passes: await request(file), target: { ratio: 0.5 }, scope: "local" });
      for (const gone of Object.values(plans[0]?.remove ?? {})) expect(gone[0]).toBeGreaterThanOrEqual(gone.length);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe("plan and apply", () => {
  it("apply does what prune did, byte for byte, from the plan's text", async () => {
    const options: PruneOptions = { ...quick, passes: await request("similar", { merge: true }), target: { macs: 0.6 }, scope: "local" };
    const pruned = await prune(await lenet(), options);
    const model = await lenet();
    const [first] = await request("similar", { merge: true });
    const { plan } = await planOnly(model, first as NonNullable<typeof first>, options);
    const applied = await applyOnly(model, parsePlan(printPlan(plan), "plan.json"), quick);
    expect(plan.merges.length).toBeGreaterThan(0);
    expect(bytesOf(applied.model).equals(bytesOf(pruned.model))).toBe(true);
  });

  it("apply needs labels for --max-drop, as prune does", async () => {
    const model = await lenet();
    const [first] = await request("l1");
    const { plan } = await planOnly(model, first as NonNullable<typeof first>, { ...quick, passes: [], target: { ratio: 0.5 } });
    const { labels, ...data } = await mnist(model);
    expect(labels).toBeDefined();
    const refused = { code: "MAX_DROP_NEEDS_LABELS", exitCode: 2 };
    await expect(applyOnly(model, plan, { ...quick, maxDrop: 1 })).rejects.toMatchObject(refused);
    await expect(applyOnly(model, plan, { ...quick, maxDrop: 1, data })).rejects.toMatchObject(refused);
  });

  it("refuses a plan made for another model", async () => {
    const [first] = await request("l1");
    const { plan } = await planOnly(await lenet(), first as NonNullable<typeof first>, { ...quick, passes: [], target: { ratio: 0.5 } });
    await expect(applyOnly(await readModel("models/cifar10_resnet20.onnx"), plan, quick)).rejects.toThrow(PlanError);
  });
});

it("a proof that had nothing to see says so", async () => {
  // Every output is zero, whatever the channels are.
  const model =
    modelOf(`g (float[N,3,4,4] x) => (float[N,2,4,4] y) < float[8,3,1,1] a = {...}, float[2,8,1,1] b = {...}, float zero = {0} > {
    h = Conv (x, a) k = Conv (h, b) y = Mul (k, zero) }`);
  const codes = async (m: Model) =>
    (await prune(m, { passes: ["l1"], target: { ratio: 0.5 }, align: 1, latency: false })).report.notes.map((n) => n.code);
  expect(await codes(model)).toContain("NOTHING_SEEN");
  const seen = modelOf(`g (float[N,3,4,4] x) => (float[N,2,4,4] y) < float[8,3,1,1] a = {...}, float[2,8,1,1] b = {...} > {
    h = Conv (x, a) y = Conv (h, b) }`);
  expect(await codes(seen)).not.toContain("NOTHING_SEEN");
});
