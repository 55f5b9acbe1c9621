/** Both graphs on the same inputs, one batch after the other. */
import type { Model } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";
import type { Feeds, LoadOptions, Runner, Session } from "../runtime/runner.js";
import { withBoth } from "../runtime/source.js";
import { type LabelledSamples, slice } from "../verify/accuracy.js";
import { randomFeeds } from "../verify/feeds.js";
import { PiecewiseSession, weightBytes } from "../verify/pieces.js";

/** Inputs of one run. */
export interface Batch {
  readonly feeds: Feeds;
  /** Number of the first sample, and how many there are. */
  readonly from: number;
  readonly samples: number;
  /** Rows the graphs are fed: more than there are samples where a fixed batch is filled up with copies of the last. */
  readonly rows: number;
}

/** The extent of axis 0 that a model is exported for; undefined where it is open. */
export function fixedBatch(model: Model): number | undefined {
  const n = model.graph.inputs.find((v) => v.constant === undefined && (v.shape?.length ?? 0) > 0)?.shape?.[0];
  return typeof n === "number" ? n : undefined;
}

/** All samples in order. `fixed` is the batch a model is exported for; else `size` samples go into one run. */
export async function* dataBatches(samples: LabelledSamples, fixed: number | undefined, size: number): AsyncGenerator<Batch> {
  const step = fixed ?? size;
  for (let from = 0; from < samples.count; from += step) {
    const n = Math.min(step, samples.count - from);
    const feeds = await samples.batch(from, from + n);
    const rows = fixed ?? n;
    yield { feeds: rows === n ? feeds : slice(feeds, n, 0, rows), from, samples: n, rows };
  }
}

/** `count` random inputs that fit `model`, from `seed`. */
export async function* randomBatches(
  model: Model,
  count: number,
  seed: number,
  shapes: Readonly<Record<string, readonly number[]>> | undefined,
): AsyncGenerator<Batch> {
  let from = 0;
  for (let i = 0; i < count; i++) {
    const feeds = randomFeeds(model, seed + 1 + i, shapes);
    const rows = Object.values(feeds).find((t) => t.dims.length > 0)?.dims[0] ?? 1;
    yield { feeds, from, samples: rows, rows };
    from += rows;
  }
}

/** The part of an output that belongs to samples: without the rows of copies. */
export function sampleRows(output: Tensor, { samples, rows }: Batch): Tensor {
  if (samples === rows || output.dims[0] !== rows) return output;
  return output.take(
    0,
    Array.from({ length: samples }, (_, i) => i),
  );
}

/** Runs `work` with sessions of both graphs: whole, or piece by piece where their weights exceed `memory` bytes. */
export async function withSessions<T>(
  runner: Runner,
  models: readonly [Model, Model],
  optimization: NonNullable<LoadOptions["optimization"]>,
  memory: number,
  work: (a: Session, b: Session) => Promise<T>,
): Promise<T> {
  if (!fitInMemory(models, memory)) {
    return work(PiecewiseSession.of(runner, models[0], optimization), PiecewiseSession.of(runner, models[1], optimization));
  }
  return withBoth(runner, models, work, { optimization });
}

export function fitInMemory(models: readonly Model[], memory: number): boolean {
  return models.reduce((n, m) => n + weightBytes(m), 0) <= memory;
}
