/** Blocks by their names. */
import { PlanError } from "../../errors.js";
import { closest } from "../../suggest.js";
import type { Model } from "../graph.js";
import { type Block, type BlockOptions, findBlocks } from "./find.js";

/**
 * The blocks of these names, each once, in graph order.
 * @throws PlanError PLAN_UNKNOWN_BLOCK when there is none, with the nearest name; PLAN_BLOCK_DECLINED, with the reason, for a sum that
 *   is no block that can leave.
 */
export function blocksNamed(model: Model, names: readonly string[], options: BlockOptions = {}): Block[] {
  if (names.length === 0) return [];
  const { blocks, declined } = findBlocks(model, undefined, options);
  const known = new Set(blocks.map((b) => b.name));
  for (const name of names) {
    if (known.has(name)) continue;
    const refused = declined.find((d) => d.at === name);
    if (refused) throw new PlanError("PLAN_BLOCK_DECLINED", `The block "${name}" stays: ${refused.why}.`, { at: { node: name } });
    const near = closest(name, [...known]);
    throw new PlanError("PLAN_UNKNOWN_BLOCK", `There is no residual block "${name}" in this model; it has ${known.size}.`, {
      hint: `${near ? `Did you mean "${near}"? ` : ""}\`onnx-prune inspect\` lists the blocks.`,
    });
  }
  const asked = new Set(names);
  return blocks.filter((b) => asked.has(b.name));
}
