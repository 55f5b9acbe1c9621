/** A pass: one named rewrite of a model. */
import type { z } from "zod";
import type { StatisticRequest, Statistics } from "../calibrate/statistics/request.js";
import type { Cost } from "../graph/cost.js";
import type { Kept } from "../graph/coupling/choices.js";
import type { Coupling } from "../graph/coupling/groups.js";
import type { Model } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import type { Runner } from "../runtime/runner.js";
import type { Evidence } from "../score/criterion.js";
import type { Budget, Measure, Target } from "../score/target.js";

/** What a pass did to one layer or other part, by title of the column it is shown in. */
export type Figures = Readonly<Record<string, string | number>>;

/** Which channels of which values are left, told of values of the model before by name. */
export interface Slices {
  /** The model before, with its weights as they were then or edited; what `coupling` is of. */
  readonly source: Model;
  readonly coupling: Coupling;
  readonly kept: Kept;
}

/** Times of layers on the machine at hand. */
export interface Timing {
  /** Extents of the inputs of the model that they are of, by name. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** What there is to be timed in a model with inputs of such extents, as `milliseconds` takes it. */
  layers(model: Model, inputs: Readonly<Record<string, readonly number[]>>): unknown;
  /** As measured; estimated where they were not measured yet. */
  milliseconds(layers: unknown): number;
}

/** What a file should cost, and how that is measured. */
export interface Asked {
  /** Fractions of what `original` costs. Empty where the run has no budget. */
  readonly target: Target;
  readonly original: Model;
  /** Widths go to multiples of this (score/widths.ts). */
  readonly align: number | "auto";
  /** Groups and nodes left whole. */
  readonly exclude: readonly string[];
  /** Of the file made from a model; milliseconds of `latency` are predicted, and known with `timing` alone. */
  measure(model: Model, what: Exclude<Measure, "ratio">): number;
  /** Where the budget is one of time. */
  readonly timing?: Timing | undefined;
  /** Of each node of a model. */
  cost(model: Model): Cost;
}

export interface PassContext<O> {
  readonly options: O;
  /** Of all that is random. */
  readonly seed: number;
  /** What `statistics` asked for; undefined where nothing was measured. */
  readonly statistics?: Statistics | undefined;
  /** What `decide` resolved to; undefined where the pass runs without a runtime. */
  readonly decision?: unknown;
  /** What the run asks of the file that is made; undefined where the pass runs alone. */
  readonly asked?: Asked | undefined;
  /** Of a pass that meets a budget: what it reached. */
  budget(budget: Budget): void;
  /** Rows of the report's table of this step. */
  figures(rows: readonly Figures[]): void;
  /** Of a pass by which channels leave: what values are left of, so that recovery can compare them with what they were. */
  removed(slices: Slices): void;
  /** Says why something was left alone, or what a user should know. */
  note(note: Note): void;
}

/**
 * A rewrite that keeps the function of the model (cleaning), or changes it in a declared way.
 *
 * `run` gets a private copy of the model and changes it in place; tensors are immutable and shared. It returns whether
 * anything changed, truthfully: an unchanged copy is thrown away.
 */
export interface Pass<O = unknown> {
  /** As typed after --pass: a verb phrase in kebab-case. */
  readonly name: string;
  /** Completes "this pass will …". */
  readonly summary: string;
  /** Schema of the JSON after `--pass name=`. */
  readonly options: z.ZodType<O>;
  /**
   * exact: bit for bit the same function; equal: the same up to rounding (verified ≤ 1e-5); weights: edits weights and
   * changes the function on purpose (merging, recovery), a step of its own before or after removal.
   */
  readonly effect: "exact" | "equal" | "weights";
  /** Whether what it leaves of weights is to be corrected from samples (--reconstruct), as after a removal. Values keep names and extents. */
  readonly approximates?: boolean;
  /** The kinds of budget of a run that it can meet, if it goes by that. Absent or none: it does not. */
  budgets?(options: O): readonly Measure[];
  /** What it looks at with these options. Absent: weights. */
  needs?(options: O): readonly Evidence[];
  /** What must be known of activations; measured on the model the pass is given. Absent: nothing. */
  statistics?(options: O, model: Model): readonly StatisticRequest[];
  /**
   * What `run` carries out and `oracle` is told of, decided once and with a runtime at hand: `openRunner` opens it once, and
   * the pipeline closes it. `run` decides by itself where nobody
   * did. Does not change `model`.
   */
  decide?(model: Model, context: PassContext<O>, openRunner: () => Promise<Runner>): Promise<unknown>;
  /**
   * The same for a pass that meets budgets, in two goes: what it finds out about the model once, and what it then decides for each budget that
   * is tried.
   */
  decideFor?(model: Model, context: PassContext<O>): (asked: Asked) => unknown;
  run(model: Model, context: PassContext<O>): boolean;
  /**
   * What the result must equal, where the function changes on purpose and it can be said how: made from the model before by
   * other means than `run`. Every run of the pass is then checked against it.
   */
  oracle?(before: Model, options: O, decision: unknown): Model;
}

/** Identity that gives the literal its option type. */
export function definePass<O>(pass: Pass<O>): Pass<O> {
  return pass;
}
