/**
 * A second execution provider with kernels of its own, for tests that must hold on any: WebGPU, where the environment variable
 * ONNX_PRUNE_WEBGPU is 1 (CONTRIBUTING.md says how to have it without a GPU).
 */
import { openNodeRunner } from "../../src/runtime/node.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";

export const hasSecondProvider: boolean = process.env["ONNX_PRUNE_WEBGPU"] === "1";

/** For `describe.skipIf(!hasSecondProvider)(onSecondProvider("…"), …)`: a skipped test then says how to run it. */
export function onSecondProvider(what: string): string {
  return hasSecondProvider ? `${what} on WebGPU` : `${what} on WebGPU (skipped: set ONNX_PRUNE_WEBGPU=1, see CONTRIBUTING.md)`;
}

/** A runner on it, probed. Close it: runners on WebGPU take turns, those forgotten too. */
export async function openSecondProvider(): Promise<Runner> {
  return openRunner("webgpu", { threads: 1 });
}

/** The same without the probe, as the tests of runners open theirs. */
export async function openSecondNodeRunner(): Promise<Runner> {
  return openNodeRunner({ provider: "webgpu", threads: 1 });
}
