/**
 * What leaves, of pools and residual blocks together, so that the budget is met and the outputs change least: a multiple-choice knapsack over
 * measured sensitivities.
 */
import { BudgetError } from "../../errors.js";
import type { Block } from "../../graph/blocks/find.js";
import type { Judgement } from "../criterion.js";
import type { Levels, PoolState, Step } from "../moves.js";
import { Search } from "../search.js";
import type { Stage, StageRequest } from "../stage.js";
import type { Measure } from "../target.js";
import { withoutBlocks } from "../without-blocks.js";
import { Knapsack, type Option, thinned } from "./knapsack.js";
import { poolKeys, type Sensitivity } from "./sensitivity.js";

/** Times that costs are taken anew around what was found last. */
const ROUNDS = 4;
/** Choices tried within a round, each measured. */
const TRIES = 12;
/** Windows that are tried one after the other, in units of what a budget may be missed by. */
const WINDOWS: readonly number[] = [0.25, 1, 4, 16];
/** Share of what a budget may be missed by within which choices compete by loss: a dearer one is no better for it. */
const EQUAL = 0.25;

/** Which blocks are gone, and how many moves of each pool of the whole model stay (those of blocks that are gone aside). */
interface Choice {
  readonly gone: readonly number[];
  readonly keep: readonly number[];
}

/** An option of the knapsack: widths of pools, or a block that leaves with all its pools. */
interface Alternative extends Option {
  readonly widths: ReadonlyMap<number, number>;
  readonly gone: readonly number[];
}

/**
 * The stage of `whole` (the model with all its blocks) on which the budget is met, and how.
 *
 * The loss of a choice is the sum of its sensitivities. Its cost is no sum: a layer costs the product of what comes in and what goes out. So
 * costs are measured around a choice, one pool or block at a time, each against its being whole; the knapsack is solved for all amounts
 * saved; the amount is found by bisection on the measured cost of the whole choice; and the same again around what came out, until it stays.
 * Of all choices that meet the budget the one that loses least is taken, or else single steps of pools lead from the nearest to it.
 *
 * A block that leaves takes the pools inside it along: they then cost nothing and lose nothing, so that block and pools are one class.
 *
 * @param blocks residual blocks of whole.model that may leave; their sensitivities are known, and none lies in another
 * @throws BudgetError as Search.find
 */
export function allocate(
  whole: Stage,
  blocks: readonly Block[],
  sensitivity: Sensitivity,
  judgement: Pick<Judgement, "rank">,
  request: StageRequest,
  measure: Measure,
  keep: number,
): { readonly stage: Stage; readonly levels: Levels } {
  return new Allocation(whole, blocks, sensitivity, judgement, request, measure).find(keep);
}

class Allocation {
  readonly #whole: Stage;
  readonly #blocks: readonly Block[];
  readonly #sensitivity: Sensitivity;
  readonly #judgement: Pick<Judgement, "rank">;
  readonly #request: StageRequest;
  readonly #measure: Measure;
  readonly #keys: readonly string[];
  readonly #stages = new Map<string, Stage>();
  /** Pools that each block takes along. */
  readonly #inside: readonly (readonly number[])[];

  constructor(
    whole: Stage,
    blocks: readonly Block[],
    sensitivity: Sensitivity,
    judgement: Pick<Judgement, "rank">,
    request: StageRequest,
    measure: Measure,
  ) {
    this.#whole = whole;
    this.#blocks = blocks;
    this.#sensitivity = sensitivity;
    this.#judgement = judgement;
    this.#request = request;
    this.#measure = measure;
    this.#keys = poolKeys(whole.states);
    this.#inside = blocks.map((_, b) => {
      const left = new Set(poolKeys(this.#stage([b]).states));
      return this.#keys.flatMap((key, i) => (left.has(key) ? [] : [i]));
    });
  }

  find(keep: number): { readonly stage: Stage; readonly levels: Levels } {
    const untouched: Choice = { gone: [], keep: this.#whole.states.map((s) => s.scores.length) };
    if (this.#cost(untouched) <= keep || this.#isMet(untouched, keep)) return this.#result(untouched);
    let met: Choice | undefined;
    let nearest = untouched;
    const missed = (c: Choice) => Math.abs(this.#cost(c) - keep);
    for (const start of [untouched, this.#even(keep)]) {
      let around = start;
      const seen = new Set([textOf(start)]);
      for (let round = 0; round < ROUNDS; round++) {
        const tried = this.#solve(around, keep);
        for (const c of tried) {
          if (this.#isMet(c, keep) && (!met || this.#isBetter(c, met, keep))) met = c;
          if (missed(c) < missed(nearest)) nearest = c;
        }
        let next = tried.reduce<Choice | undefined>((a, b) => (!a || missed(b) < missed(a) ? b : a), undefined);
        // Two choices that lead to each other: on from between them.
        if (next && seen.has(textOf(next))) next = this.#between(around, next);
        if (!next || seen.has(textOf(next))) break;
        seen.add(textOf(next));
        around = next;
      }
    }
    return met ? this.#result(met) : this.#finish(nearest, keep);
  }

  /** The same share of every pool, as much as the budget asks for. */
  #even(keep: number): Choice {
    const at = (share: number): Choice => ({ gone: [], keep: this.#whole.states.map((s) => nearestWidth(s, share * s.scores.length)) });
    let [low, high] = [0, 1];
    for (let i = 0; i < 8; i++) {
      const middle = (low + high) / 2;
      if (this.#cost(at(middle)) <= keep) low = middle;
      else high = middle;
    }
    return at(low);
  }

  #between(a: Choice, b: Choice): Choice {
    const keep = this.#whole.states.map((s, p) => nearestWidth(s, ((a.keep[p] as number) + (b.keep[p] as number)) / 2));
    return { gone: b.gone, keep };
  }

  /** Of two choices that meet the budget: first what is within a quarter of the tolerance, then what loses less. */
  #isBetter(a: Choice, b: Choice, keep: number): boolean {
    const isNear = (c: Choice) => Math.abs(this.#cost(c) - keep) <= EQUAL * this.#whole.search.slack(keep);
    return isNear(a) === isNear(b) ? this.#loss(a) < this.#loss(b) : isNear(a);
  }

  /** No choice of the knapsack is near enough: from the nearest, single steps of pools. */
  #finish(nearest: Choice, keep: number): { readonly stage: Stage; readonly levels: Levels } {
    const tries = [nearest, { ...nearest, gone: [] }].filter((c, i, all) => i === 0 || textOf(c) !== textOf(all[0] as Choice));
    let refused: unknown;
    for (const choice of tries) {
      const stage = this.#stage(choice.gone);
      if (stage.states.length === 0) continue;
      const search = this.#search(choice, stage);
      try {
        const levels = search.near(this.#measure, keep, this.#levels(choice, stage)) ?? search.find(this.#measure, keep);
        return { stage, levels };
      } catch (error) {
        if (!(error instanceof BudgetError)) throw error;
        refused ??= error;
      }
    }
    // Blocks are coarse: where channels do not lead to the budget, more may be saved than was asked.
    if (this.#cost(nearest) < keep) return this.#result(nearest);
    throw refused ?? new BudgetError("BUDGET_NOT_MET", `The budget is not met by removing any of ${this.#blocks.length} residual blocks.`);
  }

  /** Choices of the knapsack with costs as they are around one, for amounts that close in on the budget. */
  #solve(around: Choice, keep: number): Choice[] {
    const classes = this.#classes(around);
    if (classes.length === 0) return [];
    const knapsack = new Knapsack(classes);
    const slack = this.#whole.search.slack(keep);
    let [low, high] = [0, knapsack.most];
    const tried = new Map<string, Choice>();
    for (let i = 0; i < TRIES; i++) {
      const needed = (low + high) / 2;
      const picked = WINDOWS.map((w) => knapsack.best(needed, w * slack)).find((p) => p !== undefined);
      if (!picked) {
        high = needed;
        continue;
      }
      const choice = this.#choice(picked.map((o, c) => (classes[c] as Alternative[])[o] as Alternative));
      tried.set(textOf(choice), choice);
      if (this.#cost(choice) <= keep) high = needed;
      else low = needed;
    }
    return [...tried.values()];
  }

  /** One class per block with the pools inside it, one per other pool; blocks that share a pool are one class. */
  #classes(around: Choice): Alternative[][] {
    const out: Alternative[][] = [];
    const inBlock = new Set<number>();
    for (const members of this.#clusters()) {
      const pools = [...new Set(members.flatMap((b) => this.#inside[b] as readonly number[]))];
      for (const p of pools) inBlock.add(p);
      // For each set of blocks that leave: the widths of the pools that are left, one pool after the other.
      let options: Alternative[] = [];
      for (const gone of subsets(members)) {
        const taken = new Set(gone.flatMap((b) => this.#inside[b] as readonly number[]));
        const base = {
          saved: this.#savedBy(around, gone),
          loss: gone.reduce((n, b) => n + this.#blockLoss(b), 0),
          widths: new Map<number, number>(),
          gone,
        };
        let here: Alternative[] = [base];
        for (const p of pools) if (!taken.has(p)) here = thinned(combined(here, this.#poolOptions(around, p)));
        options = options.concat(here);
      }
      out.push(options);
    }
    this.#whole.states.forEach((_, p) => {
      if (!inBlock.has(p)) out.push(thinned(this.#poolOptions(around, p)));
    });
    return out.filter((options) => options.length > 1);
  }

  /** Blocks that share pools, together. */
  #clusters(): number[][] {
    const clusters: number[][] = [];
    this.#blocks.forEach((_, b) => {
      const mine = new Set(this.#inside[b]);
      const met = clusters.filter((c) => c.some((x) => (this.#inside[x] as readonly number[]).some((p) => mine.has(p))));
      for (const c of met) clusters.splice(clusters.indexOf(c), 1);
      clusters.push([...met.flat(), b]);
    });
    return clusters;
  }

  /** What each width of a pool saves against its being whole, all else as in `around`, with the block it is in. */
  #poolOptions(around: Choice, p: number): Alternative[] {
    const { widths, scores } = this.#whole.states[p] as PoolState;
    const gone = around.gone.filter((b) => !(this.#inside[b] as readonly number[]).includes(p));
    const costAt = (keep: number) => this.#cost({ gone, keep: around.keep.map((k, i) => (i === p ? keep : k)) });
    const loss = this.#sensitivity.pools.get(this.#keys[p] as string);
    const kept = widths.map((w) => w.keep);
    const all = kept.includes(scores.length) ? kept : [scores.length, ...kept];
    const cost = interpolated(all, costAt);
    const whole = cost(scores.length);
    return all.flatMap((keep) => {
      const saved = whole - cost(keep);
      if (keep < scores.length && !(saved > 0)) return [];
      return [{ saved: Math.max(0, saved), loss: loss?.(scores.length - keep) ?? 0, widths: new Map([[p, keep]]), gone: [] }];
    });
  }

  /** What blocks save against their being whole, all else as in `around`. */
  #savedBy(around: Choice, gone: readonly number[]): number {
    if (gone.length === 0) return 0;
    const others = around.gone.filter((b) => !gone.includes(b));
    const inside = new Set(gone.flatMap((b) => this.#inside[b] as readonly number[]));
    const keep = around.keep.map((k, p) => (inside.has(p) ? this.#full(p) : k));
    return Math.max(0, this.#cost({ gone: others, keep }) - this.#cost({ gone: [...others, ...gone], keep }));
  }

  #choice(alternatives: readonly Alternative[]): Choice {
    const keep = this.#whole.states.map((s) => s.scores.length);
    for (const { widths } of alternatives) for (const [p, k] of widths) keep[p] = k;
    return { gone: alternatives.flatMap((a) => a.gone), keep };
  }

  #loss({ gone, keep }: Choice): number {
    const inside = new Set(gone.flatMap((b) => this.#inside[b] as readonly number[]));
    const pools = keep.reduce(
      (n, k, p) => n + (inside.has(p) ? 0 : (this.#sensitivity.pools.get(this.#keys[p] as string)?.(this.#full(p) - k) ?? 0)),
      0,
    );
    return pools + gone.reduce((n, b) => n + this.#blockLoss(b), 0);
  }

  #blockLoss(b: number): number {
    return Math.min(1e6, this.#sensitivity.blocks.get((this.#blocks[b] as Block).name) ?? 1e6);
  }

  #full(p: number): number {
    return (this.#whole.states[p] as PoolState).scores.length;
  }

  #cost(choice: Choice): number {
    const stage = this.#stage(choice.gone);
    return stage.search.costOf(this.#measure, this.#levels(choice, stage));
  }

  #isMet(choice: Choice, keep: number): boolean {
    return this.#stage(choice.gone).search.isMet(this.#cost(choice), keep);
  }

  #result(choice: Choice): { readonly stage: Stage; readonly levels: Levels } {
    const stage = this.#stage(choice.gone);
    return { stage, levels: this.#levels(choice, stage) };
  }

  /** The levels of a choice in the pools of a stage. */
  #levels({ keep }: Choice, stage: Stage): number[] {
    if (stage === this.#whole) return [...keep];
    const at = new Map(this.#keys.map((key, i) => [key, keep[i] as number]));
    const keys = poolKeys(stage.states);
    return stage.states.map((s, i) => at.get(keys[i] as string) ?? s.scores.length);
  }

  #stage(gone: readonly number[]): Stage {
    const sorted = [...gone].sort((a, b) => a - b);
    if (sorted.length === 0) return this.#whole;
    const key = sorted.join(",");
    const have = this.#stages.get(key);
    if (have) return have;
    const blocks = sorted.map((b) => this.#blocks[b] as Block);
    const made = withoutBlocks(this.#whole, blocks, this.#judgement, this.#request, this.#measure);
    this.#stages.set(key, made);
    return made;
  }

  /** The search of a stage with steps in the order of what they lose for what they save. */
  #search({ gone }: Choice, { model, coupling, states, settle, blocks }: Stage): Search {
    const keys = poolKeys(states);
    const around: Choice = { gone, keep: this.#whole.states.map((s) => s.scores.length) };
    const steps = states.flatMap((state, i): Step[] => {
      const p = this.#keys.indexOf(keys[i] as string);
      if (p < 0) return [];
      const options = this.#poolOptions(around, p);
      const savedAt = new Map(options.map((o) => [o.widths.get(p) as number, o]));
      let key = 0;
      return state.widths.slice(1).map(({ keep }, w) => {
        const from = (state.widths[w] as (typeof state.widths)[number]).keep;
        const [a, b] = [savedAt.get(from), savedAt.get(keep)];
        if (a && b && b.saved > a.saved) key = Math.max(key, (b.loss - a.loss) / (b.saved - a.saved));
        return { pool: state, from, keep, key, tie: w };
      });
    });
    steps.sort((a, b) => a.key - b.key || a.tie - b.tie || a.pool.index - b.pool.index || b.keep - a.keep);
    const request = { ...this.#request, original: this.#request.original ?? this.#whole.model };
    return new Search(
      model,
      coupling,
      states,
      steps,
      settle,
      request,
      this.#measure,
      blocks.length > 0 ? this.#whole.search.channels : undefined,
    );
  }
}

function nearestWidth({ widths, scores }: PoolState, keep: number): number {
  return widths.reduce((best, w) => (Math.abs(w.keep - keep) < Math.abs(best - keep) ? w.keep : best), scores.length);
}

function textOf({ gone, keep }: Choice): string {
  return `${[...gone].sort((a, b) => a - b)}|${keep}`;
}

/** All subsets of a few; of many, none, each alone, and all. */
function subsets(members: readonly number[]): number[][] {
  if (members.length > 4) return [[], ...members.map((m) => [m]), [...members]];
  return members.reduce<number[][]>((sets, m) => sets.concat(sets.map((s) => [...s, m])), [[]]);
}

function combined(a: readonly Alternative[], b: readonly Alternative[]): Alternative[] {
  return a.flatMap((x) =>
    b.map((y) => ({ saved: x.saved + y.saved, loss: x.loss + y.loss, widths: new Map([...x.widths, ...y.widths]), gone: x.gone })),
  );
}

/** Most widths at which a cost is measured where it is no straight line. */
const MOST_MEASURED = 16;

/** A cost at each of these widths: measured at both ends and in the middle; where these are not on a line, at up to 16; between them by a line. */
function interpolated(widths: readonly number[], costAt: (keep: number) => number): (keep: number) => number {
  const n = widths.length;
  const pick = (count: number) => [
    ...new Set(Array.from({ length: count }, (_, i) => widths[Math.round((i * (n - 1)) / (count - 1))] as number)),
  ];
  const measure = (keeps: readonly number[]) => keeps.map((keep) => ({ keep, cost: costAt(keep) }));
  let points = measure(pick(Math.min(3, Math.max(2, n))));
  const [a, b, c] = points;
  if (a && b && c) {
    const onLine = a.cost + ((c.cost - a.cost) * (b.keep - a.keep)) / (c.keep - a.keep);
    if (Math.abs(onLine - b.cost) > 1e-4 * Math.abs(a.cost - c.cost)) points = measure(pick(Math.min(n, MOST_MEASURED)));
  }
  return (keep) => {
    const at = points.findIndex((p) => p.keep <= keep);
    const right = points[at < 0 ? points.length - 1 : at] as (typeof points)[number];
    const left = points[Math.max(0, (at < 0 ? points.length : at) - 1)] as (typeof points)[number];
    if (right.keep === keep || left.keep === right.keep) return right.cost;
    return right.cost + ((left.cost - right.cost) * (keep - right.keep)) / (left.keep - right.keep);
  };
}
