/**
 * Zero invariance: with every parameter of the removed channels set to zero, the whole original, without any Gather,
 * computes what the pruned graph computes. It reads the groups alone, neither the slicer nor the contractions that the
 * oracle is made of.
 *
 * It holds where at each sum one operand of every removed term is zero: a weight's slice, or a channel that is zero
 * because what made it is and no op on the way moves 0. `unzeroed` tells where that is not so.
 * @see Chen et al., "OTOv2: Automatic, Generic, User-Friendly", ICLR 2023 (zero-invariant groups)
 */

import type { Axis } from "../graph/coupling/axis.js";
import type { Kept } from "../graph/coupling/choices.js";
import type { ConstantSlot, Coupling } from "../graph/coupling/groups.js";
import type { Model, Node } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { extract } from "./extract.js";
import { type Edited, editRemoved } from "./parameters.js";
import { sourceOf } from "./source.js";

/** Inputs where a zero parameter would not silence a channel but divide by zero. */
const DIVISORS: ReadonlyMap<string, readonly number[]> = new Map([
  ["Div", [1]],
  ["Pow", [1]],
  ["Mod", [1]],
  ["BatchNormalization", [4]],
  ["QuantizeLinear", [1]],
]);

/** A copy of the model in which every parameter on a removed channel is 0, but for divisors. */
export function zeroRemoved(coupling: Coupling, kept: Kept): Edited {
  const divides = (slot: ConstantSlot) =>
    slot.uses.some(({ node, index }) => node.isStandard && DIVISORS.get(node.opType)?.includes(index));
  return editRemoved(coupling, kept, (_, slot) => (divides(slot) ? undefined : 0));
}

/** Values that become outputs of one session. */
const VALUES_AT_ONCE = 32;

/** Nodes of `zeroed` (see zeroRemoved) that sum over removed terms of which no operand is zero, in a run on `feeds`. */
export async function unzeroed(runner: Runner, coupling: Coupling, kept: Kept, zeroed: Model, feeds: Feeds): Promise<Node[]> {
  const { typing } = coupling;
  const terms = typing.contractions.flatMap(({ node, slots }) => {
    const operands = slots.flatMap(({ input, axis, over }) => {
      const value = node.inputs[input];
      const removed = value && removedOn(kept, over ?? typing.axesOfInput(node, input)?.[axis]);
      return value && removed ? [{ name: value.name, axis, removed }] : [];
    });
    return operands.length > 0 ? [{ node, operands }] : [];
  });
  const found: Node[] = [];
  for (let at = 0; at < terms.length; at += VALUES_AT_ONCE) {
    const some = terms.slice(at, at + VALUES_AT_ONCE);
    const names = [...new Set(some.flatMap((t) => t.operands.map((o) => o.name)))];
    const values = await valuesOf(runner, zeroed, names, feeds);
    for (const { node, operands } of some) {
      const isSilent = operands.some((o) => isZero(values.get(o.name), o.axis, o.removed));
      if (!isSilent && !found.includes(node)) found.push(node);
    }
  }
  return found;
}

/** Positions of the axis that leave, per block of rows for a grouped weight; undefined when none does. */
function removedOn(kept: Kept, axis: Axis | undefined): readonly (readonly number[])[] | undefined {
  if (!axis) return undefined;
  const complement = (indices: readonly number[], n: number) => Array.from({ length: n }, (_, i) => i).filter((i) => !indices.includes(i));
  if (kept.isFamily(axis)) {
    const blocks = kept.familyIndices(axis);
    return blocks?.map((b) => complement(b, (axis.size as number) ?? 0));
  }
  const indices = kept.indices(axis);
  return indices ? [complement(indices, axis.size as number)] : undefined;
}

async function valuesOf(runner: Runner, model: Model, names: readonly string[], feeds: Feeds): Promise<Map<string, Tensor>> {
  const out = new Map<string, Tensor>();
  const computed: string[] = [];
  for (const name of names) {
    const v = model.graph.value(name);
    if (v?.constant) out.set(name, v.constant);
    else if (v?.isInput) out.set(name, feeds[name] as Tensor);
    else if (v) computed.push(name);
  }
  if (computed.length === 0) return out;
  const session = await runner.load(sourceOf(extract(model, { outputs: computed, keepInputs: true })), { optimization: "disabled" });
  try {
    for (const [name, t] of Object.entries(await session.run(feeds, computed))) out.set(name, t);
  } finally {
    await session.release();
  }
  return out;
}

/** Whether every element at the removed positions is 0. A NaN is not. */
function isZero(tensor: Tensor | undefined, axis: number, removed: readonly (readonly number[])[]): boolean {
  if (!tensor) return false;
  const numbers = tensor.numbers();
  const extent = tensor.dims[axis] as number;
  const inner = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const perRow = tensor.dims.slice(1).reduce((a, b) => a * b, 1);
  const per = (tensor.dims[0] as number) / removed.length;
  const gone = removed.map((r) => new Set(r));
  for (let i = 0; i < numbers.length; i++) {
    const block = removed.length === 1 ? 0 : Math.floor(Math.floor(i / perRow) / per);
    if (gone[block]?.has(Math.floor(i / inner) % extent) && numbers[i] !== 0) return false;
  }
  return true;
}
