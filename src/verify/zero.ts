/**
 * Zero invariance: with every parameter of the removed channels set to zero, the whole original, without any Gather,
 * computes what the pruned graph computes. It reads the groups alone, neither the slicer nor the contractions that the
 * oracle is made of.
 *
 * It holds where at each sum one operand of every removed term is zero: a weight's slice, or a channel that is zero
 * because what made it is and no op on the way moves 0. `unzeroed` tells where that is not so.
 * @see Chen et al., "OTOv2: Automatic, Generic, User-Friendly", ICLR 2023 (zero-invariant groups)
 */

import type { Kept } from "../graph/coupling/choices.js";
import type { ConstantSlot, Coupling } from "../graph/coupling/groups.js";
import { type KeptMask, keptMask } from "../graph/coupling/oracle.js";
import type { Node, Value } from "../graph/graph.js";
import { strided, stridesOf } from "../graph/rearrange.js";
import type { Tensor } from "../graph/tensor.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { extract } from "./extract.js";
import { type Edited, editRemoved } from "./parameters.js";
import { runAll } from "./pieces.js";

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
export async function unzeroed(runner: Runner, { typing }: Coupling, kept: Kept, zeroed: Edited, feeds: Feeds): Promise<Node[]> {
  const terms = typing.contractions.flatMap(({ node, slots }) => {
    const operands = slots.flatMap(({ input, axis }) => {
      const value = node.inputs[input];
      const axes = typing.axesOfInput(node, input);
      const mask = value && axes && keptMask(typing.system, kept, axes, axis);
      return value && mask ? [{ value, mask }] : [];
    });
    return operands.length > 0 ? [{ node, operands }] : [];
  });
  const found: Node[] = [];
  for (let at = 0; at < terms.length; at += VALUES_AT_ONCE) {
    const some = terms.slice(at, at + VALUES_AT_ONCE);
    const values = await valuesOf(runner, zeroed, new Set(some.flatMap((t) => t.operands.map((o) => o.value))), feeds);
    for (const { node, operands } of some) {
      const isSilent = operands.some((o) => isZero(values.get(o.value), o.mask));
      if (!isSilent && !found.includes(node)) found.push(node);
    }
  }
  return found;
}

/** Tensors of values of the original in the edited model; what a body computes is not among them. */
async function valuesOf(
  runner: Runner,
  { model, copies }: Edited,
  values: ReadonlySet<Value>,
  feeds: Feeds,
): Promise<Map<Value, Tensor | undefined>> {
  const out = new Map<Value, Tensor | undefined>();
  const computed: Value[] = [];
  for (const original of values) {
    const v = copies.value(original);
    if (v.constant || v.isInput || v.graph !== model.graph) out.set(original, v.constant ?? feeds[v.name]);
    else computed.push(original);
  }
  if (computed.length === 0) return out;
  const names = computed.map((v) => v.name);
  const part = extract(model, { outputs: names, keepInputs: true });
  const [found] = await runAll(runner, part, [feeds], { optimization: "disabled", fetch: names });
  for (const v of computed) out.set(v, found?.[v.name]);
  return out;
}

/** Whether every element that the mask drops is 0. A NaN is not. */
function isZero(tensor: Tensor | undefined, { dims, kept }: KeptMask): boolean {
  if (!tensor) return false;
  const numbers = tensor.numbers();
  const steps = stridesOf(dims).map((s, a) => (dims[a] === 1 ? 0 : s));
  return strided(tensor.dims, steps).every((m, i) => kept[m] === 1 || numbers[i] === 0);
}
