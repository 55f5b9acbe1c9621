/**
 * A second oracle, for the first one's blind spot. The Gather oracle trusts an op's word that it sums over an axis: an op
 * that averages or normalises there, and says it sums, would make both it and the slicer wrong in the same way. Here one
 * operand of each sum keeps its extents, and the removed positions are multiplied by 0: what a sum drops, a mean does not.
 */
import { Copies, cloneModel } from "../graph/clone.js";
import type { Axis } from "../graph/coupling/axis.js";
import type { Kept } from "../graph/coupling/choices.js";
import type { Slot } from "../graph/coupling/context.js";
import type { Typing } from "../graph/coupling/couple.js";
import { keptMask } from "../graph/coupling/oracle.js";
import { isKnown } from "../graph/dim.js";
import type { Graph, Model, Node, Value } from "../graph/graph.js";
import { Tensor } from "../graph/tensor.js";

/** The operand whose terms are set to zero. */
export type Operand = "first" | "last";

/**
 * The model of `typing` with the terms that `kept` drops set to zero at every sum: in its first operand, or, with
 * `operand` "last", in its last. Undefined where an operand has no numeric extents or holds no numbers to multiply.
 */
export function maskedOf(typing: Typing, kept: Kept, operand: Operand = "first"): Model | undefined {
  const copies = new Copies();
  const next = cloneModel(typing.model, copies);
  for (const { node, slots } of typing.contractions) {
    const slot = (operand === "first" ? slots[0] : slots.at(-1)) as Slot;
    const mask = maskOf(typing, kept, node, slot);
    if (mask === "unknown") return undefined;
    if (mask) multiply(copies.node(node), slot.input, mask);
  }
  return next;
}

/** 0 and 1 per position of the slot's axis, in each row it depends on; undefined when nothing is dropped. */
function maskOf(typing: Typing, kept: Kept, node: Node, { input, axis }: Slot): Tensor | undefined | "unknown" {
  const value = node.inputs[input] as Value;
  const type = typing.types.type(value);
  const axes = typing.axesOfInput(node, input);
  if (!axes || type?.kind !== "tensor" || !isKnown((axes[axis] as Axis).size)) return "unknown";
  const mask = keptMask(typing.system, kept, axes, axis);
  return mask && Tensor.fromNumbers(type.dtype, mask.dims, mask.kept);
}

function multiply(node: Node, input: number, mask: Tensor): void {
  const graph = node.graph as Graph;
  const value = node.inputs[input] as Value;
  const by = graph.addInitializer(`${value.name}_mask`, mask);
  const masked = graph.insertNode("Mul", [value, by], { before: node, outputs: [`${value.name}_masked`] });
  node.setInput(input, masked.outputs[0]);
}
