/** A second look at what leaves, once it is known how many: criteria that can may exchange channels, at the same widths and the same cost. */
import { ConfigError } from "../errors.js";
import { Kept } from "../graph/coupling/choices.js";
import type { Group } from "../graph/coupling/groups.js";
import type { Ranking } from "./criterion.js";
import { brokenBalances } from "./pools.js";
import type { Stage } from "./stage.js";
import type { Measure } from "./target.js";

/** By how much the cost may differ from what it was, as a share: sizes of a file differ by the bytes of its index lists. */
const SAME_COST = 1e-3;

export interface RefinedRemoval {
  readonly removed: ReadonlySet<number>;
  readonly reached: number;
  /** Sums over the groups that criteria looked at again; undefined where there is none. */
  readonly exchanges: { readonly channels: number; readonly loss: readonly [number, number] } | undefined;
}

/**
 * `removed`, in which groups have exchanged channels where their ranking offers it.
 *
 * Only channels of one kind change places: of one group and one cell, which have the same duties in all balances (pools.ts), and with equally
 * many positions in each weight of the group. So widths, balances and costs stay; that they do is checked, group by group, and a group of which
 * it does not hold stays as it was.
 *
 * @param reached cost of `removed`
 * @throws ConfigError CRITERION_REFINE for a criterion that gives other channels than it may.
 */
export function refine(
  { coupling, scores, states, settle, search }: Stage,
  removed: ReadonlySet<number>,
  measure: Measure,
  reached: number,
  criterion: string,
): RefinedRemoval {
  const cellOf = new Map<number, number>();
  let cells = 0;
  for (const { pool } of states) {
    for (const cell of pool.cells) {
      for (const c of cell.choices) cellOf.set(c, cells);
      cells++;
    }
  }
  const isSound = (next: ReadonlySet<number>, cost: number): boolean => {
    const kept = new Kept(coupling.typing.system, coupling.choices, next);
    return (
      settle.settle(next).size === next.size &&
      brokenBalances(coupling, kept).length === 0 &&
      Math.abs(cost - reached) <= SAME_COST * reached
    );
  };
  let [now, costNow] = [removed, reached];
  let exchanges: RefinedRemoval["exchanges"];
  for (const [group, ranking] of scores) {
    if (!ranking.refine || ranking.merges || ranking.whole !== undefined) continue;
    const gone = inOrder(group, ranking).filter((k) => now.has(group.choices[k] as number));
    if (gone.length === 0) continue;
    const kinds = kindsOf(group, cellOf);
    const { gone: instead, loss } = ranking.refine(gone, kinds);
    requireSameKinds(criterion, group, gone, instead, kinds);
    const back = gone.filter((k) => !instead.includes(k));
    let after = loss[0];
    let changed = 0;
    if (back.length > 0) {
      const next = new Set(now);
      for (const k of back) next.delete(group.choices[k] as number);
      for (const k of instead) next.add(group.choices[k] as number);
      const cost = search.reached(measure, next);
      if (isSound(next, cost)) [now, costNow, after, changed] = [next, cost, loss[1], back.length];
    }
    const sum = exchanges ?? { channels: 0, loss: [0, 0] as const };
    exchanges = { channels: sum.channels + changed, loss: [sum.loss[0] + loss[0], sum.loss[1] + after] };
  }
  return { removed: now, reached: costNow, exchanges };
}

function inOrder({ choices }: Group, { order, scores }: Ranking): readonly number[] {
  return order ?? choices.map((_, k) => k).sort((a, b) => (scores[a] as number) - (scores[b] as number) || a - b);
}

/** Numbers that are equal where channels may change places; −1 where a channel may not. */
function kindsOf({ choices, slots }: Group, cellOf: ReadonlyMap<number, number>): number[] {
  const known = new Map<string, number>();
  return choices.map((c, k) => {
    const cell = cellOf.get(c);
    if (cell === undefined) return -1;
    const key = [cell, ...slots.map((s) => s.positions(k).length)].join(",");
    const kind = known.get(key) ?? known.size;
    known.set(key, kind);
    return kind;
  });
}

/** Criteria come from users too. */
function requireSameKinds(
  criterion: string,
  group: Group,
  gone: readonly number[],
  instead: readonly number[],
  kinds: readonly number[],
): void {
  const countsOf = (channels: readonly number[]) =>
    [...new Set(channels)].map((k) => (kinds[k] === -1 ? `channel ${k}` : `kind ${kinds[k]}`)).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const [expected, came] = [countsOf(gone), countsOf(instead)];
  if (instead.length === gone.length && came.join() === expected.join()) return;
  throw new ConfigError(
    "CRITERION_REFINE",
    `Criterion "${criterion}" should let as many channels of each kind of group "${group.name}" leave as before, ${expected.join(", ")}, but ${came.join(", ") || "none"} came.`,
    { hint: "`refine(gone, kinds)` may exchange a channel only for one that stays and has the same kind; none of kind −1." },
  );
}
