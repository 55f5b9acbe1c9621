/** One model in the search for a budget: its pools with their scores, and the steps in which channels can leave it. */
import type { Coupling, Group } from "../graph/coupling/groups.js";
import type { Model } from "../graph/graph.js";
import type { Judgement, Ranking } from "./criterion.js";
import { type PoolState, type Scope, type Step, stateOf, stepsOf } from "./moves.js";
import { type Declined, findPools, type Pool } from "./pools.js";
import { Search, type SearchRequest } from "./search.js";
import { Settling } from "./settle.js";
import type { Measure } from "./target.js";

export interface StageRequest extends SearchRequest {
  readonly comparable: boolean;
  readonly scope: Scope;
  readonly exclude: readonly string[];
}

/** A model with (some of) its residual blocks. */
export interface Stage {
  /** Blocks that are gone. */
  readonly blocks: readonly string[];
  readonly model: Model;
  readonly coupling: Coupling;
  readonly declined: readonly Declined[];
  readonly scores: ReadonlyMap<Group, Ranking>;
  readonly states: readonly PoolState[];
  readonly steps: readonly Step[];
  readonly settle: Settling;
  readonly search: Search;
}

/** `channels`: of the model as it came, which a ratio of channels refers to; default: of this one. */
export function stageOf(
  model: Model,
  coupling: Coupling,
  rank: Judgement["rank"],
  request: StageRequest,
  measure: Measure,
  blocks: readonly string[] = [],
  channels?: number,
): Stage {
  const { pools: all, declined: unpooled } = findPools(coupling);
  const declined = [...unpooled];
  const ranked = all.filter((p) => !isExcluded(p, request.exclude));
  const scores = new Map<Group, Ranking>();
  for (const p of ranked) for (const g of p.groups) if (!scores.has(g)) scores.set(g, rank(g));
  const isWhole = (p: Pool) => p.groups.some((g) => scores.get(g)?.whole !== undefined);
  const pools = ranked.filter((p) => !isWhole(p));
  for (const p of ranked.filter(isWhole)) {
    const why = p.groups.map((g) => scores.get(g)?.whole).find((w) => w !== undefined) as string;
    for (const group of p.groups) declined.push({ group, why: scores.get(group)?.whole ?? why });
  }
  const states = pools.map((pool, index) => stateOf(pool, index, scores, request));
  const steps = stepsOf(states, request.scope);
  const settle = new Settling(coupling, pools, scores, request);
  const search = new Search(model, coupling, states, steps, settle, request, measure, channels);
  return { blocks, model, coupling, declined, scores, states, steps, settle, search };
}

function isExcluded(pool: Pool, names: readonly string[]): boolean {
  return pool.groups.some((g) => names.includes(g.name) || g.nodes.some((n) => names.includes(n.label)));
}
