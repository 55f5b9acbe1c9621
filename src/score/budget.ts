/** From scores and a target to a plan: which moves of which pools, until the emitted file costs what was asked. */
import type { Statistics } from "../calibrate/statistics/request.js";
import { BudgetError, ConfigError } from "../errors.js";
import { type Block, findBlocks } from "../graph/blocks/find.js";
import { type Coupling, findGroups, type Group } from "../graph/coupling/groups.js";
import type { Model } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import { closest } from "../suggest.js";
import { type Criterion, judgementOf, type Ranking } from "./criterion.js";
import { giveBack } from "./give-back.js";
import type { Scope } from "./moves.js";
import { pick, pickInSequence } from "./pick.js";
import type { PruningPlan } from "./plan.js";
import { allocate } from "./planner/allocate.js";
import type { Sensitivity } from "./planner/sensitivity.js";
import type { Declined } from "./pools.js";
import { refine } from "./refine.js";
import { type Stage, stageOf } from "./stage.js";
import { type Budget, type Measure, measureOf, type Target } from "./target.js";
import { findWithBlocks } from "./without-blocks.js";

export interface PlanRequest {
  readonly criterion: Criterion;
  /** Of the model, where it is at hand. */
  readonly coupling?: Coupling;
  /** Options of the criterion, already checked against its schema. */
  readonly options: unknown;
  readonly target: Target;
  readonly scope: Scope;
  /** What scope "sensitivity" divides by (planner/sensitivity.ts). */
  readonly sensitivity?: Sensitivity | undefined;
  /** Widths go to multiples of this, or to at most half of it; "auto" suits ONNX Runtime's kernels (widths.ts). */
  readonly align: number | "auto";
  readonly seed: number;
  /** What the criterion asked to be measured (Criterion.statistics). */
  readonly statistics?: Statistics | undefined;
  /** What its own runs gave (Criterion.measure). */
  readonly measured?: unknown;
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
  /** What was asked and what the plan reaches, both as the fraction kept; undefined where the criterion decided the amount. */
  readonly budget?: Budget;
  readonly scores: ReadonlyMap<Group, Ranking>;
}

/**
 * A plan for `model`.
 *
 * @throws ConfigError EXCLUDE_UNKNOWN for a name to leave whole that nothing has.
 * @throws ConfigError CRITERION_SCORES for a criterion that does not give each channel a number; CRITERION_REFINE for one that lets other
 *   channels leave than it may.
 * @throws BudgetError (exit 3) when the target cannot be met within 1 % (3 % with aligned widths), saying what can.
 */
export function makePlan(model: Model, request: PlanRequest): PlanResult {
  const { criterion } = request;
  const { judgement, whole, stageRequest, measure, keep } = beginning(model, request);
  // By sensitivity blocks leave whatever the criterion makes of them; where it decides the amount itself, there is nothing to divide.
  const bySensitivity = judgement.exactly === undefined ? request.sensitivity : undefined;
  // Shares of every layer are no threshold: blocks leave by global scope only.
  const judgesBlocks = judgement.block !== undefined && (request.scope !== "local" || judgement.exactly !== undefined);
  const blocks = bySensitivity ? removableBlocks(whole, stageRequest.exclude).filter((b) => bySensitivity.blocks.has(b.name)) : [];
  if (whole.states.length === 0 && !judgesBlocks && blocks.length === 0) {
    throw new BudgetError("BUDGET_NOTHING_TO_PRUNE", "No channel of this model can be removed.", {
      hint: "`onnx-prune inspect --why <node>` tells why each axis is frozen.",
    });
  }
  const { stage, levels: found } = bySensitivity
    ? allocate(whole, blocks, bySensitivity, judgement, stageRequest, measure, keep)
    : judgesBlocks
      ? findWithBlocks(whole, judgement, stageRequest, measure, keep)
      : { stage: whole, levels: whole.search.find(measure, keep) };
  const { states, scores, settle, search } = stage;
  const levels = measure === "latency" ? giveBack(states, found, (l) => search.costOf(measure, l), keep) : found;
  const sequential = criterion.sequential === true && request.scope === "local";
  const picked = sequential ? pickInSequence(stage.model, states, levels, request) : pick(states, levels, scores);
  const settled = settle.settle(picked.removed);
  const cost = search.reached(measure, settled);
  const { removed, reached, exchanges } = sequential
    ? { removed: settled, reached: cost, exchanges: undefined }
    : refine(stage, settled, measure, cost, criterion.name);
  if (removed.size > 0) search.confirm(measure, keep, reached);
  const plan: PruningPlan = {
    format: 1,
    model: model.sha256 ?? "",
    blocks: [...stage.blocks],
    remove: byGroup(stage.coupling, removed),
    untied: [],
    merges: picked.merges.filter((m) => removed.has(stage.coupling.groups.find((g) => g.name === m.group)?.choices[m.from] ?? -1)),
    why: {
      criterion: criterion.name,
      options: request.options,
      ...(judgement.exactly === undefined ? { target: { [measure]: keep } } : {}),
      scope: request.scope,
      ...(bySensitivity ? { sensitivity: measuredOf(bySensitivity) } : {}),
      ...(exchanges ? { exchanges } : {}),
      align: request.align,
      seed: request.seed,
    },
  };
  return {
    plan,
    coupling: stage.coupling,
    declined: stage.declined,
    scores,
    ...(judgement.exactly === undefined ? { budget: { measure, asked: keep, reached } } : {}),
  };
}

/** What a plan starts from: the criterion's judgement and the stage of the whole model. */
function beginning(model: Model, request: PlanRequest) {
  const { criterion } = request;
  const coupling = request.coupling ?? findGroups(model);
  requireExcludable(request, coupling, model);
  const judgement = judgementOf(
    criterion.prepare(request.options, {
      model,
      coupling,
      seed: request.seed,
      statistics: request.statistics,
      measured: request.measured,
      note: (n) => request.note(n),
    }),
  );
  const { measure, keep } = judgement.exactly === undefined ? measureOf(request.target) : { measure: "macs" as const, keep: 1 };
  const rank = (group: Group) => requireScores(criterion, group, judgement.rank(group));
  const stageRequest = { ...request, comparable: criterion.comparable, exclude: request.exclude ?? [] };
  const whole = stageOf(model, coupling, rank, stageRequest, measure);
  return { judgement, whole, stageRequest, measure, keep };
}

/** What scope "sensitivity" measures before a plan can be made: the pools of the model, in the criterion's order, and the blocks that may leave. */
export function toMeasure(model: Model, request: PlanRequest): { readonly whole: Stage; readonly blocks: readonly Block[] } {
  const { whole, stageRequest } = beginning(model, request);
  return { whole, blocks: removableBlocks(whole, stageRequest.exclude) };
}

/** Residual blocks with an identity skip, of the main graph, none inside another. */
function removableBlocks({ model, coupling }: Stage, exclude: readonly string[]): Block[] {
  return findBlocks(model, coupling.typing.types).blocks.filter(
    (b) =>
      b.add.graph === model.graph && b.within === undefined && !exclude.includes(b.name) && !b.nodes.some((n) => exclude.includes(n.label)),
  );
}

/** What a plan by sensitivity rests on: [moves gone, change of the outputs] of each pool, and the change without each block. */
function measuredOf({ metric, correct, levels, blocks }: Sensitivity) {
  const pools = [...levels].map(([key, of]) => [key, of.map(({ gone, change }) => [gone, change])]);
  return { metric, correct, levels: Object.fromEntries(pools), blocks: Object.fromEntries(blocks) };
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

function byGroup(coupling: Coupling, removed: ReadonlySet<number>): Record<string, number[]> {
  const out: Record<string, number[]> = {};
  for (const g of coupling.groups) {
    const gone = g.choices.flatMap((c, k) => (removed.has(c) ? [k] : []));
    if (gone.length > 0) out[g.name] = gone;
  }
  return out;
}
