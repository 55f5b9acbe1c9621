/** Chooses an execution provider by trying it: what a runtime claims to support and what computes are two lists. */
import { ConfigError, OnnxPruneError, RuntimeError } from "../errors.js";
import { cudaRemedy, cudnnHint } from "./cuda.js";
import { INSTALL_NODE, openNodeRunner } from "./node.js";
import { label, probe } from "./probe.js";
import type { Provider, Runner } from "./runner.js";
import { openWebRunner } from "./web.js";

export interface OpenOptions {
  readonly threads?: number | undefined;
  /** The number of the CUDA device, as `nvidia-smi -L` counts; default 0. Other providers have no choice of device. */
  readonly device?: number | undefined;
  /** Told which provider was taken, why those before it were not, and what is odd about it. One sentence or more, for the user. */
  readonly onNote?: (note: string) => void;
  /** How each provider is opened; for tests. */
  readonly open?: Openers;
}
export type Openers = Readonly<Record<Provider, (options: Pick<OpenOptions, "threads" | "device">) => Promise<Runner>>>;

const OPENERS: Openers = {
  cpu: ({ threads }) => openNodeRunner({ provider: "cpu", threads }),
  cuda: ({ threads, device }) => openNodeRunner({ provider: "cuda", threads, device }),
  webgpu: ({ threads }) => openNodeRunner({ provider: "webgpu", threads }),
  wasm: ({ threads }) => openWebRunner(threads === undefined ? {} : { threads }),
};

/**
 * WebGPU is not among them: a software driver (which any machine with a browser may have) is hundreds of times slower than the
 * CPU provider, shaders are compiled anew for each session, and float64 runs on the CPU anyway. Whoever has
 * the hardware asks for it.
 */
const AUTO: readonly Provider[] = ["cuda", "cpu", "wasm"];

/**
 * A runner on the provider asked for, after it computed a small convolution correctly. "auto" takes the first of CUDA,
 * CPU and wasm that does, and says so through `onNote`.
 *
 * @throws RuntimeError with the remedy as its hint. "auto" throws only if nothing works. ConfigError DEVICE_WITHOUT_CUDA.
 */
export async function openRunner(ep: Provider | "auto", options: OpenOptions = {}): Promise<Runner> {
  const { device, onNote } = options;
  if (device !== undefined && ep !== "cuda" && ep !== "auto") {
    throw new ConfigError(
      "DEVICE_WITHOUT_CUDA",
      `A device can be chosen for CUDA only, and device ${device} was asked for on ${label(ep)}.`,
      {
        hint: "Leave out --device, or use --ep cuda.",
      },
    );
  }
  if (ep !== "auto") {
    const { runner, oddity } = await tryOpen(ep, options);
    if (oddity) onNote?.(oddity);
    return runner;
  }
  const refused: { readonly provider: Provider; readonly error: OnnxPruneError }[] = [];
  for (const provider of AUTO) {
    try {
      const { runner, oddity } = await tryOpen(provider, options);
      onNote?.([`Running on ${label(provider)} (${runner.runtime}).`, ...(oddity ? [oddity] : []), ...refused.map(whyNot)].join(" "));
      return runner;
    } catch (error) {
      // A bug of ours is not a reason to take the next provider.
      if (!(error instanceof OnnxPruneError) || error.exitCode === 70) throw error;
      refused.push({ provider, error });
    }
  }
  throw new RuntimeError("RUNTIME_NONE", `No runtime works here. ${refused.map(whyNot).join(" ")}`, {
    hint: INSTALL_NODE,
    cause: new AggregateError(refused.map((r) => r.error)),
  });
}

function whyNot({ provider, error }: { readonly provider: Provider; readonly error: OnnxPruneError }): string {
  return `${label(provider)} was not used: ${error.message}`;
}

async function tryOpen(provider: Provider, options: OpenOptions): Promise<{ runner: Runner; oddity: string | undefined }> {
  const { threads, device } = options;
  const runner = await (options.open ?? OPENERS)[provider]({ threads, device });
  try {
    return { runner, oddity: await probe(runner) };
  } catch (cause) {
    await runner.close();
    if (!(cause instanceof OnnxPruneError) || !STARTING.has(cause.code)) throw cause;
    const known = cause.hint ?? (cause.code === "RUNTIME_PROVIDER" ? REMEDY[provider] : undefined);
    const cudnn = provider === "cuda" && cause.code !== "RUNTIME_PROVIDER" ? cudnnHint() : undefined;
    const hint = [cudnn, known].filter((h) => h !== undefined).join(" ");
    throw new RuntimeError(cause.code, cause.message, { ...(hint === "" ? {} : { hint }), cause });
  }
}

/** Codes of failures that may have to do with how a provider is installed. */
const STARTING: ReadonlySet<string> = new Set(["RUNTIME_PROVIDER", "RUNTIME_CUDA", "RUNTIME_FAILED"]);

const REMEDY: Readonly<Record<Provider, string>> = {
  cuda: cudaRemedy(),
  webgpu: "WebGPU needs a GPU and its Vulkan, Metal or Direct3D 12 driver. Use --ep cpu.",
  cpu: INSTALL_NODE,
  wasm: "Use --ep cpu.",
};
