/** remove-blocks: whole residual blocks leave, first those that matter least. */
import { z } from "zod";
import { bypassOrder, measureBypass } from "../calibrate/bypass.js";
import { hasClassScores } from "../calibrate/output-change.js";
import { type Block, findBlocks } from "../graph/blocks/find.js";
import { blocksNamed } from "../graph/blocks/named.js";
import { defineCriterion, type Judgement, type ScoringContext } from "./criterion.js";
import { DominosScores, dominos, dominosOptions } from "./dominos/dominos.js";

const options = z.strictObject({
  by: z
    .enum(["auto", "kl", "cosine", "relative", "dominos"])
    .default("auto")
    .describe("change of the outputs without the block: KL of class probabilities, 1 − cosine, L2 (auto: the first that fits); or dominos"),
  greedy: z.boolean().default(true).describe("measure the others anew after each block that leaves; not for dominos"),
  count: z.int().min(0).optional().describe("so many blocks leave, whatever the budget"),
  blocks: z
    .array(z.string())
    .optional()
    .describe("these blocks leave, as `onnx-prune inspect` names them, and no others; looks at no data"),
  projections: z
    .boolean()
    .default(false)
    .describe("also blocks whose skip is a projection, where what enters and the sum are of one type: both ways then go"),
  samples: z.int().min(1).default(64).describe("samples that changes of the outputs are measured on"),
});
type Options = z.output<typeof options>;

/** By the name of a block, its place among those that leave, first to leave first. */
type Places = ReadonlyMap<string, number>;

/**
 * Scores whole blocks, and leaves channels alone. With a budget, as few leave as meet it: blocks are coarse, so what is reached may be
 * less than what was asked.
 *
 * By output change (ours): the block without which the outputs of the whole network stay nearest goes first, and the others are
 * measured anew. By dominos: the threshold at which enough filters of the block's last layer are unimportant
 * (dominos/importance.ts).
 */
export const removeBlocks = defineCriterion<Options>({
  name: "remove-blocks",
  summary: "the residual blocks they are in, which leave whole, those that change outputs least first",
  source:
    'by dominos: Chen, NTU 2020 (see there); by output change: ours, on what Veit et al. saw, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", NeurIPS 2016',
  options,
  needs: ({ blocks }) => (blocks ? ["weights"] : ["activations"]),
  comparable: true,
  decidesAmount: ({ count, blocks }) => count !== undefined || blocks !== undefined,

  statistics: ({ by, blocks }, context) => (by === "dominos" && !blocks ? (dominos.statistics?.(dominosDefaults, context) ?? []) : []),

  measure({ by, greedy, count, blocks, projections, samples: limit }, { model }) {
    if (by === "dominos" || blocks) return undefined;
    return async ({ runner, samples, signal, onProgress }): Promise<Places> => {
      const found = findBlocks(model, undefined, { projections }).blocks.filter((b) => b.add.graph === model.graph);
      const part = { ...samples, count: Math.min(limit, samples.count) };
      const metric = by === "auto" ? (hasClassScores(model) ? "kl" : "cosine") : by;
      const run = { metric, ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) };
      if (greedy) {
        const steps = await bypassOrder(runner, model, found, part, { ...run, ...(count === undefined ? {} : { count }) });
        return placesOf(steps.map((s) => s.block));
      }
      const changes = await measureBypass(runner, model, found, part, run);
      const order = [...found.keys()].sort((a, b) => (changes[a] as number) - (changes[b] as number) || a - b);
      return placesOf(order.map((i) => found[i] as Block));
    };
  },

  prepare({ by, count, blocks, projections }, context): Judgement {
    const rank: Judgement["rank"] = (group) => ({ scores: new Float64Array(group.choices.length), whole: "only whole blocks leave" });
    if (blocks) {
      const named = placesOf(blocksNamed(context.model, blocks, { projections }));
      return { rank, projections, block: ({ name }) => named.get(name), exactly: named.size };
    }
    const places = context.measured as Places;
    const block = by === "dominos" ? byDominos(context) : ({ name }: Block) => places.get(name);
    return { rank, projections, block, ...(count === undefined ? {} : { exactly: count }) };
  },
});

const dominosDefaults = dominosOptions.parse({});

function byDominos(context: ScoringContext): (block: Block) => number | undefined {
  const scores = new DominosScores(dominosDefaults, context);
  return ({ last }) => scores.blockAt(last);
}

function placesOf(order: readonly Block[]): Places {
  return new Map(order.map((b, i) => [b.name, i]));
}
