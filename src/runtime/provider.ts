/** Chooses an execution provider by trying it: what a runtime claims to support and what computes are two lists. */
import { ConfigError, OnnxPruneError, RuntimeError } from "../errors.js";
import { Tensor } from "../graph/tensor.js";
import { cudaRemedy, cudnnHint } from "./cuda.js";
import { INSTALL_NODE, openNodeRunner } from "./node.js";
import type { Provider, Runner, Session } from "./runner.js";
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
 * CPU provider, shaders are compiled anew for each session, and float64 and most of int64 run on the CPU anyway. Whoever has
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

function label(provider: Provider): string {
  return { cpu: "CPU", cuda: "CUDA", webgpu: "WebGPU", wasm: "WebAssembly" }[provider];
}

async function tryOpen(provider: Provider, options: OpenOptions): Promise<{ runner: Runner; oddity: string | undefined }> {
  const { threads, device } = options;
  const runner = await (options.open ?? OPENERS)[provider]({ threads, device });
  try {
    return { runner, oddity: await probe(runner) };
  } catch (cause) {
    await runner.close();
    if (!(cause instanceof OnnxPruneError) || !STARTING.has(cause.code)) throw cause;
    const hint = [cause.hint ?? REMEDY[provider], ...(provider === "cuda" ? [cudnnHint()] : [])].filter(Boolean).join(" ");
    throw new RuntimeError(cause.code, cause.message, { hint, cause });
  }
}

/** Codes of failures that have to do with how a provider is installed. */
const STARTING: ReadonlySet<string> = new Set(["RUNTIME_PROVIDER", "RUNTIME_CUDA"]);

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
/** The same for 4097·x: exact in float32, but 4097 = 2^12 + 1 does not fit the 11 bits of TF32 and float16. */
const FINE = 4097;
const FINE_Y = [0, 0, 0, 5, 45057, 49154, 20475, 49154];

/**
 * Runs the small convolution on `runner`, first with small integers, where reduced precision is no excuse, then with numbers
 * that need all of float32.
 * @returns a sentence for the user if it computes in less than float32.
 * @throws RuntimeError RUNTIME_WRONG_NUMBERS if it computes something else.
 */
export async function probe(runner: Runner): Promise<string | undefined> {
  const session = await runner.load({ bytes: Buffer.from(PROBE_MODEL, "base64") });
  const coarse = await convolve(session, 1);
  if (!agree(coarse, PROBE_Y, 0)) throw wrongNumbers(runner, PROBE_Y, coarse);
  const fine = await convolve(session, FINE);
  await session.release();
  if (agree(fine, FINE_Y, 0)) return undefined;
  if (!agree(fine, FINE_Y, 0.02 * Math.max(...FINE_Y))) throw wrongNumbers(runner, FINE_Y, fine);
  return `${label(runner.provider)} computes with less than float32 (TF32?): equality to 1e-5 may not be reached. Set NVIDIA_TF32_OVERRIDE=0.`;
}

async function convolve(session: Session, scale: number): Promise<readonly number[]> {
  const X = Tensor.floats(
    [1, 1, 3, 3],
    PROBE_X.map((x) => scale * x),
  );
  const { Y } = await session.run({ X });
  return Y ? [...Y.numbers()] : [];
}

function agree(got: readonly number[], wanted: readonly number[], tolerance: number): boolean {
  return got.length === wanted.length && got.every((y, i) => Math.abs(y - (wanted[i] as number)) <= tolerance);
}

function wrongNumbers(runner: Runner, wanted: readonly number[], got: readonly number[]): RuntimeError {
  return new RuntimeError(
    "RUNTIME_WRONG_NUMBERS",
    `${label(runner.provider)} (${runner.runtime}) computes wrong numbers: a 2x2 convolution should give ${wanted.join(" ")}, and gave ${got.join(" ")}.`,
    { hint: "Update the driver of the device, or use --ep cpu." },
  );
}
