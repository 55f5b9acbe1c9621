/** onnxruntime-web: the same runtime compiled to WebAssembly. Other kernels (128-bit SIMD, no NCHWc), hence a second opinion. */
import { openHost } from "./host.js";
import type { Runner } from "./runner.js";

export const INSTALL_WEB = "npm i onnxruntime-web";

export interface WebRunnerOptions {
  /** Default 1: more did not help where it was measured, and each is a thread with a heap of its own. */
  readonly threads?: number;
}

/**
 * Starts onnxruntime-web in a thread of its own. Some nine times slower than onnxruntime-node, and limited to 4 GiB.
 * External data of a model must be given as bytes: it is not looked for beside the file.
 * @throws RuntimeError RUNTIME_MISSING or RUNTIME_UNLOADABLE.
 */
export async function openWebRunner(options: WebRunnerOptions = {}): Promise<Runner> {
  return openHost({
    provider: "wasm",
    package: "onnxruntime-web",
    install: INSTALL_WEB,
    otherwise: `Install it again: ${INSTALL_WEB}`,
    threads: options.threads ?? 1,
  });
}
