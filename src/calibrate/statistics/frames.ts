/** What sums are relative to, taken from the first batch of all data: pivots where means lie far from 0, ranges of histograms. */
import { UnsupportedError } from "../../errors.js";
import type { Model, Value } from "../../graph/graph.js";
import type { Types } from "../../graph/infer.js";
import type { Runner } from "../../runtime/runner.js";
import { sourceOf } from "../../runtime/source.js";
import type { Samples } from "../samples.js";
import type { Frame, Seen } from "./accumulators.js";
import { instrument, tapped } from "./instrument.js";
import type { Reduction, Tapped } from "./reductions.js";
import type { PatchesRequest, StatisticRequest } from "./request.js";
import { seenOf } from "./seen.js";
import type { Identity } from "./summary.js";

/** A channel whose mean is more standard deviations than this from 0 is centred: else squares lose digits (mean²/σ²·6e-8 per unit). */
const FAR_FROM_ZERO = 3;

/**
 * What each request's sums are relative to: a pivot for channels far from 0, and ranges for histograms, both taken from the
 * first batch of all data, which every shard therefore runs.
 */
export async function framesOf(
  runner: Runner,
  model: Model,
  types: Types,
  requests: readonly StatisticRequest[],
  samples: Samples,
  { batch, samples: count, classes }: Identity,
  axis0: string | number,
): Promise<Map<StatisticRequest, Frame>> {
  const byTap = new Map<string, { tap: ReturnType<typeof tapped>; requests: StatisticRequest[] }>();
  for (const request of requests) {
    const key = `${request.axis} ${request.value}`;
    const entry = byTap.get(key) ?? { tap: tapped(model, types, request, axis0), requests: [] };
    byTap.set(key, entry);
    if (request.kind === "patches") requireWindow(request, entry.tap);
    entry.requests.push(request);
  }
  const taps = [...byTap.values()];
  if (taps.length === 0) return new Map();
  const plans = taps.map(({ tap, requests: mine }) => ({ tap, reductions: firstLook(mine) }));
  const { model: pilot, outputs } = instrument(model, plans);
  const session = await runner.load(sourceOf(pilot));
  const frames = new Map<StatisticRequest, Frame>();
  try {
    const n = Math.min(batch, count);
    const out = await session.run(await samples.batch(0, n));
    taps.forEach(({ tap, requests: mine }, t) => {
      const seen = seenOf(out, outputs[t] as ReadonlyMap<Reduction, string>, tap, tap.channels, 0, n, undefined);
      const pivot = pivotOf(seen, tap.channels);
      const frame = { channels: tap.channels, classes, tap: { ...tap, pivot }, nonNegative: isNonNegative(model.graph.value(tap.name)) };
      for (const request of mine)
        frames.set(request, { ...frame, first: request.kind === "histogram" ? rangeOf(seen, tap.channels) : undefined });
    });
  } finally {
    await session.release();
  }
  return frames;
}

function requireWindow({ value, axis, window }: PatchesRequest, { rank }: Tapped): void {
  if (axis === 1 && window.kernel.length === rank - 2) return;
  throw new UnsupportedError(
    "STATISTICS_WINDOW",
    `Windows of ${window.kernel.length} axes cannot slide over "${value}" of ${rank} axes with its channels on axis ${axis}.`,
    { at: { value }, hint: "Patches are of what a Conv reads: [samples, channels, …] with one spatial axis for each of the window." },
  );
}

function firstLook(requests: readonly StatisticRequest[]): Reduction[] {
  const isBinned = requests.some((r) => r.kind === "histogram");
  return ["mean", "square", ...(isBinned ? (["min", "max"] as const) : [])];
}

/** The channels' means where one is far from 0; undefined where none is, so that nothing is subtracted. */
function pivotOf(seen: Seen, C: number): Float32Array | undefined {
  const [x, xx] = [seen.row("mean"), seen.row("square")];
  const pivot = new Float32Array(C);
  for (let k = 0; k < C; k++) {
    let [mean, square] = [0, 0];
    for (let s = 0; s < seen.n; s++) {
      mean += (x[s * C + k] as number) / seen.n;
      square += (xx[s * C + k] as number) / seen.n;
    }
    const deviation = Math.sqrt(Math.max(0, square - mean * mean));
    if (Number.isFinite(mean) && Math.abs(mean) > FAR_FROM_ZERO * deviation) pivot[k] = mean;
  }
  return pivot.some((p) => p !== 0) ? pivot : undefined;
}

function rangeOf(seen: Seen, C: number): { min: Float64Array; max: Float64Array } {
  const least = seen.row("min");
  const greatest = seen.row("max");
  const over = (row: Float64Array, pick: (...x: number[]) => number) =>
    Float64Array.from({ length: C }, (_, k) => pick(...Array.from({ length: seen.n }, (_, s) => row[s * C + k] as number)));
  return { min: over(least, Math.min), max: over(greatest, Math.max) };
}

/** Values of operators that give nothing below 0, as they are or pooled. */
function isNonNegative(value: Value | undefined): boolean {
  let producer = value?.producer;
  while (producer?.isStandard && ["MaxPool", "AveragePool", "Flatten", "Reshape", "Transpose", "Identity"].includes(producer.opType)) {
    producer = producer.inputs[0]?.producer;
  }
  return producer?.isStandard === true && ["Relu", "Sigmoid", "Softmax", "Abs", "HardSigmoid", "Softplus"].includes(producer.opType);
}
