/** compare on a second real provider: the verdicts are those of the CPU. */
import { describe, expect, it } from "vitest";
import { modelInputs } from "../../src/calibrate/model-inputs.js";
import { openSamples } from "../../src/calibrate/samples.js";
import { compare } from "../../src/compare/compare.js";
import { readModel } from "../../src/export/read.js";
import { prune } from "../../src/pipeline.js";
import { hasSecondProvider, onSecondProvider } from "../support/second-provider.js";

describe.skipIf(!hasSecondProvider)(onSecondProvider("compare"), () => {
  it("says of a pair what it says on the CPU: equal, past the drop, different", async () => {
    const lenet = await readModel("models/mnist_lenet5.onnx");
    const data = await openSamples("models/data/mnist-2000#test[:64]", modelInputs(lenet));
    const { model: pruned } = await prune(lenet, { passes: ["l1"], target: { macs: 0.4 }, latency: false, ep: "cpu", threads: 1 });
    const on = (ep: "cpu" | "webgpu", b: typeof lenet, more: object) =>
      compare(lenet, b, { ep, data, latency: false, threads: 1, ...more });
    for (const [b, more, exitCode] of [
      [lenet, {}, 0],
      [pruned, { maxDrop: 100 }, 0],
      [pruned, { maxDrop: 1 }, 3],
      [pruned, {}, 4],
    ] as const) {
      const [cpu, webgpu] = [await on("cpu", b, more), await on("webgpu", b, more)];
      expect([cpu.verdict.exitCode, webgpu.verdict.exitCode]).toEqual([exitCode, exitCode]);
      expect(webgpu.provider.name).toBe("webgpu");
      expect(webgpu.accuracy?.top1.pairs).toEqual(cpu.accuracy?.top1.pairs);
      expect(webgpu.accuracy?.top1.a.value).toBeGreaterThan(0.9);
    }
  });
});
