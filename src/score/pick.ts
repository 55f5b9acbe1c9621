/** Which channels leave, once it is decided how many of each pool: from the scores at hand, or layer by layer. */
import { Kept } from "../graph/coupling/choices.js";
import { findGroups, type Group } from "../graph/coupling/groups.js";
import { removeSlices } from "../graph/coupling/slice.js";
import type { Model } from "../graph/graph.js";
import type { PlanRequest } from "./budget.js";
import { judgementOf, type Ranking } from "./criterion.js";
import { applyMerges } from "./merge.js";
import { type Levels, leaving, type PoolState, stateOf } from "./moves.js";
import type { PlannedMerge } from "./plan.js";

export interface Picked {
  readonly removed: ReadonlySet<number>;
  readonly merges: readonly PlannedMerge[];
}

export function pick(states: readonly PoolState[], levels: Levels, scores: ReadonlyMap<Group, Ranking>): Picked {
  const removed = new Set(states.flatMap((s) => leaving(s, levels[s.index] as number)));
  const merges = [...scores].flatMap(([group, ranking]) => mergesOf(group, ranking, removed));
  return { removed, merges };
}

export function mergesOf(group: Group, ranking: Ranking, removed: ReadonlySet<number>): PlannedMerge[] {
  return (ranking.order ?? []).flatMap((k, at) => {
    const merge = ranking.merges?.[at];
    return merge && removed.has(group.choices[k] as number) ? [{ group: group.name, ...merge }] : [];
  });
}

/**
 * Front to back, each layer ranked on the model as the layers before it left it: merged, and without their channels.
 * Widths are those of `levels`; only which channels leave is decided anew.
 */
export function pickInSequence(model: Model, states: readonly PoolState[], levels: Levels, request: PlanRequest): Picked {
  const removed = new Set<number>();
  const merges: PlannedMerge[] = [];
  let working = model;
  for (const s of states) {
    if (levels[s.index] === s.scores.length) continue;
    const coupling = findGroups(working);
    const context = {
      model: working,
      coupling,
      seed: request.seed,
      statistics: request.statistics,
      measured: request.measured,
      note: () => undefined,
    };
    const { rank } = judgementOf(request.criterion.prepare(request.options, context));
    const twins = s.pool.groups.map((g) => coupling.groups.find((t) => t.name === g.name && t.choices.length === g.choices.length));
    const ranked = new Map<Group, Ranking>();
    s.pool.groups.forEach((g, i) => {
      const twin = twins[i];
      ranked.set(g, twin ? rank(twin) : { scores: Float64Array.from(g.choices, (_, k) => k) });
    });
    const again = stateOf(s.pool, s.index, ranked, { comparable: request.criterion.comparable, align: request.align });
    const gone = new Set(leaving(again, levels[s.index] as number));
    for (const c of gone) removed.add(c);
    const mine = s.pool.groups.flatMap((g) => mergesOf(g, ranked.get(g) as Ranking, gone));
    merges.push(...mine);
    const local = new Set(
      s.pool.groups.flatMap((g, i) => g.choices.flatMap((c, k) => (gone.has(c) && twins[i] ? [twins[i].choices[k] as number] : []))),
    );
    const merged = mine.length > 0 ? applyMerges(working, mine, coupling) : working;
    const next = merged === working ? coupling : findGroups(merged);
    working = removeSlices(next.typing, new Kept(next.typing.system, next.choices, local));
  }
  return { removed, merges };
}
