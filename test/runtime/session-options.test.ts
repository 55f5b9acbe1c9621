import { describe, expect, it } from "vitest";
import { openHost } from "../../src/runtime/host.js";
import { sessionOptions } from "../../src/runtime/session-options.js";
import { runtimeWhose } from "./stand-in.js";

const common = { graphOptimizationLevel: "all", intraOpNumThreads: 2, interOpNumThreads: 1, logSeverityLevel: 4 };
const settings = { optimization: "all", threads: 2, lean: false } as const;
const still = { intra_op: { allow_spinning: "0" }, inter_op: { allow_spinning: "0" } };

describe("options of a session", () => {
  it("on the CPU: no spinning pools, no memory pattern per shape", () => {
    expect(sessionOptions({ ...settings, provider: "cpu" })).toEqual({
      ...common,
      executionProviders: ["cpu"],
      enableMemPattern: false,
      extra: { session: still },
    });
  });

  it("on CUDA: the device, and sums in one order", () => {
    expect(sessionOptions({ ...settings, provider: "cuda", device: 1 })).toEqual({
      ...common,
      executionProviders: [{ name: "cuda", deviceId: 1 }],
      enableMemPattern: false,
      extra: { session: { ...still, use_deterministic_compute: "1" } },
    });
    expect(sessionOptions({ ...settings, provider: "cuda" }).executionProviders).toEqual([{ name: "cuda", deviceId: 0 }]);
  });

  it("on WebGPU: the layout in which convolutions are right, and no device, which the binding refuses", () => {
    expect(sessionOptions({ ...settings, provider: "webgpu" })).toEqual({
      ...common,
      executionProviders: [{ name: "webgpu", preferredLayout: "NCHW" }],
      enableMemPattern: false,
      extra: { session: still },
    });
  });

  it("on wasm: nothing that only the native runtime knows", () => {
    expect(sessionOptions({ ...settings, provider: "wasm", lean: true, profile: "/tmp/p" })).toEqual({
      ...common,
      executionProviders: ["wasm"],
    });
  });

  it("that spare memory keep weights as they are; those that profile name the file", () => {
    const options = sessionOptions({ ...settings, provider: "cpu", optimization: "disabled", lean: true, profile: "/tmp/p" });
    expect(options).toMatchObject({
      graphOptimizationLevel: "disabled",
      enableProfiling: true,
      profileFilePrefix: "/tmp/p",
      extra: { session: { disable_prepacking: "1", use_device_allocator_for_initializers: "1" } },
    });
  });

  it("reach the runtime as they are", async () => {
    const told = runtimeWhose({ create: "throw new Error('told ' + JSON.stringify(options))" });
    const runner = await openHost({ provider: "cuda", package: told, install: "", otherwise: "", threads: 3, device: 5 });
    const wanted = sessionOptions({ provider: "cuda", optimization: "basic", threads: 3, lean: false, device: 5 });
    await expect(runner.load({ bytes: new Uint8Array(1) }, { optimization: "basic" })).rejects.toMatchObject({
      message: expect.stringContaining(`told ${JSON.stringify(wanted)}`),
    });
    await runner.close();
  });
});
