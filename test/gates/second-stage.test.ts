import { describe, expect, test } from "vitest";
import { modelInputs } from "../../src/calibrate/model-inputs.js";
import { openSamples } from "../../src/calibrate/samples.js";
import { reportText } from "../../src/cli/report-text.js";
import { readModel } from "../../src/export/read.js";
import { encode, joinChunks } from "../../src/graph/codec.js";
import { cost } from "../../src/graph/cost.js";
import type { Model } from "../../src/graph/graph.js";
import { findEntry } from "../../src/passes/registry.js";
import { gather, type PruneOptions, prune } from "../../src/pipeline.js";

const quick = { ep: "cpu", latency: false, align: 1, threads: 1 } as const;
const lenet = () => readModel("models/mnist_lenet5.onnx");
const images = (model: Model, slice: string) => openSamples(`models/data/mnist-2000[${slice}]`, modelInputs(model));
const plain = { style: (_: unknown, text: string) => text } as Parameters<typeof reportText>[1];

/** Calibrated on the first 200 images, judged on the last 1,000. */
async function pruned(gates: string | undefined, more: Partial<PruneOptions> = {}) {
  const model = await lenet();
  const passes = [{ entry: await findEntry("dominos"), options: gates === undefined ? {} : { gates } }];
  const calibration = await images(model, ":200");
  return prune(model, { ...quick, passes, target: { macs: 0.5 }, calibration, ...more });
}

describe("the second stage of dominos", () => {
  test("gates lower the loss of held-out samples and give accuracy back, at the same budget, proven and counted", async () => {
    const data = await images(await lenet(), "1000:");
    const { report: without } = await pruned("none", { data });
    const { report, model } = await pruned(undefined, { data });
    expect(without.steps.map((s) => s.pass)).toEqual(["dominos"]);
    expect(report.steps.map((s) => s.pass)).toEqual(["dominos", "dominos (gates)"]);
    const gates = report.steps[1]?.gates ?? [];
    expect(gates.length).toBeGreaterThan(0);
    for (const g of gates) expect(g.heldOut.after).toBeLessThan(0.99 * g.heldOut.before);
    const outputs = report.steps[1]?.outputs;
    expect(outputs?.after).toBeLessThan(outputs?.before as number);
    // No fit looks at labels: accuracy is an independent judge.
    expect(report.accuracy?.after.top1).toBeGreaterThanOrEqual(without.accuracy?.after.top1 as number);
    const macs = gates.reduce((n, g) => n + g.macs, 0);
    const parameters = gates.reduce((n, g) => n + g.parameters, 0);
    expect(report.cost.after.macs).toBe(without.cost.after.macs + macs);
    expect(report.cost.after.parameters).toBe(without.cost.after.parameters + parameters);
    expect(cost(model).macs).toBe(report.cost.after.macs);
    expect(report.cost.after.macs / report.cost.before.macs).toBeLessThanOrEqual(0.5 * 1.01);
    expect(report.equality.at(-1)?.what).toContain("constant factors in the weights");
    expect(report.equality.at(-1)?.maxRel).toBeLessThanOrEqual(1e-6);
    expect(report.equality.at(-1)?.drift).toBeGreaterThan(1e-3);
    expect(report.loads.every((l) => l.ok)).toBe(true);
    expect(reportText(report, plain)).toMatch(
      /dominos \(gates\) +factors folded at \d+, diagonal gates at \d+, squeeze-and-excitation at \d+ maps; held-out loss/,
    );
  });

  test("static gates cost nothing: the file has the same nodes and parameters", async () => {
    const { report: without } = await pruned("none");
    const { report } = await pruned("static");
    expect(report.steps[1]?.gates?.every((g) => g.kinds.join() === "static")).toBe(true);
    expect({ ...report.cost.after, bytes: 0 }).toEqual({ ...without.cost.after, bytes: 0 });
  });

  test("same seed, same file", async () => {
    const bytes = async () => Buffer.from(joinChunks(encode((await pruned("se")).model)));
    expect((await bytes()).equals(await bytes())).toBe(true);
  });

  test("statistics from a file bring no samples: the report says that gates were not fitted", async () => {
    const model = await lenet();
    const passes = [{ entry: await findEntry("dominos"), options: {} }];
    const statistics = await gather(model, passes, { ...quick, calibration: await images(model, ":100") });
    const { report } = await prune(model, { ...quick, passes, target: { macs: 0.5 }, statistics, check: "none" });
    expect(report.steps[1]).toMatchObject({ changed: false, notes: [{ code: "GATES_NO_SAMPLES" }] });
  });

  test("too few samples to hold any out: no gate, and nothing breaks", async () => {
    const model = await lenet();
    const { report } = await pruned("auto", { calibration: await images(model, ":1") });
    expect(report.steps[1]?.notes.map((n) => n.code)).toEqual(["GATES_NO_SAMPLES"]);
  });

  test("residual networks: no gate on the stream, blocks may leave, and the outcome is proven", async () => {
    const model = await readModel("models/cifar10_resnet20.onnx");
    const passes = [{ entry: await findEntry("dominos"), options: { gates: "diagonal" } }];
    const calibration = await openSamples("models/data/cifar10-50.bin.gz", {
      ...modelInputs(model),
      preprocess: "models/cifar10_resnet20.json",
    });
    const { report } = await prune(model, { ...quick, passes, target: { macs: 0.75 }, calibration });
    const gates = report.steps[1]?.gates ?? [];
    expect(gates.length).toBeGreaterThan(0);
    expect(report.equality.every((e) => e.ok)).toBe(true);
    expect(report.steps[1]?.notes.filter((n) => n.code === "GATE_DECLINED").every((n) => n.why.includes("residual sum"))).toBe(true);
  });
});
