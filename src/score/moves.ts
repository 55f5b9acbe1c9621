/** Moves: the order in which the channels of each pool leave, the widths a pool may take, and all steps between them in one row. */
import type { Group } from "../graph/coupling/groups.js";
import type { Ranking } from "./criterion.js";
import { type Pool, takenOf } from "./pools.js";
import { type Width, widthsOf } from "./widths.js";

/**
 * How what leaves is divided among layers. local: the same share of each; global: one threshold over all scores; sensitivity: so that the outputs
 * change least, by what was measured of each layer and residual block (planner/).
 */
export const SCOPES = ["global", "local", "sensitivity"] as const;
export type Scope = (typeof SCOPES)[number];

/** One step of one pool to its next allowed width. */
export interface Step {
  readonly pool: PoolState;
  /** Moves kept after the step. */
  readonly keep: number;
  readonly from: number;
  /** When it happens: smaller first. */
  readonly key: number;
  readonly tie: number;
}

export interface PoolState {
  readonly pool: Pool;
  readonly index: number;
  /** Per cell: its choices, first to leave first. */
  readonly order: readonly (readonly number[])[];
  /** Mean normalised score of the choices each move takes, in order. */
  readonly scores: readonly number[];
  readonly widths: readonly Width[];
}

/** Moves kept per pool, by pool index. */
export type Levels = readonly number[];

export interface StateOptions {
  /** Whether scores of different groups may be compared as they are (Criterion.comparable). */
  readonly comparable: boolean;
  readonly align: number | "auto";
}

/** Scores as they may stand beside those of other groups: as they are where that is what they mean, else over the group's mean. */
export function acrossGroups({ scores }: Ranking, comparable: boolean): Float64Array {
  if (comparable) return scores;
  const mean = scores.reduce((a, b) => a + b, 0) / scores.length || 1;
  return scores.map((s) => s / mean);
}

export function stateOf(pool: Pool, index: number, scores: ReadonlyMap<Group, Ranking>, options: StateOptions): PoolState {
  const value = new Map<number, number>();
  const place = new Map<number, number>();
  for (const g of pool.groups) {
    const r = scores.get(g) as Ranking;
    const worth = acrossGroups(r, options.comparable);
    g.choices.forEach((c, k) => {
      value.set(c, worth[k] as number);
    });
    r.order?.forEach((k, at) => {
      place.set(g.choices[k] as number, at);
    });
  }
  const order = pool.cells.map((cell) =>
    [...cell.choices].sort((a, b) => {
      const p = place.get(a);
      const q = place.get(b);
      if (p !== undefined && q !== undefined) return p - q;
      return (value.get(a) as number) - (value.get(b) as number) || a - b;
    }),
  );
  const { moves } = pool;
  const perMove = Array.from({ length: moves }, (_, m) => {
    const taken = pool.cells.flatMap((cell, i) => (order[i] as readonly number[]).slice(takenOf(cell, m), takenOf(cell, m + 1)));
    return taken.reduce((s, c) => s + (value.get(c) as number), 0) / Math.max(1, taken.length);
  });
  return { pool, index, order, scores: perMove, widths: widthsOf(pool, moves, options.align) };
}

/** All steps of all pools in the order they are taken. */
export function stepsOf(states: readonly PoolState[], scope: Scope): Step[] {
  const steps: Step[] = [];
  for (const s of states) {
    const n = s.scores.length;
    let highest = Number.NEGATIVE_INFINITY;
    for (let w = 0; w + 1 < s.widths.length; w++) {
      const from = (s.widths[w] as Width).keep;
      const keep = (s.widths[w + 1] as Width).keep;
      const taken = s.scores.slice(n - from, n - keep);
      const mean = taken.reduce((a, b) => a + b, 0) / taken.length;
      highest = Math.max(highest, mean);
      steps.push({ pool: s, from, keep, key: scope === "local" ? 1 - (from + keep) / 2 / n : highest, tie: mean });
    }
  }
  return steps.sort((a, b) => a.key - b.key || a.tie - b.tie || a.pool.index - b.pool.index || b.keep - a.keep);
}

/** Choices of a pool that leave when `keep` moves stay. */
export function leaving(s: PoolState, keep: number): number[] {
  const gone = s.scores.length - keep;
  return s.pool.cells.flatMap((cell, i) => (s.order[i] as readonly number[]).slice(0, takenOf(cell, gone)));
}
