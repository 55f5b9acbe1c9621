/** The one place where an execution provider becomes options of ONNX Runtime. What each can and cannot be told: docs/providers.md. */
import type { InferenceSession } from "onnxruntime-common";
import type { Provider } from "./runner.js";

export interface SessionSettings {
  readonly provider: Provider;
  readonly optimization: "disabled" | "basic" | "extended" | "all";
  /** Threads inside one operator on the CPU, which is also where other providers leave what they have no kernel for. */
  readonly threads: number;
  /** Spare memory rather than time; see LoadOptions. */
  readonly lean: boolean;
  /** CUDA: the number of the device, as `nvidia-smi -L` counts. */
  readonly device?: number | undefined;
  /** A profile of every run is written to a file whose path starts so, when the session is released. Native providers only. */
  readonly profile?: string | undefined;
}

/** Options of `InferenceSession.create`; plain data, so that it travels to the worker. */
export function sessionOptions(settings: SessionSettings): InferenceSession.SessionOptions {
  const { provider, optimization, threads, lean, profile } = settings;
  const common: InferenceSession.SessionOptions = {
    executionProviders: [provider],
    graphOptimizationLevel: optimization,
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    // Every failure reaches us as an exception too.
    logSeverityLevel: 4,
  };
  if (provider === "wasm") return common;
  return {
    ...common,
    executionProviders: [providerEntry(settings)],
    // A pattern is kept for every shape of the inputs: with six batch sizes 212 MiB against 162, and nothing gained with one.
    enableMemPattern: false,
    extra: { session: { ...SPINNING, ...(provider === "cuda" ? DETERMINISTIC : {}), ...(lean ? LEAN : {}) } },
    ...(profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: profile }),
  };
}

// Spinning pools burn the cores other sessions and the main thread need: 118 ms against 32 ms on two busy cores.
const SPINNING = { intra_op: { allow_spinning: "0" }, inter_op: { allow_spinning: "0" } };
// Without the second, initializers lie in an arena that grows by powers of two.
const LEAN = { disable_prepacking: "1", use_device_allocator_for_initializers: "1" };
// Some CUDA kernels add up in whatever order their threads finish. The CPU's are bit-identical anyway, whatever the threads.
const DETERMINISTIC = { use_deterministic_compute: "1" };

/**
 * The binding of onnxruntime-node 1.30 reads `deviceId` and nothing else of an entry for CUDA, and refuses unknown keys in
 * one for WebGPU, where the device cannot be chosen.
 */
function providerEntry({ provider, device }: SessionSettings): InferenceSession.ExecutionProviderConfig {
  switch (provider) {
    case "cuda":
      return { name: "cuda", deviceId: device ?? 0 };
    case "webgpu":
      // In NHWC, the default, convolutions over 6, 9, 15, 18 … channels (multiples of 3 and not of 4, beyond 3) give wrong
      // numbers where the output's are a multiple of 4 (onnxruntime 1.30; microsoft/onnxruntime issue 29651). Pruning makes such widths.
      return { name: "webgpu", preferredLayout: "NCHW" };
    default:
      return provider;
  }
}
