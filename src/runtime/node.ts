/** onnxruntime-node: the native runtime, on the CPU, on CUDA or on WebGPU. */
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { RuntimeError } from "../errors.js";
import { locate, openHost } from "./host.js";
import type { Provider, Runner } from "./runner.js";

export const INSTALL_NODE = "ONNXRUNTIME_NODE_INSTALL=skip npm i onnxruntime-node";

export interface NodeRunnerOptions {
  readonly provider?: Exclude<Provider, "wasm">;
  /** Threads inside one operator; default: every logical CPU this process may use. Matters to the CPU provider only. */
  readonly threads?: number;
}

/**
 * Starts onnxruntime-node in a thread of its own. Says nothing about whether the provider computes: see openRunner.
 * @throws RuntimeError RUNTIME_MISSING, RUNTIME_UNLOADABLE, or RUNTIME_PROVIDER if CUDA's libraries are not there.
 */
export async function openNodeRunner(options: NodeRunnerOptions = {}): Promise<Runner> {
  const provider = options.provider ?? "cpu";
  if (provider === "cuda") prepareCuda();
  return openHost({
    provider,
    package: "onnxruntime-node",
    install: INSTALL_NODE,
    otherwise: "Its binaries need glibc 2.28, Windows, or macOS on ARM. Elsewhere: npm i onnxruntime-web, and --ep wasm.",
    threads: options.threads ?? availableParallelism(),
  });
}

/**
 * Everything we can set about CUDA is here, and it is little: of the options of the CUDA provider the binding of
 * onnxruntime-node reads `deviceId` alone (js/node/src/session_options_helper.cc), so cudnn_conv_algo_search stays
 * EXHAUSTIVE (the first run of each shape is slow), and TF32 can only be turned off for all of NVIDIA's libraries.
 * TF32 keeps 10 bits of mantissa: with it, an exact rewrite differs from its original by 1e-3.
 */
function prepareCuda(): void {
  const problem = cudaProblem(dirname(locate("onnxruntime-node", INSTALL_NODE)));
  if (problem) throw problem;
  process.env["NVIDIA_TF32_OVERRIDE"] ??= "0";
}

/** Why CUDA cannot work, from what is on disk; undefined if it may. `dist` is the folder of onnxruntime-node's entry. */
export function cudaProblem(
  dist: string,
  platform: string = process.platform,
  arch: string = process.arch,
  exists: (path: string) => boolean = existsSync,
): RuntimeError | undefined {
  if (platform !== "linux" || arch !== "x64") {
    return new RuntimeError("RUNTIME_PROVIDER", `onnxruntime-node has CUDA on linux/x64 only, and this is ${platform}/${arch}.`, {
      hint: "Use --ep cpu or --ep webgpu.",
    });
  }
  const folder = join(dist, "..", "bin", "napi-v6", "linux", "x64");
  const missing = ["shared", "cuda"].map((n) => `libonnxruntime_providers_${n}.so`).filter((file) => !exists(join(folder, file)));
  if (missing.length === 0) return undefined;
  return new RuntimeError("RUNTIME_PROVIDER", `CUDA needs ${missing.join(" and ")}, not found in ${folder}.`, { hint: cudaRemedy(folder) });
}

/** What a user with a GPU has to do; the install script of onnxruntime-node fetches the libraries from NuGet. */
export function cudaRemedy(folder = "node_modules/onnxruntime-node/bin/napi-v6/linux/x64"): string {
  return [
    "Install onnxruntime-node with NuGet reachable and without ONNXRUNTIME_NODE_INSTALL=skip,",
    "or copy runtimes/linux-x64/native/libonnxruntime_providers_{shared,cuda}.so out of the NuGet package",
    `Microsoft.ML.OnnxRuntime.Gpu.Linux of the same version (a zip) into ${folder}.`,
    "CUDA 12 and its cuDNN must be on LD_LIBRARY_PATH.",
  ].join(" ");
}
