/** --reconstruct and tune as a user has them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { RunReport } from "../../src/report.js";
import { folder, root, run } from "./run.js";

const LENET = join(root, "models/mnist_lenet5.onnx");
const TRAIN = ["--calibrate", join(root, "models/data/mnist-2000#train"), "--calibrate-samples", "200"];
const FAST = ["--no-latency", "--ep", "cpu", "--align", "1"];
const bytes = (...path: string[]) => readFileSync(join(...path));

describe("--reconstruct", () => {
  it("corrects what stays; tune makes the same file of the one that was pruned without", async () => {
    const cwd = folder();
    const data = ["--data", join(root, "models/data/mnist-2000#test[:200]")];
    const prune = ["--pass", "l1", "--macs", "0.4", ...FAST];
    const with_ = await run(
      [LENET, "better.onnx", ...prune, ...TRAIN, ...data, "--reconstruct", "least-squares", "--json", "better.json"],
      cwd,
    );
    expect(with_).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/reconstruct +least-squares: 5 layers corrected on 1\d\d samples; divergence/),
    });
    const { steps, accuracy } = JSON.parse(bytes(cwd, "better.json").toString()) as RunReport;
    expect(steps.map((s) => s.pass)).toEqual(["l1", "reconstruct"]);
    expect(accuracy?.after.top1).toBeGreaterThan(0.95);
    expect((await run([LENET, "plain.onnx", ...prune, "--plan-out", "plan.json"], cwd)).code).toBe(0);
    const tuned = await run(
      ["tune", LENET, "plain.onnx", "tuned.onnx", "reconstruct", "--plan", "plan.json", ...TRAIN, ...data, "--no-latency", "--ep", "cpu"],
      cwd,
    );
    expect(tuned).toMatchObject({ code: 0, stdout: expect.stringContaining("least-squares: 5 layers corrected") });
    expect(bytes(cwd, "tuned.onnx").equals(bytes(cwd, "better.onnx"))).toBe(true);
  });

  it("says what is missing or not known before it works", async () => {
    const cwd = folder();
    expect(await run([LENET, "out.onnx", "--pass", "l1", "--macs", "0.5", "--reconstruct", "mean", ...FAST], cwd)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("RECONSTRUCT_NO_DATA"),
    });
    expect(await run(["tune", LENET, LENET, "out.onnx"], cwd)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("RECONSTRUCT_NO_DATA"),
    });
    expect(await run(["tune", LENET, LENET, "out.onnx", "magic", ...TRAIN], cwd)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("TUNE_MODE"),
    });
  });
});
