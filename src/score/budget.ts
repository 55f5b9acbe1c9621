/** From scores and a target to a plan: which moves of which pools, until the emitted file costs what was asked. */
import { BudgetError, ConfigError } from "../errors.js";
import { Kept } from "../graph/coupling/choices.js";
import { type Coupling, findGroups, type Group } from "../graph/coupling/groups.js";
import { removeSlices } from "../graph/coupling/slice.js";
import type { Model } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import { closest } from "../suggest.js";
import type { Criterion, Ranking } from "./criterion.js";
import { applyMerges } from "./merge.js";
import type { PlannedMerge, PruningPlan } from "./plan.js";
import { type Declined, findPools, type Pool } from "./pools.js";
import { Settling } from "./settle.js";
import { type Measure, measureOf, type Target } from "./target.js";
import { type Width, widthsOf } from "./widths.js";

export interface PlanRequest {
  readonly criterion: Criterion;
  /** Options of the criterion, already checked against its schema. */
  readonly options: unknown;
  readonly target: Target;
  /** local: the same share of every layer; global: one threshold over all. */
  readonly scope: "local" | "global";
  /** Widths go to multiples of this (widths below it stay free); "auto" suits ONNX Runtime's kernels (widths.ts). */
  readonly align: number | "auto";
  readonly seed: number;
  /** Group names or node names left whole. */
  readonly exclude?: readonly string[];
  /** The model that fractions of cost refer to, where other passes ran before; default: the model itself. */
  readonly original?: Model;
  /** What the file made from a model costs, for macs, params and bytes. */
  readonly measure: (model: Model, what: Exclude<Measure, "ratio">) => number;
  note(note: Note): void;
}

export interface PlanResult {
  readonly plan: PruningPlan;
  readonly coupling: Coupling;
  readonly declined: readonly Declined[];
  /** What was asked and what the plan reaches, both as the fraction kept. */
  readonly budget: { readonly measure: Measure; readonly asked: number; readonly reached: number };
  readonly scores: ReadonlyMap<Group, Ranking>;
}

/** Relative error allowed on a budget: widths that must be multiples are coarser. */
const TOLERANCE = { exact: 0.01, aligned: 0.03 } as const;

/** One step of one pool to its next allowed width. */
interface Step {
  readonly pool: PoolState;
  /** Moves kept after the step. */
  readonly keep: number;
  readonly from: number;
  /** When it happens: smaller first. */
  readonly key: number;
  readonly tie: number;
}

interface PoolState {
  readonly pool: Pool;
  readonly index: number;
  /** Per cell: its choices, first to leave first. */
  readonly order: readonly (readonly number[])[];
  /** Mean normalised score of the choices each move takes, in order. */
  readonly scores: readonly number[];
  readonly widths: readonly Width[];
}

/**
 * A plan for `model`.
 *
 * @throws ConfigError EXCLUDE_UNKNOWN for a name to leave whole that nothing has.
 * @throws ConfigError CRITERION_SCORES for a criterion that does not give each channel a number.
 * @throws BudgetError (exit 3) when the target cannot be met within 1 % (3 % with aligned widths), saying what can.
 */
export function makePlan(model: Model, request: PlanRequest): PlanResult {
  const { measure, keep } = measureOf(request.target);
  const coupling = findGroups(model);
  const { pools: all, declined } = findPools(coupling);
  requireExcludable(request, coupling, model);
  const pools = all.filter((p) => !isExcluded(p, request.exclude ?? []));
  const rank = request.criterion.prepare(request.options, { model, coupling, seed: request.seed, note: (n) => request.note(n) });
  const scores = new Map<Group, Ranking>();
  for (const p of pools) for (const g of p.groups) if (!scores.has(g)) scores.set(g, requireScores(request.criterion, g, rank(g)));
  const states = pools.map((pool, index) => stateOf(pool, index, scores, request));
  if (states.length === 0) {
    throw new BudgetError("BUDGET_NOTHING_TO_PRUNE", "No channel of this model can be removed.", {
      hint: "`onnx-prune inspect --why <node>` tells why each axis is frozen.",
    });
  }
  const steps = stepsOf(states, request.scope);
  const settle = new Settling(coupling, pools, scores, request.align);
  const search = new Search(model, coupling, states, steps, settle, request, measure);
  const levels = search.find(measure, keep);
  const sequential = request.criterion.sequential === true && request.scope === "local";
  const picked = sequential ? pickInSequence(model, states, levels, request) : pick(states, levels, scores);
  const removed = settle.settle(picked.removed);
  const reached = search.reached(measure, removed);
  if (removed.size > 0) search.confirm(measure, keep, reached);
  const plan: PruningPlan = {
    format: 1,
    model: model.sha256 ?? "",
    remove: byGroup(coupling, removed),
    merges: picked.merges.filter((m) => removed.has(coupling.groups.find((g) => g.name === m.group)?.choices[m.from] ?? -1)),
    why: {
      criterion: request.criterion.name,
      options: request.options,
      target: { [measure]: keep },
      scope: request.scope,
      align: request.align,
      seed: request.seed,
    },
  };
  return { plan, coupling, declined, scores, budget: { measure, asked: keep, reached } };
}

/** Criteria come from users too: NaN would be neither more nor less than any other score, and what leaves would be chance. */
function requireScores(criterion: Criterion, group: Group, ranking: Ranking): Ranking {
  const scores: unknown = (ranking as Partial<Ranking> | undefined)?.scores;
  const expected = group.choices.length;
  const got = !(scores instanceof Float64Array)
    ? "none came"
    : scores.length !== expected
      ? `${scores.length} came`
      : scores.some((s) => Number.isNaN(s))
        ? `that of channel ${scores.findIndex((s) => Number.isNaN(s))} is NaN`
        : undefined;
  if (got === undefined) return ranking;
  throw new ConfigError(
    "CRITERION_SCORES",
    `Criterion "${criterion.name}" should give { scores: Float64Array } with ${expected} numbers for group "${group.name}", but ${got}.`,
    { hint: "One score per channel, in the order of group.choices; the higher, the longer it is kept. Weights that are NaN give NaN." },
  );
}

/** A misspelt name must not be pruned in silence. Passes that ran before may have taken away what the user's own file has. */
function requireExcludable({ exclude = [], original }: PlanRequest, coupling: Coupling, model: Model): void {
  const namesOf = (c: Coupling, m: Model) => [...c.groups.map((g) => g.name), ...m.graph.nodes.map((n) => n.label)];
  const known = namesOf(coupling, model);
  let unknown = exclude.find((name) => !known.includes(name));
  if (unknown !== undefined && original && original !== model) {
    known.push(...namesOf(findGroups(original), original));
    unknown = exclude.find((name) => !known.includes(name));
  }
  if (unknown === undefined) return;
  const near = closest(unknown, known);
  throw new ConfigError("EXCLUDE_UNKNOWN", `The model has no group or node called "${unknown}" to leave whole.`, {
    hint: `${near ? `Did you mean "${near}"? ` : ""}\`onnx-prune inspect\` lists the groups.`,
  });
}

function isExcluded(pool: Pool, names: readonly string[]): boolean {
  return pool.groups.some((g) => names.includes(g.name) || g.nodes.some((n) => names.includes(n.label)));
}

function stateOf(pool: Pool, index: number, scores: ReadonlyMap<Group, Ranking>, request: PlanRequest): PoolState {
  const value = new Map<number, number>();
  const place = new Map<number, number>();
  for (const g of pool.groups) {
    const r = scores.get(g) as Ranking;
    const mean = request.criterion.comparable ? 1 : r.scores.reduce((a, b) => a + b, 0) / r.scores.length || 1;
    g.choices.forEach((c, k) => {
      value.set(c, (r.scores[k] as number) / mean);
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
  const moves = pool.cells.length === 1 && pool.cells[0]?.step === 1 ? pool.cells[0].choices.length : pool.moves;
  const perMove = Array.from({ length: moves }, (_, m) => {
    const taken = pool.cells.flatMap((cell, i) => (order[i] as readonly number[]).slice(m * cell.step, (m + 1) * cell.step));
    return taken.reduce((s, c) => s + (value.get(c) as number), 0) / Math.max(1, taken.length);
  });
  return { pool, index, order, scores: perMove, widths: widthsOf(pool, moves, request.align) };
}

/** All steps of all pools in the order they are taken. */
function stepsOf(states: readonly PoolState[], scope: "local" | "global"): Step[] {
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
      steps.push({ pool: s, from, keep, key: scope === "global" ? highest : 1 - (from + keep) / 2 / n, tie: mean });
    }
  }
  return steps.sort((a, b) => a.key - b.key || a.tie - b.tie || a.pool.index - b.pool.index || b.keep - a.keep);
}

/** Costs measured before a search for a closer combination is given up: milliseconds each. */
const LONGEST_SEARCH = 500;

/** Moves kept per pool, by pool index. */
type Levels = readonly number[];

class Search {
  readonly #coupling: Coupling;
  readonly #states: readonly PoolState[];
  readonly #steps: readonly Step[];
  readonly #settling: Settling;
  readonly #request: PlanRequest;
  readonly #whole: number;
  readonly #known = new Map<string, number>();
  readonly #tolerance: number;
  readonly #rounding: number;

  constructor(
    model: Model,
    coupling: Coupling,
    states: readonly PoolState[],
    steps: readonly Step[],
    settling: Settling,
    request: PlanRequest,
    measure: Measure,
  ) {
    this.#settling = settling;
    this.#coupling = coupling;
    this.#states = states;
    this.#steps = steps;
    this.#request = request;
    this.#whole = measure === "ratio" ? 1 : request.measure(request.original ?? model, measure);
    this.#tolerance = states.some((s) => s.widths.some((w) => w.isAligned)) ? TOLERANCE.aligned : TOLERANCE.exact;
    // A share of channels is rounded to whole ones: half a channel (of the least move there is) either way is met.
    const least = Math.min(...states.map((s) => s.pool.cells.reduce((n, c) => n + c.step, 0)));
    this.#rounding = measure === "ratio" ? least / 2 / this.#channels() + 1e-9 : 0;
  }

  /** The share of channels a removal keeps, or of the cost of the file it makes. */
  reached(measure: Measure, removed: ReadonlySet<number>): number {
    if (measure === "ratio") return 1 - removed.size / this.#channels();
    const kept = new Kept(this.#coupling.typing.system, this.#coupling.choices, removed);
    return this.#request.measure(removeSlices(this.#coupling.typing, kept), measure) / this.#whole;
  }

  #channels(): number {
    return this.#states.reduce((n, s) => n + s.order.reduce((m, o) => m + o.length, 0), 0);
  }

  /** Bisection over the number of steps taken, on the measured cost; then single steps of other pools to come closer. */
  find(measure: Measure, keep: number): Levels {
    let low = 0;
    let high = this.#steps.length;
    // Passes before this one may have met the budget already.
    const whole = this.#cost(measure, this.#after(0));
    if (whole <= keep || this.#isMet(whole, keep)) return this.#after(0);
    const least = this.#cost(measure, this.#after(high));
    if (least > keep && !this.#isMet(least, keep)) throw this.#unreachable(measure, keep, least);
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#cost(measure, this.#after(middle)) <= keep) high = middle;
      else low = middle + 1;
    }
    const below = this.#after(low);
    const above = low > 0 ? this.#after(low - 1) : below;
    const costBelow = this.#cost(measure, below);
    const costAbove = this.#cost(measure, above);
    const [near, cost] = Math.abs(costBelow - keep) <= Math.abs(costAbove - keep) ? [below, costBelow] : [above, costAbove];
    if (this.#isMet(cost, keep)) return near;
    return (
      this.#stepDown(measure, keep, [...above], low) ??
      this.#stepUp(measure, keep, [...below], low) ??
      this.#trade(measure, keep, above, low) ??
      this.#fail(measure, keep)
    );
  }

  /** From just above the target: steps of other pools, in order, that do not overshoot. */
  #stepDown(measure: Measure, keep: number, levels: number[], from: number): Levels | undefined {
    for (const step of this.#steps.slice(from)) {
      if (levels[step.pool.index] !== step.from) continue;
      levels[step.pool.index] = step.keep;
      const cost = this.#cost(measure, levels);
      if (this.#isMet(cost, keep)) return levels;
      if (cost < keep) levels[step.pool.index] = step.from;
    }
    return undefined;
  }

  /** From just below: the last steps of other pools are taken back while that does not overshoot. */
  #stepUp(measure: Measure, keep: number, levels: number[], from: number): Levels | undefined {
    for (const step of this.#steps.slice(0, from).reverse()) {
      if (levels[step.pool.index] !== step.keep) continue;
      levels[step.pool.index] = step.from;
      const cost = this.#cost(measure, levels);
      if (this.#isMet(cost, keep)) return levels;
      if (cost > keep) levels[step.pool.index] = step.keep;
    }
    return undefined;
  }

  /** One layer against another: a late step is taken back, and the way down is tried again. */
  #trade(measure: Measure, keep: number, start: Levels, from: number): Levels | undefined {
    for (const step of this.#steps.slice(0, from).reverse()) {
      if (this.#known.size > LONGEST_SEARCH) return undefined;
      if (start[step.pool.index] !== step.keep) continue;
      const levels = [...start];
      levels[step.pool.index] = step.from;
      const found = this.#stepDown(measure, keep, levels, from);
      if (found) return found;
    }
    return undefined;
  }

  /** A layer by layer choice can settle on other channels than the search did. @throws BudgetError */
  confirm(measure: Measure, keep: number, reached: number): void {
    this.#known.set("chosen", reached);
    if (!this.#isMet(reached, keep)) this.#fail(measure, keep);
  }

  #isMet(cost: number, keep: number): boolean {
    return Math.abs(cost - keep) <= Math.max(keep * this.#tolerance, this.#rounding);
  }

  #after(count: number): number[] {
    const levels = this.#states.map((s) => s.scores.length);
    for (const step of this.#steps.slice(0, count)) levels[step.pool.index] = step.keep;
    return levels;
  }

  #cost(measure: Measure, levels: Levels): number {
    const key = levels.join(",");
    let c = this.#known.get(key);
    if (c === undefined) {
      const removed = new Set(this.#states.flatMap((s) => leaving(s, levels[s.index] as number)));
      c = this.reached(measure, this.#settling.settle(removed));
      this.#known.set(key, c);
    }
    return c;
  }

  #unreachable(measure: Measure, keep: number, least: number): BudgetError {
    return new BudgetError(
      "BUDGET_UNREACHABLE",
      `--${measure} ${keep} asks for ${percent(keep)} of the original, but with every layer at its least ${percent(least)} remain.`,
      {
        hint: `Ask for --${measure} ${(Math.ceil(least * 100) / 100).toFixed(2)} or more${this.#request.align === 1 ? "" : ", or allow any width with --align 1"}. \`onnx-prune inspect\` tells what is frozen and why.`,
      },
    );
  }

  #fail(measure: Measure, keep: number): never {
    const costs = [...this.#known.values()].sort((a, b) => a - b);
    const near = [costs.findLast((c) => c <= keep), costs.find((c) => c > keep)].filter((c) => c !== undefined);
    throw new BudgetError(
      "BUDGET_NOT_MET",
      `--${measure} ${keep} cannot be met within ${percent(this.#tolerance)}: the nearest found are ${near.map(percent).join(" and ")} of the original.`,
      { hint: `Ask for one of these${this.#request.align === 1 ? "" : ", or allow any width with --align 1"}.` },
    );
  }
}

const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;

/** Choices of a pool that leave when `keep` moves stay. */
function leaving(s: PoolState, keep: number): number[] {
  const gone = s.scores.length - keep;
  return s.pool.cells.flatMap((cell, i) => (s.order[i] as readonly number[]).slice(0, gone * cell.step));
}

interface Picked {
  readonly removed: ReadonlySet<number>;
  readonly merges: readonly PlannedMerge[];
}

function pick(states: readonly PoolState[], levels: Levels, scores: ReadonlyMap<Group, Ranking>): Picked {
  const removed = new Set(states.flatMap((s) => leaving(s, levels[s.index] as number)));
  const merges = [...scores].flatMap(([group, ranking]) => mergesOf(group, ranking, removed));
  return { removed, merges };
}

function mergesOf(group: Group, ranking: Ranking, removed: ReadonlySet<number>): PlannedMerge[] {
  return (ranking.order ?? []).flatMap((k, at) => {
    const merge = ranking.merges?.[at];
    return merge && removed.has(group.choices[k] as number) ? [{ group: group.name, ...merge }] : [];
  });
}

/**
 * Front to back, each layer ranked on the model as the layers before it left it: merged, and without their channels.
 * Widths are those of `levels`; only which channels leave is decided anew.
 */
function pickInSequence(model: Model, states: readonly PoolState[], levels: Levels, request: PlanRequest): Picked {
  const removed = new Set<number>();
  const merges: PlannedMerge[] = [];
  let working = model;
  for (const s of states) {
    if (levels[s.index] === s.scores.length) continue;
    const coupling = findGroups(working);
    const rank = request.criterion.prepare(request.options, { model: working, coupling, seed: request.seed, note: () => undefined });
    const twins = s.pool.groups.map((g) => coupling.groups.find((t) => t.name === g.name && t.choices.length === g.choices.length));
    const ranked = new Map<Group, Ranking>();
    s.pool.groups.forEach((g, i) => {
      const twin = twins[i];
      ranked.set(g, twin ? rank(twin) : { scores: Float64Array.from(g.choices, (_, k) => k) });
    });
    const again = stateOf(s.pool, s.index, ranked, request);
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

function byGroup(coupling: Coupling, removed: ReadonlySet<number>): Record<string, number[]> {
  const out: Record<string, number[]> = {};
  for (const g of coupling.groups) {
    const gone = g.choices.flatMap((c, k) => (removed.has(c) ? [k] : []));
    if (gone.length > 0) out[g.name] = gone;
  }
  return out;
}
