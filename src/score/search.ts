/** The search for a budget: how many steps of which pools, until the file that comes out costs what was asked. */
import { BudgetError } from "../errors.js";
import { Kept } from "../graph/coupling/choices.js";
import type { Coupling } from "../graph/coupling/groups.js";
import { removeSlices } from "../graph/coupling/slice.js";
import type { Model } from "../graph/graph.js";
import { type Levels, leaving, type PoolState, type Step } from "./moves.js";
import { takenOf } from "./pools.js";
import type { Settling } from "./settle.js";
import { LATENCY_TOLERANCE, type Measure } from "./target.js";

/** Relative error allowed on a budget: widths that must be multiples are coarser. */
const TOLERANCE = { exact: 0.01, aligned: 0.03, latency: LATENCY_TOLERANCE } as const;

/** Costs measured before a search for a closer combination is given up: milliseconds each. */
const LONGEST_SEARCH = 500;

/** What of a plan request the search reads (see PlanRequest). */
export interface SearchRequest {
  readonly align: number | "auto";
  readonly original?: Model;
  readonly measure: (model: Model, what: Exclude<Measure, "ratio">) => number;
}

export class Search {
  readonly #coupling: Coupling;
  readonly #states: readonly PoolState[];
  readonly #steps: readonly Step[];
  readonly #settling: Settling;
  readonly #request: SearchRequest;
  readonly #whole: number;
  readonly #known = new Map<string, number>();
  readonly #tolerance: number;
  readonly #rounding: number;
  readonly #base: number;

  constructor(
    model: Model,
    coupling: Coupling,
    states: readonly PoolState[],
    steps: readonly Step[],
    settling: Settling,
    request: SearchRequest,
    measure: Measure,
    channels?: number,
  ) {
    this.#settling = settling;
    this.#coupling = coupling;
    this.#states = states;
    this.#steps = steps;
    this.#request = request;
    this.#whole = measure === "ratio" ? 1 : request.measure(request.original ?? model, measure);
    const widths = states.some((s) => s.widths.some((w) => w.isAligned)) ? TOLERANCE.aligned : TOLERANCE.exact;
    this.#tolerance = measure === "latency" ? TOLERANCE.latency : widths;
    this.#base = channels ?? this.channels;
    // A share of channels is rounded to whole ones: half a channel (of the least move there is) either way is met.
    const least = Math.min(...states.map((s) => s.pool.cells.reduce((n, c) => n + takenOf(c, 1), 0)));
    this.#rounding = measure === "ratio" ? least / 2 / this.#base + 1e-9 : 0;
  }

  /** The share of channels a removal keeps, or of the cost of the file it makes. */
  reached(measure: Measure, removed: ReadonlySet<number>): number {
    if (measure === "ratio") return (this.channels - removed.size) / this.#base;
    const kept = new Kept(this.#coupling.typing.system, this.#coupling.choices, removed);
    return this.#request.measure(removeSlices(this.#coupling.typing, kept), measure) / this.#whole;
  }

  /** Channels that could leave, were there no least width. */
  get channels(): number {
    return this.#states.reduce((n, s) => n + s.order.reduce((m, o) => m + o.length, 0), 0);
  }

  /** The share that remains after the first `count` steps. */
  costAfter(measure: Measure, count: number): number {
    return this.costOf(measure, this.after(count));
  }

  /**
   * Bisection over the number of steps taken, on the measured cost; then single steps of other pools to come closer. Under a budget of time
   * the result takes that time at most, and may take less.
   */
  find(measure: Measure, keep: number): Levels {
    let low = 0;
    let high = this.#steps.length;
    // Passes before this one may have met the budget already.
    const whole = this.costOf(measure, this.after(0));
    if (whole <= keep || this.isMet(whole, keep)) return this.after(0);
    const least = this.costOf(measure, this.after(high));
    if (least > keep && !this.isMet(least, keep)) throw this.#unreachable(measure, keep, least);
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.costOf(measure, this.after(middle)) <= keep) high = middle;
      else low = middle + 1;
    }
    const below = this.after(low);
    // What was taken too much comes back afterwards, wherever it fits (give-back.ts).
    if (measure === "latency") return below;
    const above = low > 0 ? this.after(low - 1) : below;
    const costBelow = this.costOf(measure, below);
    const costAbove = this.costOf(measure, above);
    const [near, cost] = Math.abs(costBelow - keep) <= Math.abs(costAbove - keep) ? [below, costBelow] : [above, costAbove];
    if (this.isMet(cost, keep)) return near;
    return (
      this.#stepDown(measure, keep, [...above], low) ??
      this.#stepUp(measure, keep, [...below], low) ??
      this.#trade(measure, keep, above, low) ??
      this.#fail(measure, keep)
    );
  }

  /** The same from levels found by other means: single steps, those that come first first, bring them to the budget; undefined where none do. */
  near(measure: Measure, keep: number, levels: Levels): Levels | undefined {
    const cost = this.costOf(measure, levels);
    if (this.isMet(cost, keep)) return levels;
    if (cost < keep) return this.#stepUp(measure, keep, [...levels], this.#steps.length);
    return this.#stepDown(measure, keep, [...levels], 0);
  }

  /** From just above the target: steps of other pools, in order, that do not overshoot. */
  #stepDown(measure: Measure, keep: number, levels: number[], from: number): Levels | undefined {
    for (const step of this.#steps.slice(from)) {
      if (levels[step.pool.index] !== step.from) continue;
      levels[step.pool.index] = step.keep;
      const cost = this.costOf(measure, levels);
      if (this.isMet(cost, keep)) return levels;
      if (cost < keep) levels[step.pool.index] = step.from;
    }
    return undefined;
  }

  /** From just below: the last steps of other pools are taken back while that does not overshoot. */
  #stepUp(measure: Measure, keep: number, levels: number[], from: number): Levels | undefined {
    for (const step of this.#steps.slice(0, from).reverse()) {
      if (levels[step.pool.index] !== step.keep) continue;
      levels[step.pool.index] = step.from;
      const cost = this.costOf(measure, levels);
      if (this.isMet(cost, keep)) return levels;
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

  /** A layer by layer choice can settle on other channels than the search did. Less time than asked is no failure. @throws BudgetError */
  confirm(measure: Measure, keep: number, reached: number): void {
    this.#known.set("chosen", reached);
    if (measure === "latency" && reached <= keep) return;
    if (!this.isMet(reached, keep)) this.#fail(measure, keep);
  }

  /** Whether a cost is within tolerance of what is asked. */
  isMet(cost: number, keep: number): boolean {
    return Math.abs(cost - keep) <= this.slack(keep);
  }

  /** By how much a cost may miss what is asked. */
  slack(keep: number): number {
    return Math.max(keep * this.#tolerance, this.#rounding);
  }

  /** Moves kept of each pool after the first `count` steps. */
  after(count: number): number[] {
    const levels = this.#states.map((s) => s.scores.length);
    for (const step of this.#steps.slice(0, count)) levels[step.pool.index] = step.keep;
    return levels;
  }

  /** The share of the cost that remains with these levels, of the file that comes out. */
  costOf(measure: Measure, levels: Levels): number {
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
