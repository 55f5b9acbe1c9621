/** Takes the residual blocks of a plan out, and says what the rest must equal. */
import type { Block, BlockOptions } from "../graph/blocks/find.js";
import { blocksNamed } from "../graph/blocks/named.js";
import { blockOracle } from "../graph/blocks/oracle.js";
import { removeBlocks } from "../graph/blocks/remove.js";
import type { Model } from "../graph/graph.js";

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
