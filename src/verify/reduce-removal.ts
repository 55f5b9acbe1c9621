/** The smallest part of a model of which a removal goes wrong, for bug reports. */
import { InternalError, OnnxPruneError, PlanError } from "../errors.js";
import { findBlocks } from "../graph/blocks/find.js";
import { removeBlocks } from "../graph/blocks/remove.js";
import { findGroups } from "../graph/coupling/groups.js";
import { isKnown } from "../graph/dim.js";
import type { Model } from "../graph/graph.js";
import { applyPlan } from "../passes/remove-filters.js";
import type { Runner } from "../runtime/runner.js";
import type { PruningPlan } from "../score/plan.js";
import { type CheckName, checkRemoval } from "./checks.js";
import { randomFeeds } from "./feeds.js";
import { type Reduced, type ReduceOptions, reduceModel } from "./reduce.js";

export interface RemovalReduction extends Reduced {
  /** The plan for the smaller model: of the groups that are left, the same channels. */
  readonly plan: PruningPlan;
}

/**
 * A small part of `model`, and the plan for it, with which removal still fails `check` or still ends in an internal error;
 * undefined when it does neither with the whole. Merges are left out of account.
 */
export async function reduceRemoval(
  runner: Runner,
  model: Model,
  plan: PruningPlan,
  check: CheckName,
  options: ReduceOptions & { readonly seed?: number } = {},
): Promise<RemovalReduction | undefined> {
  const seed = (options.seed ?? 0) + 1;
  const whole = { ...plan, merges: [] };
  const isWrong = async (candidate: Model, shapes?: ReduceOptions["inputShapes"]): Promise<boolean> => {
    try {
      const removal = applyPlan(candidate, planFor(candidate, whole));
      const feeds = [randomFeeds(candidate, seed, shapes)];
      return (await checkRemoval(runner, check, { removal, candidate: removal.result, feeds })).equality?.ok === false;
    } catch (error) {
      // A plan that fits no longer is no failure; a crash is one.
      return error instanceof InternalError || !(error instanceof OnnxPruneError);
    }
  };
  if (!(await isWrong(model, options.inputShapes))) return undefined;
  const feeds = randomFeeds(model, seed, options.inputShapes);
  const isOpen = model.graph.inputs.some((v) => v.shape?.some((d) => !isKnown(d)));
  const inputShapes = Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, t.dims]));
  const reduced = await reduceModel(model, (m) => isWrong(m), { ...options, ...(isOpen ? { inputShapes } : {}) });
  return { ...reduced, plan: planFor(reduced.model, whole) };
}

/** What a plan says of the groups that `model` has. @throws PlanError when it says nothing of any. */
function planFor(model: Model, plan: PruningPlan): PruningPlan {
  const { blocks: present } = plan.blocks.length > 0 ? findBlocks(model) : { blocks: [] };
  const blocks = present.filter((b) => plan.blocks.includes(b.name));
  const groups = new Map(findGroups(removeBlocks(model, blocks)).groups.map((g) => [g.name, g]));
  const remove = Object.entries(plan.remove).flatMap(([name, channels]) => {
    const extent = groups.get(name)?.choices.length ?? 0;
    const here = channels.filter((c) => c < extent);
    return here.length > 0 && here.length < extent ? [[name, here] as const] : [];
  });
  if (remove.length === 0) throw new PlanError("PLAN_GROUP", "The plan removes nothing from this part of the model.");
  // "": of whatever file the part is written to.
  return { ...plan, model: model.sha256 ?? "", blocks: blocks.map((b) => b.name), remove: Object.fromEntries(remove) };
}
