/** remove-filters: carries out a pruning plan. */
import { z } from "zod";
import type { Kept } from "../graph/coupling/choices.js";
import { type Coupling, findGroups } from "../graph/coupling/groups.js";
import { oracleOf } from "../graph/coupling/oracle.js";
import { removeSlices } from "../graph/coupling/slice.js";
import type { Model } from "../graph/graph.js";
import { applyMerges } from "../score/merge.js";
import { type PruningPlan, planSchema, requireSameModel, resolvePlan } from "../score/plan.js";
import { type Bypass, bypassBlocks } from "./bypass-blocks.js";
import { definePass } from "./pass.js";
import { type Prepared, prepare } from "./prepare.js";
import { retie } from "./untie.js";

/** A removal, and what it takes to prove it. */
export interface Removal {
  /** The input as the plan sees it (prepare.ts). */
  readonly prepared: Prepared;
  /** The residual blocks that left first; undefined where the plan names none. */
  readonly bypass: Bypass | undefined;
  /** The model whose function removal must keep: the prepared input, without the plan's blocks, after its weight edits (merges). */
  readonly source: Model;
  readonly coupling: Coupling;
  readonly kept: Kept;
  readonly result: Model;
  /** The exact oracle: `source` with a Gather of what is kept before each sum. Built when asked for. */
  oracle(): Model;
}

/**
 * Applies `plan` to `model`, prepared as plans are made on: first without its blocks, then its merges, on the whole graph, then the removal.
 * @throws PlanError when the plan does not fit the model (see resolvePlan, blocksNamed).
 */
export function applyPlan(model: Model, plan: PruningPlan): Removal {
  // First: merges of another model's plan would fail on its channels, which tells the user less.
  requireSameModel(plan, model.sha256);
  const prepared = prepare(model, plan.untied);
  const bypass = plan.blocks.length > 0 ? bypassBlocks(prepared.model, plan.blocks, { projections: true }) : undefined;
  const whole = bypass?.model ?? prepared.model;
  const before = findGroups(whole);
  const source = plan.merges.length > 0 ? applyMerges(whole, plan.merges, before) : whole;
  const coupling = source === whole ? before : findGroups(source);
  const kept = resolvePlan(plan, coupling, model.sha256);
  const result = removeSlices(coupling.typing, kept);
  if (plan.untied.length > 0) retie(result);
  return { prepared, bypass, source, coupling, kept, result, oracle: () => oracleOf(coupling.typing, kept) };
}

/** The deed alone: no scores, no decision. */
export const removeFilters = definePass({
  name: "remove-filters",
  summary: "remove the channels a plan names, with everything coupled to them",
  options: z.strictObject({
    plan: planSchema.describe("a pruning plan (the JSON that `onnx-prune plan` writes), or on the command line its path"),
  }),
  effect: "weights",
  run(model, { options }) {
    const { result } = applyPlan(model, options.plan);
    model.graph = result.graph;
    model.functions.splice(0, model.functions.length, ...result.functions);
    for (const [domain, version] of result.opsets) model.opsets.set(domain, version);
    return Object.keys(options.plan.remove).length > 0 || options.plan.blocks.length > 0;
  },
});
