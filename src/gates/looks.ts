/** Which samples are looked at, and which of them judge. */
import { random } from "../graph/random.js";

/** Samples in runs, in random order: any first part of it is spread over the whole source. */
export interface Looks {
  /** Samples per run: neighbours in the source. */
  readonly size: number;
  /** The first sample of each run. */
  readonly starts: readonly number[];
  /** Runs r with r mod `period` = period − 1 judge, and no fit sees them. */
  readonly period: number;
}

/** Sample numbers, counted as they are run. */
export interface Division {
  readonly fit: readonly number[];
  readonly held: readonly number[];
}

/** Samples per run where the model leaves it free: few, so that a source sorted by class is seen in many places. */
const RUN = 4;

/**
 * At most `samples` of `count`, the share `holdOut` of them to judge; undefined where there are too few for a run that judges and
 * another that does not. `fixed`: the batch of a model that takes no other.
 */
export function looksAt(
  count: number,
  fixed: number | undefined,
  { samples, holdOut, seed }: { readonly samples: number; readonly holdOut: number; readonly seed: number },
): Looks | undefined {
  const most = Math.min(samples, count);
  const period = Math.max(2, Math.round(1 / holdOut));
  const size = fixed ?? Math.max(1, Math.min(RUN, Math.floor(most / period)));
  const runs = Math.floor(most / size);
  if (runs < period) return undefined;
  const order = Array.from({ length: runs }, (_, r) => Math.floor((r * (count - size)) / (runs - 1)));
  const uniform = random(`looks ${seed}`);
  for (let i = runs - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1));
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return { size, starts: order, period };
}

export function isHeld({ period }: Looks, run: number): boolean {
  return run % period === period - 1;
}

/** Of the first `count` samples, in the order of the runs. */
export function divisionOf(looks: Looks, count: number): Division {
  const all = Array.from({ length: count }, (_, x) => x);
  const judges = (x: number) => isHeld(looks, Math.floor(x / looks.size));
  return { fit: all.filter((x) => !judges(x)), held: all.filter(judges) };
}
