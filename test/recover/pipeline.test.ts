/** Recovery as part of a run, on trained networks. */
import { describe, expect, it } from "vitest";
import { modelInputs } from "../../src/calibrate/model-inputs.js";
import { openSamples, type SampleOptions } from "../../src/calibrate/samples.js";
import type { ConfigError } from "../../src/errors.js";
import { readModel } from "../../src/export/read.js";
import { encode, joinChunks } from "../../src/graph/codec.js";
import type { Model } from "../../src/graph/graph.js";
import { applyOnly, prune, tune } from "../../src/pipeline.js";

const quick = { ep: "cpu", latency: false, align: 1, threads: 1 } as const;
const bytesOf = (m: Model) => Buffer.from(joinChunks(encode(m)));
const samplesOf = (model: Model, where: string, more: Partial<SampleOptions> = {}) =>
  openSamples(where, { ...modelInputs(model), ...more });

async function lenet() {
  const model = await readModel("models/mnist_lenet5.onnx");
  const calibration = await samplesOf(model, "models/data/mnist-2000#train[:400]");
  const data = await samplesOf(model, "models/data/mnist-2000#test[:500]");
  return { model, calibration, data };
}

describe("prune with reconstruct", () => {
  it("gains accuracy on LeNet with no labels, and proves the removal by itself", async () => {
    const { model, calibration, data } = await lenet();
    const options = { ...quick, passes: ["l1"], target: { macs: 0.3 }, calibration, data };
    const plain = await prune(model, options);
    const better = await prune(model, { ...options, reconstruct: "least-squares" });
    const lost = (r: typeof plain) => 100 * ((r.report.accuracy?.before.top1 as number) - (r.report.accuracy?.after.top1 as number));
    // Measured: 65.6 points lost without, 2.8 with (500 test images).
    expect(lost(plain)).toBeGreaterThan(40);
    expect(lost(better)).toBeLessThan(0.1 * lost(plain));
    expect(better.report.steps.map((s) => s.pass)).toEqual(["l1", "reconstruct"]);
    const { recovery } = better.report.steps[1] as (typeof better.report.steps)[number];
    expect(recovery).toMatchObject({ fitted: 320, heldOut: 80, metric: "kl", left: [] });
    expect(recovery?.after).toBeLessThan(0.3 * (recovery?.before as number));
    // What was removed is proven of the graph that removal left, not of the corrected one.
    expect(better.report.equality.map((e) => e.ok)).toEqual([true]);
    expect(better.plans[0]?.remove).toEqual(plain.plans[0]?.remove);
    expect(better.report.cost.after).toEqual(plain.report.cost.after);
  });

  it("corrects towards the model before the first removal when there are several", async () => {
    const { model, calibration } = await lenet();
    const passes = ["l1", "output-l1"];
    const once = await prune(model, { ...quick, passes, target: { macs: 0.5 }, calibration, reconstruct: "mean" });
    const [, first, , second] = once.report.steps;
    // Budgets are fractions of the input: the second removal finds nothing to do, and its distance is what the first left.
    expect(second?.recovery?.before).toBeCloseTo(first?.recovery?.after as number, 6);
  });

  it("brings the outputs of ResNet-20 nearer to the original's with as few as 50 images", async () => {
    const model = await readModel("models/cifar10_resnet20.onnx");
    const calibration = await samplesOf(model, "models/data/cifar10-50.bin.gz", { preprocess: "models/cifar10_resnet20.json" });
    const options = { ...quick, passes: ["l1"], target: { macs: 0.7 }, calibration } as const;
    const { report } = await prune(model, { ...options, reconstruct: "least-squares" });
    const { recovery } = report.steps[1] as (typeof report.steps)[number];
    expect(recovery?.left).toEqual([]);
    expect(recovery?.after).toBeLessThan(0.5 * (recovery?.before as number));
  });

  it("meets a budget in steps, each judged anew on what recovery left, towards the original", async () => {
    const { model, calibration } = await lenet();
    const options = { ...quick, passes: ["obs"], target: { macs: 0.27 }, calibration, reconstruct: "least-squares" } as const;
    const { report, plans } = await prune(model, { ...options, steps: 3 });
    expect(report.steps.map((s) => s.pass)).toEqual(["obs", "reconstruct", "obs", "reconstruct", "obs", "reconstruct"]);
    const budgets = report.steps.flatMap((s) => (s.budget ? [s.budget] : []));
    for (const [i, { asked, reached }] of budgets.entries()) {
      expect(asked).toBeCloseTo(0.27 ** ((i + 1) / 3), 6);
      expect(Math.abs(reached / asked - 1)).toBeLessThan(0.011);
    }
    expect(plans).toHaveLength(3);
    expect(report.cost.after.macs / report.cost.before.macs).toBeCloseTo(0.27, 2);
    expect(report.equality.every((e) => e.ok)).toBe(true);
    // Distances are to the model before the first step.
    const distances = report.steps.flatMap((s) => (s.recovery ? [s.recovery] : []));
    expect(distances[2]?.before).toBeGreaterThan(distances[1]?.after as number);
    await expect(prune(model, { ...options, steps: 0 })).rejects.toMatchObject({ code: "STEPS_RANGE" });
  });

  it("counts channels of what each step finds", async () => {
    const { model } = await lenet();
    const { report } = await prune(model, { ...quick, passes: ["l1"], target: { ratio: 0.5 }, steps: 2 });
    const kept = report.steps.map((s) => (s.groups ?? []).reduce((n, g) => n + g.kept, 0) / (s.groups ?? []).reduce((n, g) => n + g.of, 0));
    for (const share of kept) expect(share).toBeCloseTo(Math.SQRT1_2, 1);
  });

  it("asks for samples before it works", async () => {
    const { model } = await lenet();
    const run = prune(model, { ...quick, passes: ["l1"], target: { macs: 0.5 }, reconstruct: "mean" });
    await expect(run).rejects.toThrowError(expect.objectContaining({ code: "RECONSTRUCT_NO_DATA" }) as unknown as ConfigError);
  });
});

describe("tune", () => {
  it("with the plan, makes of the pruned file what the pruning run would have made", async () => {
    const { model, calibration } = await lenet();
    const options = { ...quick, calibration, reconstruct: "least-squares" } as const;
    const { model: plain, plans } = await prune(model, { ...quick, passes: ["l1"], target: { macs: 0.5 } });
    const [plan] = plans;
    const applied = await applyOnly(model, plan as NonNullable<typeof plan>, options);
    const tuned = await tune(model, plain, { ...options, plan });
    expect(bytesOf(tuned.model).equals(bytesOf(applied.model))).toBe(true);
    expect(bytesOf(tuned.model).equals(bytesOf(plain))).toBe(false);
    expect(tuned.report.steps[0]?.recovery?.after).toBeLessThan(tuned.report.steps[0]?.recovery?.before as number);
  });

  it("says what it lacks where channels were removed and no plan tells which", async () => {
    const { model, calibration } = await lenet();
    const { model: plain } = await prune(model, { ...quick, passes: ["l1"], target: { macs: 0.4 } });
    const { report } = await tune(model, plain, { ...quick, calibration });
    // The logits have all their channels: the last layer can be refitted.
    expect(report.steps[0]?.recovery?.left.length).toBeGreaterThan(0);
    expect(report.steps[0]?.notes[0]?.why).toMatch(/not corrected: \d+ channels of ".+" are left, and it is not known which of \d+/);
  });
});
