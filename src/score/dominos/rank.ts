/** The order in which the channels of one group leave, uniqueness looked at anew after each. */
import type { Gram } from "../../calibrate/statistics/request.js";
import type { Merge, Ranking } from "../criterion.js";
import { importance } from "./importance.js";
import { Nearest, type Uniqueness, type UniquenessKind, uniqueness } from "./representativeness.js";

/** One layer that makes channels of the group. */
export interface Producer {
  readonly gram: Gram;
  /** Positions of each channel among those of the Gram matrix; empty where the layer does not make it. */
  readonly cells: readonly (readonly number[])[];
  /** D/mean D of each position; NaN where it is not known: then uniqueness alone decides, as for an average filter. */
  readonly influence: Float64Array;
}

/** Channels at least so much alike are twins: what one leaves behind can be read from the other. */
const TWINS = 0.95;

/**
 * Lowest V first, V the mean over the layers that make a channel; a channel's score is V when it leaves, never less than that of
 * one before it. Among equals the one with less influence leaves first, then the first.
 *
 * @param merge twins' outgoing weights are handed on: with the coefficient of the least-squares fit F_k ≈ s·F_j.
 */
export function rankChannels(
  producers: readonly Producer[],
  { kind, alpha, merge }: { readonly kind: UniquenessKind; readonly alpha: number; readonly merge: boolean },
): Ranking {
  const count = producers[0]?.cells.length ?? 0;
  const made = producers.map(({ gram, cells, influence }) => {
    const unique = uniqueness(kind, covarianceOf(gram, cells), count);
    const relative = Float64Array.from(cells, (at) => meanKnown(at.map((p) => influence[p] as number)));
    return { unique, relative };
  });
  const mean = (k: number, of: (m: { unique: Uniqueness; relative: Float64Array }) => number) => {
    let [sum, times] = [0, 0];
    for (const m of made) {
      // NaN: this layer does not make channel k.
      if (Number.isNaN(m.relative[k])) continue;
      sum += of(m);
      times++;
    }
    return times > 0 ? sum / times : 1;
  };
  const influence = Float64Array.from({ length: count }, (_, k) => mean(k, (m) => m.relative[k] as number));
  const value = (k: number) => mean(k, (m) => importance(m.unique.values[k] as number, m.relative[k] as number, alpha));

  const scores = new Float64Array(count);
  const order: number[] = [];
  const merges: (Merge | undefined)[] = [];
  const left = new Set(Array.from({ length: count }, (_, k) => k));
  let highest = 0;
  while (left.size > 0) {
    let next = -1;
    let least = Number.POSITIVE_INFINITY;
    for (const k of left) {
      const v = value(k);
      if (v < least || (v === least && (influence[k] as number) < (influence[next] as number))) [next, least] = [k, v];
    }
    highest = Math.max(highest, least);
    scores[next] = highest;
    order.push(next);
    const [only, more] = made;
    merges.push(merge && !more && only?.unique instanceof Nearest ? mergeOf(next, only.unique, producers[0] as Producer) : undefined);
    left.delete(next);
    for (const m of made) m.unique.remove(next);
  }
  return { scores, order, ...(merge ? { merges } : {}) };
}

/** NaN for a channel that is not made here, 1 for one of which nothing is known. */
function meanKnown(influence: readonly number[]): number {
  if (influence.length === 0) return Number.NaN;
  const known = influence.filter((d) => !Number.isNaN(d));
  return known.length === 0 ? 1 : known.reduce((a, b) => a + b, 0) / known.length;
}

/** Covariances of channels that have several positions each: of their maps put end to end. Channels of different lengths have none. */
function covarianceOf({ covariance, mean }: Gram, cells: readonly (readonly number[])[]): Float64Array {
  const [n, count] = [mean.length, cells.length];
  if (n === count && cells.every((at, k) => at.length === 1 && at[0] === k)) return covariance;
  const out = new Float64Array(count * count);
  cells.forEach((a, k) => {
    cells.forEach((b, j) => {
      if (a.length !== b.length) return;
      out[k * count + j] = a.reduce((s, p, i) => s + (covariance[p * n + (b[i] as number)] as number), 0);
    });
  });
  return out;
}

/** Of F_k = s·F_j + rest, with the mean counted, since no bias takes up what is left of it. */
function mergeOf(from: number, nearest: Nearest, { gram, cells }: Producer): Merge | undefined {
  const { channel: into, correlation } = nearest.nearestOf(from);
  if (into < 0 || correlation < TWINS) return undefined;
  const [a, b] = [cells[from] as readonly number[], cells[into] as readonly number[]];
  const { mean, covariance } = gram;
  const product = (p: readonly number[], q: readonly number[]) =>
    p.reduce((s, i, at) => {
      const j = q[at] as number;
      return s + (covariance[i * mean.length + j] as number) + (mean[i] as number) * (mean[j] as number);
    }, 0);
  return { from, into, scale: product(a, b) / product(b, b) };
}
