/** Criteria score channels; they never decide how many leave, never look at the budget. */
import type { z } from "zod";
import type { Samples } from "../calibrate/samples.js";
import type { StatisticRequest, Statistics } from "../calibrate/statistics/request.js";
import type { Block } from "../graph/blocks/find.js";
import type { Coupling, Group } from "../graph/coupling/groups.js";
import type { Model } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import type { Runner } from "../runtime/runner.js";

/** What a criterion may need besides weights; `weights` alone makes it data-free. */
export type Evidence = "weights" | "activations" | "gradients" | "labels";

/** Removing channel `from` adds `scale` times its outgoing weights to those of channel `into` (consumers of the group). */
export interface Merge {
  readonly from: number;
  readonly into: number;
  readonly scale: number;
}

/** What leaves of a group after all. */
export interface Refinement {
  readonly gone: readonly number[];
  /** What is lost with the channels that were to leave, and with these; on one scale for all groups. */
  readonly loss: readonly [number, number];
}

/** Scores of one group's channels. */
export interface Ranking {
  /**
   * One per channel (group.choices order), higher = keep: in [0, ∞), or any finite numbers when the criterion is `comparable`
   * (nats may be negative). NaN is a bug.
   */
  readonly scores: Float64Array;
  /**
   * Removal order, first to leave first, when the criterion decides one after the other (each step may depend on those
   * before). Absent: ascending score, ties by channel.
   */
  readonly order?: readonly number[];
  /** losses[i]: what leaving of order[i] adds to a loss that grows with the square of what is missing; of criteria that know one. */
  readonly losses?: Float64Array;
  /** merges[k]: what to do to the weights when order[k] leaves; applied in that order. */
  readonly merges?: readonly (Merge | undefined)[];
  /**
   * Looks again once it is known how many leave: which channels should leave in the place of `gone`. As many of each kind must; those of kind
   * −1 stay what they are. kinds[k] is that of channel k; `gone` is in removal order. Absent: the order stands. Not asked where there are `merges`.
   */
  refine?(gone: readonly number[], kinds: readonly number[]): Refinement;
  /** Why no channel of this group may leave by this criterion, whatever the budget; scores then count for nothing. */
  readonly whole?: string;
}

/** What a criterion makes of a model. */
export interface Judgement {
  rank(group: Group): Ranking;
  /**
   * For criteria that also judge whole residual blocks: the threshold past which the block leaves, on the scale of the channels' scores
   * (which are then comparable); undefined: it stays.
   */
  block?(block: Block): number | undefined;
  /** So many blocks leave, whatever the budget, and no channels. */
  readonly exactly?: number;
  /** Whether blocks whose skip is a projection are judged too (graph/blocks/find.ts). Default: no. */
  readonly projections?: boolean;
}

export interface ScoringContext {
  readonly model: Model;
  readonly coupling: Coupling;
  readonly seed: number;
  /** What `statistics` asked for, once it is measured. Undefined only where the criterion asks for nothing. */
  readonly statistics?: Statistics | undefined;
  /** What `measure` resolved to. */
  readonly measured?: unknown;
  note(note: Note): void;
}

/** What a criterion that runs the model itself may use. */
export interface Bench {
  readonly runner: Runner;
  /** Those of calibration. */
  readonly samples: Samples;
  /** Samples per run that the user asked for. */
  readonly batch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Work done of all that is to be done, in units of the criterion's own. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** One way to score channels. `prepare` may look at the whole model once; the result scores group by group. */
export interface Criterion<O = unknown> {
  /** As typed after --pass. */
  readonly name: string;
  /** Completes "channels are ranked by …". */
  readonly summary: string;
  /** Paper and equation, or the tradition. */
  readonly source: string;
  /** Schema of the JSON after `--pass name=`; flags, help and docs come from it. */
  readonly options: z.ZodType<O>;
  readonly needs: readonly Evidence[] | ((options: O) => readonly Evidence[]);
  /** Whether these options say by themselves how much leaves, so that no budget is asked for. Absent: never. */
  decidesAmount?(options: O): boolean;
  /** True when raw scores of different groups may be ranked together; else each group is divided by its mean score. */
  readonly comparable: boolean;
  /** True when a layer's ranking should see what left the layers before it (local scope, front to back). */
  readonly sequential?: boolean;
  /** What must be known of activations to score with these options; nothing else is measured. Absent: nothing. */
  statistics?(options: O, context: ScoringContext): readonly StatisticRequest[];
  /**
   * Runs of its own, for what no statistic says: what is returned is awaited when the statistics are in `context`, before `prepare`,
   * which finds the result in `context.measured`. Absent or undefined: none with these options.
   */
  measure?(options: O, context: ScoringContext): ((bench: Bench) => Promise<unknown>) | undefined;
  prepare(options: O, context: ScoringContext): ((group: Group) => Ranking) | Judgement;
  /** Gates that are fitted once the channels have left (src/gates). Absent: none. */
  gates?(options: O): "none" | "static" | "diagonal" | "se" | "auto";
}

/** Identity that gives the literal its option type. */
export function defineCriterion<O>(criterion: Criterion<O>): Criterion<O> {
  return criterion;
}

/** What `prepare` returned, in its long form. */
export function judgementOf(prepared: ((group: Group) => Ranking) | Judgement): Judgement {
  return typeof prepared === "function" ? { rank: prepared } : prepared;
}

/** What a criterion needs with these options, already checked. */
export function needsOf<O>({ needs }: Criterion<O>, options: O): readonly Evidence[] {
  return typeof needs === "function" ? needs(options) : needs;
}
