/** How many residual blocks leave before channels do: one threshold decides on both. */
import { BudgetError } from "../errors.js";
import { type Block, findBlocks } from "../graph/blocks/find.js";
import { removeBlocks } from "../graph/blocks/remove.js";
import { findGroups, type Group } from "../graph/coupling/groups.js";
import type { Judgement, Ranking } from "./criterion.js";
import type { Levels } from "./moves.js";
import { type Stage, type StageRequest, stageOf } from "./stage.js";
import type { Measure } from "./target.js";

/** A block, and the threshold past which it leaves. */
interface Judged {
  readonly block: Block;
  readonly threshold: number;
}

/**
 * The stage of `whole` (the model with all its blocks) on which the budget is met, and how.
 *
 * Blocks leave in the order of their thresholds. With θ rising, the blocks below it and the channels below it leave; the first number of
 * blocks is taken with which the channels below the next block's threshold suffice, and on the model without those the channels are
 * searched as ever, so that the budget is met as finely as channels allow. Where the last block alone goes past the budget, it stays and
 * more channels leave; where no channels can (a criterion of blocks only), what is reached may be less than what was asked.
 *
 * @throws BudgetError as Search.find; BUDGET_NOTHING_TO_PRUNE where there are no blocks, or fewer than the criterion decided on.
 */
export function findWithBlocks(
  whole: Stage,
  judgement: Judgement,
  request: StageRequest,
  measure: Measure,
  keep: number,
): { readonly stage: Stage; readonly levels: Levels } {
  const judged = judgedBlocks(whole, judgement, request);
  const stages = new Map<number, Stage>([[0, whole]]);
  const stageWithout = (count: number): Stage => {
    const have = stages.get(count);
    if (have) return have;
    const gone = judged.slice(0, count).map((j) => j.block);
    const made = withoutBlocks(whole, gone, judgement, request, measure);
    stages.set(count, made);
    return made;
  };
  const { exactly } = judgement;
  if (judged.length === 0 && whole.states.length === 0) throw nothing("No residual block of this model can leave.");
  if (exactly !== undefined) {
    if (exactly > judged.length) throw nothing(`${exactly} residual blocks should leave, but only ${judged.length} can.`);
    const stage = stageWithout(exactly);
    return { stage, levels: stage.search.after(0) };
  }

  const suffices = (count: number): boolean => {
    const stage = stageWithout(count);
    const next = judged[count]?.threshold ?? Number.POSITIVE_INFINITY;
    const below = stage.steps.findIndex((s) => s.key >= next);
    return stage.search.costAfter(measure, below < 0 ? stage.steps.length : below) <= keep;
  };
  let low = 0;
  let high = judged.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (suffices(middle)) high = middle;
    else low = middle + 1;
  }
  const stage = stageWithout(low);
  if (low > 0 && stage.search.costAfter(measure, 0) < keep) {
    const before = stageWithout(low - 1);
    try {
      if (before.states.length > 0) return { stage: before, levels: before.search.find(measure, keep) };
    } catch (error) {
      // Channels alone do not do it either: the block goes, and more is saved than was asked.
      if (!(error instanceof BudgetError)) throw error;
    }
  }
  return { stage, levels: stage.search.find(measure, keep) };
}

/** The blocks that may leave, first to leave first. */
function judgedBlocks({ model, coupling }: Stage, judgement: Judgement, { exclude }: StageRequest): Judged[] {
  const { blocks } = findBlocks(model, coupling.typing.types, { projections: judgement.projections ?? false });
  return blocks
    .flatMap((block): Judged[] => {
      const threshold = block.add.graph === model.graph ? judgement.block?.(block) : undefined;
      const isExcluded = exclude.includes(block.name) || block.nodes.some((n) => exclude.includes(n.label));
      return threshold === undefined || isExcluded ? [] : [{ block, threshold }];
    })
    .map((judged, i) => ({ judged, i }))
    .sort((a, b) => a.judged.threshold - b.judged.threshold || a.i - b.i)
    .map(({ judged }) => judged);
}

/** The model without `gone`; groups that are as they were keep their rankings, others stay whole. */
export function withoutBlocks(
  whole: Stage,
  gone: readonly Block[],
  judgement: Pick<Judgement, "rank">,
  request: StageRequest,
  measure: Measure,
): Stage {
  const model = removeBlocks(whole.model, gone);
  const coupling = findGroups(model);
  const before = new Map(whole.coupling.groups.map((g) => [g.name, g]));
  const rank = (group: Group): Ranking => {
    const same = before.get(group.name);
    if (same?.choices.length === group.choices.length) return whole.scores.get(same) ?? judgement.rank(same);
    return { scores: new Float64Array(group.choices.length), whole: "its channels are not those of any group of the whole model" };
  };
  const names = gone.map((b) => b.name);
  return stageOf(model, coupling, rank, { ...request, original: request.original ?? whole.model }, measure, names, whole.search.channels);
}

function nothing(why: string): BudgetError {
  return new BudgetError("BUDGET_NOTHING_TO_PRUNE", why, { hint: "`onnx-prune inspect` lists the blocks, and why others stay." });
}
