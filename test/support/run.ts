/** Runs models on ONNX Runtime with optimisation off, fed with the same random inputs each time. */
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { encode, joinChunks } from "../../src/graph/codec.js";
import type { Model } from "../../src/graph/graph.js";
import { randomFloats } from "./build.js";

export interface RunOptions {
  readonly seed?: number;
  /** Of symbols that `extent` does not know. */
  readonly batch?: number;
  readonly extent?: (symbol: string) => number | undefined;
  /** Scales inputs by 1 ± this much. */
  readonly jitter?: number;
}

/** Outputs of `model` by name; float inputs are standard normal, integers small and not negative; symbolic extents are `batch` (2). */
export async function run(model: Model, options: RunOptions = {}): Promise<Record<string, Float32Array>> {
  const session = await InferenceSession.create(joinChunks(encode(model)), {
    graphOptimizationLevel: "disabled",
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  const feeds: Record<string, OrtTensor> = {};
  for (const v of model.graph.inputs) {
    if (v.constant) continue;
    const shape = (v.shape ?? []).map((d) => (typeof d === "number" ? d : (options.extent?.(d) ?? options.batch ?? 2)));
    const size = shape.reduce((a, b) => a * b, 1);
    const data = randomFloats(`${options.seed ?? 0}:${v.name}`, size).map(
      (x, i) => x * (1 + (i % 2 === 0 ? 1 : -1) * (options.jitter ?? 0)),
    );
    feeds[v.name] = tensorOf(v.dtype, data, shape);
  }
  const results = await session.run(feeds);
  const out: Record<string, Float32Array> = {};
  for (const [name, t] of Object.entries(results)) out[name] = Float32Array.from(t.data as Iterable<number | bigint>, Number);
  await session.release();
  return out;
}

function tensorOf(dtype: string | undefined, data: Float32Array, shape: readonly number[]): OrtTensor {
  if (dtype === "bool") {
    const bits = Uint8Array.from(data, (x) => Number(x > 0));
    return new OrtTensor("bool", bits, shape);
  }
  if (dtype === "int64") {
    const whole = BigInt64Array.from(data, (x) => BigInt(Math.floor(Math.abs(x) * 2)));
    return new OrtTensor("int64", whole, shape);
  }
  return new OrtTensor("float32", data, shape);
}

/** The largest difference between the outputs of two runs, relative to the largest value of the first (at least 1). */
export function difference(a: Record<string, Float32Array>, b: Record<string, Float32Array>): number {
  let worst = 0;
  for (const [name, x] of Object.entries(a)) {
    const y = b[name];
    if (!y || y.length !== x.length) return Number.POSITIVE_INFINITY;
    const size = x.reduce((m, v) => Math.max(m, Math.abs(v)), 1);
    x.forEach((v, i) => {
      // NaN on one side only must not pass for equality.
      const d = Object.is(v, y[i]) ? 0 : Math.abs(v - (y[i] as number)) / size;
      worst = Number.isNaN(d) ? Number.POSITIVE_INFINITY : Math.max(worst, d);
    });
  }
  return worst;
}
