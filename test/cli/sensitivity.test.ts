/** --scope sensitivity as a user has it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { RunReport } from "../../src/report.js";
import { folder, root, run } from "./run.js";

const LENET = join(root, "models/mnist_lenet5.onnx");
const DATA = join(root, "models/data/mnist-2000");
const TRAIN = ["--calibrate", `${DATA}#train`, "--calibrate-samples", "120"];
const FAST = ["--no-latency", "--ep", "cpu", "--align", "1"];
const WIDTHS = ["--pass", "l1", "--macs", "0.4", "--scope", "sensitivity"];

describe("--scope sensitivity", () => {
  it("takes channels where outputs change least, and loses less than one threshold does", async () => {
    const data = ["--data", `${DATA}#test[:500]`];
    const accuracy = async (args: readonly string[]) => {
      const cwd = folder();
      const result = await run([LENET, "out.onnx", ...args, ...FAST, ...TRAIN, ...data, "--json", "out.json"], cwd);
      expect(result).toMatchObject({ code: 0 });
      const { accuracy, plans, steps } = JSON.parse(readFileSync(join(cwd, "out.json")).toString()) as RunReport;
      expect(Math.abs((steps[0]?.budget?.reached ?? 0) / 0.4 - 1)).toBeLessThanOrEqual(0.01);
      return { top1: accuracy?.after.top1 as number, why: plans[0]?.why };
    };
    const sensitive = await accuracy(WIDTHS);
    const global = await accuracy(["--pass", "l1", "--macs", "0.4"]);
    expect(sensitive.top1).toBeGreaterThan(global.top1);
    expect(sensitive.why).toMatchObject({ scope: "sensitivity", sensitivity: { metric: "kl", correct: "none" } });
  });

  it("plan measures it too, and reckons with the recovery that is named", async () => {
    const cwd = folder();
    expect(
      await run(["plan", LENET, "plan.json", ...WIDTHS, ...TRAIN, "--ep", "cpu", "--align", "1", "--reconstruct", "least-squares"], cwd),
    ).toMatchObject({ code: 0 });
    const { why } = JSON.parse(readFileSync(join(cwd, "plan.json")).toString());
    expect(why.sensitivity).toMatchObject({ metric: "kl", correct: "linear" });
  });

  it("without samples says what is missing", async () => {
    expect(await run([LENET, "out.onnx", ...WIDTHS, ...FAST], folder())).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("CALIBRATION_MISSING"),
    });
  });
});
