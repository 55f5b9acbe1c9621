/** A small convolution that tells whether a provider computes, and in what precision. */
import { RuntimeError } from "../errors.js";
import { Tensor } from "../graph/tensor.js";
import type { Provider, Runner, Session } from "./runner.js";

/** The name of a provider in sentences. */
export function label(provider: Provider): string {
  return { cpu: "CPU", cuda: "CUDA", webgpu: "WebGPU", wasm: "WebAssembly" }[provider];
}

/**
 * Relu(Conv(X, W, B)), X [1, 6, 3, 3], W [4, 6, 2, 2], made by probeModel() in test/runtime/tiny-models.ts. Six channels
 * because of WebGPU: see session-options.ts.
 */
export const PROBE_MODEL: string =
  "CAg6kwQKFAoBWAoBVwoBQhIBQyIEQ29udjoACg4KAUMSAVkiBFJlbHU6ABIEdGlueSqOAwoEBAYCAhABQgFXSoADAAAAwAAAgL8AAAAAAACAPwAAAMAAAIC/AAAAAAAA" +
  "gD8AAADAAACAvwAAAAAAAIA/AAAAAAAAgD8AAABAAAAAwAAAAAAAAIA/AAAAQAAAAMAAAAAAAACAPwAAAEAAAADAAACAPwAAAEAAAADAAACAvwAAgD8AAABAAAAAwAAA" +
  "gL8AAIA/AAAAQAAAAMAAAIC/AAAAwAAAgL8AAAAAAACAPwAAAMAAAIC/AAAAAAAAgD8AAADAAACAvwAAAAAAAIA/AACAvwAAAAAAAIA/AAAAQAAAgL8AAAAAAACAPwAA" +
  "AEAAAIC/AAAAAAAAgD8AAABAAACAPwAAAEAAAADAAACAvwAAgD8AAABAAAAAwAAAgL8AAIA/AAAAQAAAAMAAAIC/AAAAQAAAAMAAAIC/AAAAAAAAAEAAAADAAACAvwAA" +
  "AAAAAABAAAAAwAAAgL8AAAAAAACAvwAAAAAAAIA/AAAAQAAAgL8AAAAAAACAPwAAAEAAAIC/AAAAAAAAgD8AAABAKhoKAQQQAUIBQkoQAACgQAAAAEAAAIC/AACAwFob" +
  "CgFYEhYKFAgBEhAKAggBCgIIBgoCCAMKAggDYhsKAVkSFgoUCAESEAoCCAEKAggECgIIAgoCCAJCBAoAEBE=";

const [C, SIZE, OUT, KERNEL] = [6, 3, 4, 2] as const;
/** Small integers, so that no precision is an excuse: 0 … 10, -2 … 2 and -4 … 5. `c`, `o`: channels; the rest: places. */
const probeX = (c: number, i: number, j: number): number => ((c * 9 + i * 3 + j) * 5) % 11;
export const probeW = (o: number, c: number, i: number, j: number): number => ((o * 3 + c * 4 + i * 2 + j + (c % 3)) % 5) - 2;
export const probeB = (o: number): number => 5 - 3 * o;

/** 2^12 + 1 does not fit the 11 bits of TF32 and float16; all sums of products with it are exact in float32. */
const FINE = 4097;

/** What is to come out for `scale`·x, from the definition of Conv. */
export function probeY(scale: number): readonly number[] {
  const Y: number[] = [];
  for (let o = 0; o < OUT; o++)
    for (let i = 0; i < KERNEL; i++)
      for (let j = 0; j < KERNEL; j++) {
        let sum = probeB(o);
        for (let c = 0; c < C; c++)
          for (let p = 0; p < KERNEL; p++) for (let q = 0; q < KERNEL; q++) sum += probeW(o, c, p, q) * scale * probeX(c, i + p, j + q);
        Y.push(Math.max(0, sum));
      }
  return Y;
}

/**
 * Runs the small convolution on `runner`, first with small integers, where reduced precision is no excuse, then with numbers
 * that need all of float32.
 * @returns a sentence for the user if it computes in less than float32.
 * @throws RuntimeError RUNTIME_WRONG_NUMBERS if it computes something else.
 */
export async function probe(runner: Runner): Promise<string | undefined> {
  const session = await runner.load({ bytes: Buffer.from(PROBE_MODEL, "base64") });
  const coarse = await convolve(session, 1);
  if (!agree(coarse, probeY(1), 0)) throw wrongNumbers(runner, probeY(1), coarse);
  const fine = await convolve(session, FINE);
  await session.release();
  const wanted = probeY(FINE);
  if (agree(fine, wanted, 0)) return undefined;
  if (!agree(fine, wanted, 0.01 * Math.max(...wanted))) throw wrongNumbers(runner, wanted, fine);
  return `${label(runner.provider)} computes with less than float32 (TF32?): equality to 1e-5 may not be reached. Set NVIDIA_TF32_OVERRIDE=0.`;
}

async function convolve(session: Session, scale: number): Promise<readonly number[]> {
  const x = Array.from({ length: C * SIZE * SIZE }, (_, n) => scale * probeX(Math.floor(n / 9), Math.floor(n / 3) % 3, n % 3));
  const { Y } = await session.run({ X: Tensor.floats([1, C, SIZE, SIZE], x) });
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
