/** Calibration samples in batches, of which every fifth is held out: it judges and never fits. */
import type { Samples } from "../calibrate/samples.js";
import { viewOf } from "../calibrate/views.js";
import type { Model } from "../graph/graph.js";
import type { Feeds } from "../runtime/runner.js";

/** One batch in so many is held out. */
const HELD_OUT = 5;
const MOST_PER_BATCH = 32;

export interface Batches {
  readonly count: number;
  /** Samples that fit, and samples that judge. */
  readonly fitting: number;
  readonly heldOut: number;
  isHeldOut(batch: number): boolean;
  /** Samples in a batch. */
  size(batch: number): number;
  /** `view`: as that view of its samples shows it (calibrate/views.ts); default 0, the samples themselves. */
  feeds(batch: number, view?: number): Promise<Feeds>;
}

/** Batches, some of which come again in other views. */
export interface ViewedBatches extends Batches {
  view(batch: number): number;
}

/**
 * `samples` in batches of at most 32, or of the batch `model` was exported for (a last batch that is not full is left out). Of fewer
 * than two batches none is held out. `seed` of their views.
 */
export function batchesOf(model: Model, samples: Samples, seed = 0): Batches {
  const declared = model.graph.inputs.find((v) => !v.constant && !v.initializer)?.shape?.[0];
  const fixed = typeof declared === "number" && declared > 0 ? declared : undefined;
  const size = fixed ?? Math.max(1, Math.min(MOST_PER_BATCH, Math.floor(samples.count / HELD_OUT)));
  const count = fixed ? Math.floor(samples.count / size) : Math.ceil(samples.count / size);
  const sizeOf = (b: number) => Math.min(size, samples.count - b * size);
  const isHeldOut = (b: number) => count > 1 && (count < HELD_OUT ? b === count - 1 : b % HELD_OUT === HELD_OUT >> 1);
  let held = 0;
  let all = 0;
  for (let b = 0; b < count; b++) {
    all += sizeOf(b);
    if (isHeldOut(b)) held += sizeOf(b);
  }
  return {
    count,
    fitting: all - held,
    heldOut: held,
    isHeldOut,
    size: sizeOf,
    feeds: (b, view = 0) => viewOf(samples, view, seed).batch(b * size, b * size + sizeOf(b)),
  };
}

/** `batches`, and those that fit once more in each of `views` − 1 other views. Those that judge are what they are: no view of them fits. */
export function inViews(batches: Batches, views: number): ViewedBatches {
  const all = Array.from({ length: views }, (_, view) => Array.from({ length: batches.count }, (_, batch) => ({ view, batch })))
    .flat()
    .filter(({ view, batch }) => view === 0 || !batches.isHeldOut(batch));
  const at = (n: number) => all[n] as (typeof all)[number];
  return {
    count: all.length,
    fitting: batches.fitting * views,
    heldOut: batches.heldOut,
    isHeldOut: (n) => batches.isHeldOut(at(n).batch),
    size: (n) => batches.size(at(n).batch),
    feeds: (n) => batches.feeds(at(n).batch, at(n).view),
    view: (n) => at(n).view,
  };
}
