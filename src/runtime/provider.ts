/** Chooses an execution provider by trying it: what a runtime claims to support and what computes are two lists. */
import { OnnxPruneError, RuntimeError } from "../errors.js";
import { Tensor } from "../graph/tensor.js";
import { cudaRemedy, INSTALL_NODE, openNodeRunner } from "./node.js";
import type { Provider, Runner } from "./runner.js";
import { openWebRunner } from "./web.js";

export interface OpenOptions {
  readonly threads?: number;
  /** Told which provider was taken, and why those before it were not. One sentence or more, for the user. */
  readonly onNote?: (note: string) => void;
  /** How each provider is opened; for tests. */
  readonly open?: Openers;
}
export type Openers = Readonly<Record<Provider, (threads: number | undefined) => Promise<Runner>>>;

const OPENERS: Openers = {
  cpu: (threads) => openNodeRunner({ provider: "cpu", ...(threads === undefined ? {} : { threads }) }),
  cuda: (threads) => openNodeRunner({ provider: "cuda", ...(threads === undefined ? {} : { threads }) }),
  webgpu: (threads) => openNodeRunner({ provider: "webgpu", ...(threads === undefined ? {} : { threads }) }),
  wasm: (threads) => openWebRunner(threads === undefined ? {} : { threads }),
};

const AUTO: readonly Provider[] = ["cuda", "cpu", "wasm"];

/**
 * A runner on the provider asked for, after it computed a small convolution correctly. "auto" takes the first of CUDA,
 * CPU and wasm that does, and says so through `onNote`.
 *
 * @throws RuntimeError with the remedy as its hint. "auto" throws only if nothing works.
 */
export async function openRunner(ep: Provider | "auto", options: OpenOptions = {}): Promise<Runner> {
  const openers = options.open ?? OPENERS;
  if (ep !== "auto") return tryOpen(ep, openers, options.threads);
  const refused: { readonly provider: Provider; readonly error: OnnxPruneError }[] = [];
  for (const provider of AUTO) {
    try {
      const runner = await tryOpen(provider, openers, options.threads);
      options.onNote?.([`Running on ${label(provider)} (${runner.runtime}).`, ...refused.map(whyNot)].join(" "));
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

function label(provider: Provider): string {
  return { cpu: "CPU", cuda: "CUDA", webgpu: "WebGPU", wasm: "WebAssembly" }[provider];
}

async function tryOpen(provider: Provider, openers: Openers, threads: number | undefined): Promise<Runner> {
  const runner = await openers[provider](threads);
  try {
    await probe(runner);
    return runner;
  } catch (cause) {
    await runner.close();
    if (!(cause instanceof OnnxPruneError) || cause.code !== "RUNTIME_PROVIDER") throw cause;
    throw new RuntimeError(cause.code, cause.message, { hint: REMEDY[provider], cause });
  }
}

const REMEDY: Readonly<Record<Provider, string>> = {
  cuda: cudaRemedy(),
  webgpu: "WebGPU needs a GPU and its Vulkan, Metal or Direct3D 12 driver. Use --ep cpu.",
  cpu: INSTALL_NODE,
  wasm: "Use --ep cpu.",
};

/** Relu(Conv(X, W, B)), X [1, 1, 3, 3], W [2, 1, 2, 2]; made by probeModel() in test/runtime/tiny-models.ts. */
export const PROBE_MODEL: string =
  "CAg6qQEKFAoBWAoBVwoBQhIBQyIEQ29udjoACg4KAUMSAVkiBFJlbHU6ABIEdGlueSotCgQCAQICEAFCAVdKIAAAgD8AAAAAAAAAAAAAgL8AAABAAACA" +
  "vwAAgD8AAIA/KhIKAQIQAUIBQkoIAACgQAAAIMFaGwoBWBIWChQIARIQCgIIAQoCCAEKAggDCgIIA2IbCgFZEhYKFAgBEhAKAggBCgIIAgoCCAIKAggC" +
  "QgQKABAR";

/** Computed by hand from x[i,j] - x[i+1,j+1] + 5 and 2·x[i,j] - x[i,j+1] + x[i+1,j] + x[i+1,j+1] - 10, negative ones cut off. */
const PROBE_X = [3, 1, 4, 1, 5, 9, 2, 6, 5];
const PROBE_Y = [3, 0, 0, 5, 1, 2, 0, 2];

/**
 * Runs the small convolution on `runner`.
 * @throws RuntimeError RUNTIME_WRONG_NUMBERS if it computes something else. All numbers are small integers, so reduced
 *   precision is no excuse.
 */
export async function probe(runner: Runner): Promise<void> {
  const session = await runner.load({ bytes: Buffer.from(PROBE_MODEL, "base64") });
  const { Y } = await session.run({ X: Tensor.floats([1, 1, 3, 3], PROBE_X) });
  const got = Y ? [...Y.numbers()] : [];
  if (got.length !== PROBE_Y.length || got.some((y, i) => y !== PROBE_Y[i])) {
    throw new RuntimeError(
      "RUNTIME_WRONG_NUMBERS",
      `${label(runner.provider)} (${runner.runtime}) computes wrong numbers: a 2x2 convolution should give ${PROBE_Y.join(" ")}, and gave ${got.join(" ")}.`,
      { hint: "Update the driver of the device, or use --ep cpu." },
    );
  }
  await session.release();
}
