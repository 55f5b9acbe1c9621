/** What CUDA needs that is not in the npm package, and what can be told about it before ONNX Runtime is asked. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { RuntimeError } from "../errors.js";

/** What `process.dlopen` throws for a library, as text. Never undefined: no library asked for here is an addon of Node. */
export type Link = (path: string) => string;

/**
 * TF32 keeps 10 bits of mantissa: with it, an exact rewrite differs from its original by 1e-3. `use_tf32` cannot be set from
 * JavaScript, but cuBLAS and cuDNN read this variable, when they first compute. A variable the user set is left alone.
 */
export function forbidTf32(environment: NodeJS.ProcessEnv = process.env): void {
  environment["NVIDIA_TF32_OVERRIDE"] ??= "0";
}

export interface CudaFacts {
  readonly platform?: string;
  readonly arch?: string;
  readonly exists?: (path: string) => boolean;
  readonly link?: Link;
}

/**
 * Why CUDA cannot work, from what is on disk and what the dynamic linker finds; undefined if it may. `dist` is the folder of
 * onnxruntime-node's entry. ONNX Runtime itself says no more than "Failed to load shared library".
 */
export function cudaProblem(dist: string, facts: CudaFacts = {}): RuntimeError | undefined {
  const { platform = process.platform, arch = process.arch, exists = existsSync, link = linkerSays } = facts;
  if (platform !== "linux" || arch !== "x64") {
    return new RuntimeError("RUNTIME_PROVIDER", `onnxruntime-node has CUDA on linux/x64 only, and this is ${platform}/${arch}.`, {
      hint: "Use --ep cpu or --ep webgpu.",
    });
  }
  const folder = join(dist, "..", "bin", "napi-v6", "linux", "x64");
  const missing = ["shared", "cuda"].map((n) => `libonnxruntime_providers_${n}.so`).filter((file) => !exists(join(folder, file)));
  if (missing.length > 0) {
    return new RuntimeError("RUNTIME_PROVIDER", `CUDA needs ${missing.join(" and ")}, not found in ${folder}.`, {
      hint: cudaRemedy(folder),
    });
  }
  // The linker looks for all that the library needs before it resolves symbols, and then misses one that ONNX Runtime
  // supplies: so nothing of it runs here.
  const absent = notFound(link(join(folder, "libonnxruntime_providers_cuda.so")));
  if (absent === undefined) return undefined;
  return new RuntimeError("RUNTIME_PROVIDER", `CUDA needs ${absent}, which the dynamic linker does not find.`, { hint: remedyFor(absent) });
}

/** What may be said of cuDNN, which is looked for at the first convolution only, after a failure that does not name it. */
export function cudnnHint(link: Link = linkerSays): string | undefined {
  const absent = notFound(link("libcudnn.so.9"));
  return absent && `${absent} is not found by the dynamic linker. ${remedyFor(absent)}`;
}

function linkerSays(path: string): string {
  try {
    process.dlopen({ exports: {} }, path);
    return "";
  } catch (e) {
    return e instanceof Error ? e.message : String(e);
  }
}

function notFound(said: string): string | undefined {
  return /^(\S+): cannot open shared object file/.exec(said)?.[1];
}

function remedyFor(library: string): string {
  if (library.startsWith("libcuda.so")) {
    return "It comes with the NVIDIA driver: install one, or, in a container, start it with --gpus all. Without a GPU use --ep cpu.";
  }
  const version = /\.so\.(\d+)/.exec(library)?.[1];
  const what = library.startsWith("libcudnn") ? `cuDNN ${version ?? "9"}` : "the runtime of the CUDA toolkit";
  return `Install ${what}, and put its folder on LD_LIBRARY_PATH before the command starts. Until then use --ep cpu.`;
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
