/** remove-blocks: takes residual blocks out, by name. */
import { z } from "zod";
import type { Block, BlockOptions } from "../graph/blocks/find.js";
import { blocksNamed } from "../graph/blocks/named.js";
import { blockOracle } from "../graph/blocks/oracle.js";
import { removeBlocks } from "../graph/blocks/remove.js";
import type { Model } from "../graph/graph.js";
import { definePass } from "./pass.js";

/**
 * Where a block stood, its entry goes on alone: skip + branch(entry) becomes the entry, nodes and weights of the branch go, and so does
 * a Relu after the sum whose input then has no negative element. A block inside the branch of another goes with it.
 *
 * @throws PlanError when a name is no block of the model, or one of a block that stays.
 */
export const removeBlocksPass = definePass({
  name: "remove-blocks",
  summary: "bypass residual blocks: the skip goes on alone, and what only the branch needed goes",
  options: z.strictObject({
    blocks: z.array(z.string()).default([]).describe("the blocks, as `onnx-prune inspect` names them"),
    projections: z
      .boolean()
      .default(false)
      .describe("also take blocks whose skip is a projection, where what enters and the sum are of one type: both ways then go"),
  }),
  effect: "weights",

  run(model, { options }) {
    if (options.blocks.length === 0) return false;
    model.graph = bypassBlocks(model, options.blocks, options).model.graph;
    return true;
  },
  oracle: (before, options) => blockOracle(before, blocksNamed(before, options.blocks, options)),
});

/** A model without blocks, and what it takes to prove it. */
export interface Bypass {
  readonly blocks: readonly Block[];
  readonly before: Model;
  readonly model: Model;
  /** `before` with zeros in the place of what the branches give. Built when asked for. */
  oracle(): Model;
}

/** `model` without the blocks of these names. @throws PlanError as blocksNamed. */
export function bypassBlocks(model: Model, names: readonly string[], options: BlockOptions = {}): Bypass {
  const blocks = blocksNamed(model, names, options);
  return { blocks, before: model, model: removeBlocks(model, blocks), oracle: () => blockOracle(model, blocks) };
}
