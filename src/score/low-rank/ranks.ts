/** Which layers become two, divided how and of which rank, so that a budget is met and little is lost. */
import { Knapsack, type Option, thinned } from "../planner/knapsack.js";
import { isAllowed } from "../widths.js";

/** One way to divide one layer, of any rank. */
export interface Way {
  /** Variance of each component, descending, and of all. */
  readonly variances: Float64Array;
  readonly total: number;
  /** What the two cost less than the layer as it is, of any unit; below 0 where they cost more. */
  saved(rank: number): number;
  /** Ranks go to multiples of this, or to at most half of it. */
  readonly block: number;
}

/** A way and a rank; without a way the layer stays whole. */
export interface Choice extends Option {
  readonly way?: number;
  readonly rank: number;
}

const WHOLE: Choice = { saved: 0, loss: 0, rank: 0 };

/**
 * What a layer may become. The loss is −log of the share of variance that is kept: over all layers it sums to that of their product, which is
 * what is left at the end where each layer hands on what it got.
 *
 * @see Zhang, Zou, He, Sun, TPAMI 2016, section 3.4 (rank selection), whose greedy search a knapsack replaces.
 */
export function choicesOf(ways: readonly Way[]): Choice[] {
  const all = ways.flatMap((way, at): Choice[] => {
    const out: Choice[] = [];
    let kept = 0;
    for (const [k, variance] of way.variances.entries()) {
      kept += variance;
      if (!isAllowed(k + 1, Number.POSITIVE_INFINITY, way.block)) continue;
      // Time is a staircase: a rank that saves nothing is no reason why a lower one should.
      const saved = way.saved(k + 1);
      if (saved > 0) out.push({ way: at, rank: k + 1, saved, loss: Math.max(0, -Math.log(Math.min(1, kept / way.total))) });
    }
    return out;
  });
  return [WHOLE, ...thinned(all)];
}

/** One choice of each layer that together save `needed` to `needed + slack`, and lose least; undefined where none do. */
export function divide(layers: readonly (readonly Choice[])[], needed: number, slack: number): readonly Choice[] | undefined {
  const found = new Knapsack(layers).best(needed, slack);
  return found?.map((i, l) => layers[l]?.[i] as Choice);
}

/** The most that all layers together can save. */
export function mostOf(layers: readonly (readonly Choice[])[]): number {
  return layers.reduce((n, choices) => n + Math.max(...choices.map((c) => c.saved)), 0);
}
