/** Giving back: under a budget of time, channels whose removal buys none are not removed. */
import type { Levels, PoolState } from "./moves.js";
import { takenOf } from "./pools.js";
import { LATENCY_TOLERANCE } from "./target.js";

/**
 * What a widening may add, as a share of the original's time, to count as nothing: times of single layers are right within some percent, and
 * a layer is some percent of a model.
 */
const NOTHING = 0.001;
/** What all that counts as nothing may add up to, as a share of the time asked for. */
const NOTHING_IN_ALL = 0.01;
/** Blocks of kernels: time rises in steps of one of these, and often falls at their multiples (docs/widths.md). */
const BLOCKS = [4, 8, 16, 32] as const;
/** Pools that are asked for a step. Where there are many, their steps are fine enough. */
const MOST_TRADES = 30;

/** A pool, and a wider width of it. */
interface Widening {
  readonly state: PoolState;
  readonly keep: number;
  /** Score of the least channel that comes back. */
  readonly worth: number;
  readonly isFree: boolean;
}

/**
 * `start`, widened until no pool can keep more within `keep`: first wherever that takes no more time, whatever is left of the budget, then
 * the channels with the highest scores. So what is left of a step that was too coarse goes to the best channels, too.
 *
 * Where the steps of single pools are so coarse that this ends more than 5 % below `keep`, one pool gives up a step, the least in score that
 * lets the others come nearer than that.
 *
 * @param timeAt predicted time of levels, as a share of the original's
 */
export function giveBack(states: readonly PoolState[], start: Levels, timeAt: (levels: Levels) => number, keep: number): Levels {
  const widest = widened(states, start, timeAt, keep);
  const isNear = (levels: Levels) => timeAt(levels) >= keep * (1 - LATENCY_TOLERANCE);
  if (isNear(widest)) return widest;
  for (const { state, keep: to } of narrower(states, widest).slice(0, MOST_TRADES)) {
    const others = states.filter((s) => s !== state);
    const traded = widened(others, withLevel(widest, state, to), timeAt, keep);
    if (isNear(traded)) return traded;
  }
  return widest;
}

/**
 * The time of a width is no smooth function of it: 53 channels may take longer than 52 and longer than 64 do. So the next width and the next
 * multiples of the blocks are all tried.
 */
function widened(states: readonly PoolState[], start: Levels, timeAt: (levels: Levels) => number, keep: number): Levels {
  let levels = start;
  let time = timeAt(levels);
  const limit = Math.max(keep, time);
  const isFree = (t: number) => t - time <= NOTHING && t <= limit * (1 + NOTHING_IN_ALL);
  const offersOf = (state: PoolState): Widening[] => {
    const level = levels[state.index] as number;
    return wider(state, level).flatMap((to) => {
      const t = timeAt(withLevel(levels, state, to));
      if (t > limit && !isFree(t)) return [];
      return [{ state, keep: to, worth: leastBetween(state, level, to), isFree: isFree(t) }];
    });
  };
  // What one pool gets may change what others cost: all are asked again until none gets anything.
  for (let changed = true; changed; ) {
    changed = false;
    const offers = states.flatMap(offersOf).sort(inOrder);
    for (let offer = offers.shift(); offer; offer = offers.shift()) {
      const { state, keep: to } = offer;
      const next = withLevel(levels, state, to);
      const t = timeAt(next);
      if (t > limit && !isFree(t)) continue;
      levels = next;
      time = t;
      changed = true;
      const others = offers.filter((o) => o.state !== state);
      offers.splice(0, offers.length, ...[...others, ...offersOf(state)].sort(inOrder));
    }
  }
  return levels;
}

/** What is free, then the highest scores. */
function inOrder(a: Widening, b: Widening): number {
  return Number(b.isFree) - Number(a.isFree) || b.worth - a.worth || a.state.index - b.state.index || a.keep - b.keep;
}

/** The next allowed width, and the next at which each cell keeps a multiple of a block. */
function wider({ pool, widths }: PoolState, level: number): number[] {
  const above = widths.filter((w) => w.keep > level).sort((a, b) => a.keep - b.keep);
  const isMultiple = (keep: number, block: number) =>
    pool.cells.every((c) => (c.choices.length - takenOf(c, pool.moves - keep)) % block === 0);
  const next = above[0]?.keep;
  const multiples = BLOCKS.map((block) => above.find((w) => isMultiple(w.keep, block))?.keep);
  return [...new Set([next, ...multiples])].filter((keep) => keep !== undefined);
}

/** The next step of each pool, the least in score first. */
function narrower(states: readonly PoolState[], levels: Levels): { readonly state: PoolState; readonly keep: number }[] {
  return states
    .flatMap((state) => {
      const level = levels[state.index] as number;
      const keep = state.widths.find((w) => w.keep < level)?.keep;
      return keep === undefined ? [] : [{ state, keep, worth: leastBetween(state, keep, level) }];
    })
    .sort((a, b) => a.worth - b.worth || a.state.index - b.state.index);
}

function withLevel(levels: Levels, { index }: PoolState, keep: number): Levels {
  return levels.map((l, i) => (i === index ? keep : l));
}

/** The least score of what a pool keeps at level `to` and not at `from`. */
function leastBetween({ scores }: PoolState, from: number, to: number): number {
  return Math.min(...scores.slice(scores.length - to, scores.length - from));
}
