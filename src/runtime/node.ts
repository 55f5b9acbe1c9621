/** onnxruntime-node: the native runtime, on the CPU, on CUDA or on WebGPU. */
import { availableParallelism } from "node:os";
import { dirname } from "node:path";
import { cudaProblem, forbidTf32 } from "./cuda.js";
import { locate, openHost } from "./host.js";
import type { Provider, Runner } from "./runner.js";

export const INSTALL_NODE = "ONNXRUNTIME_NODE_INSTALL=skip npm i onnxruntime-node";

export interface NodeRunnerOptions {
  readonly provider?: Exclude<Provider, "wasm">;
  /** Threads inside one operator; default: every logical CPU this process may use. Matters to the CPU provider only. */
  readonly threads?: number | undefined;
  /** The number of the CUDA device; default 0. */
  readonly device?: number | undefined;
}

/**
 * Starts onnxruntime-node in a thread of its own. Says nothing about whether the provider computes: see openRunner.
 * @throws RuntimeError RUNTIME_MISSING, RUNTIME_UNLOADABLE, or RUNTIME_PROVIDER if CUDA's libraries are not there.
 */
export async function openNodeRunner(options: NodeRunnerOptions = {}): Promise<Runner> {
  const provider = options.provider ?? "cpu";
  if (provider === "cuda") {
    const problem = cudaProblem(dirname(locate("onnxruntime-node", INSTALL_NODE)));
    if (problem) throw problem;
    forbidTf32();
  }
  return openHost({
    provider,
    package: "onnxruntime-node",
    install: INSTALL_NODE,
    otherwise: "Its binaries need glibc 2.28, Windows, or macOS on ARM. Elsewhere: npm i onnxruntime-web, and --ep wasm.",
    threads: options.threads ?? availableParallelism(),
    device: options.device,
  });
}
