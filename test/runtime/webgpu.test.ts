/** WebGPU as a second real provider: what holds on the CPU provider holds there. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSamples } from "../../src/calibrate/samples.js";
import { collect } from "../../src/calibrate/statistics/collect.js";
import type { MomentsRequest } from "../../src/calibrate/statistics/request.js";
import { statisticsFrom } from "../../src/calibrate/statistics/summary.js";
import { readModel } from "../../src/export/read.js";
import { encode, joinChunks } from "../../src/graph/codec.js";
import type { Model } from "../../src/graph/graph.js";
import type { Tensor } from "../../src/graph/tensor.js";
import { prune } from "../../src/pipeline.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import { placementOf } from "../../src/runtime/placement.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { extract } from "../../src/verify/extract.js";
import { randomFeeds } from "../../src/verify/feeds.js";
import { modelOf } from "../support/build.js";
import { hasSecondProvider, onSecondProvider, openSecondNodeRunner, openSecondProvider } from "../support/second-provider.js";

const lenet = () => readModel("models/mnist_lenet5.onnx");
const resnet = () => readModel("models/cifar10_resnet20.onnx");

describe("where nodes ran", () => {
  it("is the CPU on the CPU provider", async () => {
    const runner = await openNodeRunner({ threads: 1 });
    const model = await lenet();
    const placement = await placementOf(runner, sourceOf(model), randomFeeds(model, 1), { optimization: "disabled" });
    expect(placement).toEqual({ CPUExecutionProvider: { Conv: 2, Relu: 4, MaxPool: 2, Flatten: 1, Gemm: 3 } });
    await runner.close();
  });
});

describe.skipIf(!hasSecondProvider)(onSecondProvider("everything"), () => {
  let webgpu: Runner;
  let cpu: Runner;
  beforeAll(async () => {
    webgpu = await openSecondProvider();
    cpu = await openNodeRunner({ threads: 1 });
  });
  afterAll(async () => {
    await webgpu.close();
    await cpu.close();
  });

  it("runs what it has kernels for on the device, and the rest on the CPU", async () => {
    const model = modelOf(`g (float[1,6,4,4] x) => (double[1,4,4,4] y) <float[4,6,1,1] w = {...}>
      { c = Conv (x, w) d = Cast <to = 11> (c) y = Mul (d, d) }`);
    const placement = await placementOf(webgpu, sourceOf(model), randomFeeds(model, 1), { optimization: "disabled" });
    expect(placement).toMatchObject({ WebGpuExecutionProvider: { Conv: 1 }, CPUExecutionProvider: { Mul: 1 } });
  });

  it.each([
    ["LeNet-5", lenet],
    ["ResNet-20", resnet],
  ])("%s computes the same as on the CPU, all of it on the device", async (_, load) => {
    const model = await load();
    const feeds = randomFeeds(model, 1);
    expect(Object.keys((await placementOf(webgpu, sourceOf(model), feeds)) ?? {})).toEqual(["WebGpuExecutionProvider"]);
    const [want, got] = await Promise.all([cpu, webgpu].map((r) => firstOutput(r, model, feeds)));
    // Measured: 3e-7 to 5e-7.
    expect(relative(got as Tensor, want as Tensor)).toBeLessThan(5e-6);
  });

  // 6 and 9 channels were wrong in the layout that ONNX Runtime takes by itself: session-options.ts.
  it.each([1, 2, 3, 5, 6, 9, 16])("convolutions over %i channels are right", async (channels) => {
    const model = modelOf(`g (float[2,${channels},7,7] x) => (float[] a, float[] b)
      <float[4,${channels},3,3] w = {...}, float[5,${channels},2,2] v = {...}> { a = Conv (x, w) b = Conv <strides = [2, 2]> (x, v) }`);
    const feeds = randomFeeds(model, 1);
    for (const name of ["a", "b"]) {
      const part = extract(model, { outputs: [name] });
      const [want, got] = await Promise.all([cpu, webgpu].map((r) => firstOutput(r, part, feeds)));
      expect(relative(got as Tensor, want as Tensor)).toBeLessThan(1e-5);
    }
  });

  it.each([
    ["LeNet-5", lenet, 0.6],
    ["ResNet-20", resnet, 0.6],
  ])("%s, pruned, equals the oracle", async (_, load, macs) => {
    const model = await load();
    const options = { passes: ["l1"], target: { macs }, latency: false, threads: 1, seed: 1 } as const;
    const onDevice = await prune(model, { ...options, ep: "webgpu" });
    expect(onDevice.report.provider.name).toBe("webgpu");
    expect(onDevice.report.equality).toHaveLength(1);
    expect(onDevice.report.equality[0]).toMatchObject({ ok: true, tolerance: 1e-5, on: "webgpu, optimisation disabled" });
    expect(onDevice.report.loads.map((l) => l.ok)).toEqual([true, true, true, true]);
    // The same plan, the same file; and the removal moves outputs as far as it does on the CPU.
    const onCpu = await prune(model, { ...options, ep: "cpu" });
    expect(joinChunks(encode(onDevice.model))).toEqual(joinChunks(encode(onCpu.model)));
    const [drift, wanted] = [onDevice, onCpu].map((r) => r.report.equality[0]?.drift as number);
    expect(Math.abs((drift as number) / (wanted as number) - 1)).toBeLessThan(1e-5);
  });

  it("moments of activations are those of the CPU", async () => {
    const model = await lenet();
    const inputs = model.graph.inputs.map((v) => ({ name: v.name, dtype: v.dtype ?? "undefined", shape: v.shape ?? [] }));
    const samples = await openSamples("models/data/mnist-2000[0:64]", { inputs } as Parameters<typeof openSamples>[1]);
    const requests = model.graph.nodes
      .filter((n) => n.opType === "Conv" || n.opType === "Gemm")
      .map((n): MomentsRequest => ({ kind: "moments", value: n.outputs[0]?.name as string, axis: 1, variable: "pixels", byClass: false }));
    const [want, got] = await Promise.all([cpu, webgpu].map(async (r) => statisticsFrom(await collect(r, model, requests, samples))));
    expect(requests.length).toBe(5);
    for (const request of requests) {
      const [a, b] = [want, got].map((s) => s?.of(request));
      expect(worst(b?.mean, a?.mean)).toBeLessThan(1e-4);
      expect(worst(b?.variance, a?.variance)).toBeLessThan(1e-4);
    }
  });

  it("two runners take turns: two threads at once crash the process", async () => {
    const other = await openSecondNodeRunner();
    const model = await lenet();
    const feeds = randomFeeds(model, 1);
    const sessions = await Promise.all([webgpu, other].map((r) => r.load(sourceOf(model))));
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => sessions[i % 2]?.run(feeds)));
    const first = Object.values(results[0] ?? {})[0];
    for (const r of results) expect(Object.values(r ?? {})[0]?.bytes).toEqual(first?.bytes);
    await other.close();
    expect(Object.values((await sessions[0]?.run(feeds)) ?? {})[0]?.bytes).toEqual(first?.bytes);
    await sessions[0]?.release();
  });

  it("closed in the middle of a run leaves the turn to the next", async () => {
    const other = await openSecondNodeRunner();
    const model = await resnet();
    const running = other.load(sourceOf(model)).then((s) => s.run(randomFeeds(model, 1)));
    const settled = running.catch((e: unknown) => e);
    await new Promise((resume) => setTimeout(resume, 100));
    await other.close();
    expect(await settled).toMatchObject({ code: "RUNTIME_CLOSED" });
    expect((await firstOutput(webgpu, await lenet(), randomFeeds(await lenet(), 1))).dims.at(-1)).toBe(10);
  });
});

async function firstOutput(runner: Runner, model: Model, feeds: Readonly<Record<string, Tensor>>): Promise<Tensor> {
  const session = await runner.load(sourceOf(model), { optimization: "disabled" });
  const result = Object.values(await session.run(feeds))[0] as Tensor;
  await session.release();
  return result;
}

function relative(got: Tensor, want: Tensor): number {
  return worst(got.numbers(), want.numbers());
}

/** Largest |difference| over largest |wanted|. */
function worst(got: ArrayLike<number> | undefined, want: ArrayLike<number> | undefined): number {
  const differences = Array.from(want ?? [], (w, i) => Math.abs(w - (got?.[i] as number)));
  return Math.max(...differences) / Math.max(...Array.from(want ?? [], Math.abs));
}
