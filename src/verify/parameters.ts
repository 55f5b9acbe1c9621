/** Edits of the parameters that leave with removed channels, in a whole model: what poison and zero invariance do. */
import { Copies, cloneModel } from "../graph/clone.js";
import type { Kept } from "../graph/coupling/choices.js";
import { isTypedPerUse } from "../graph/coupling/couple.js";
import type { ConstantSlot, Coupling } from "../graph/coupling/groups.js";
import { type DType, isFloat } from "../graph/dtype.js";
import type { Model, Value } from "../graph/graph.js";
import { Tensor } from "../graph/tensor.js";

export interface Edited {
  readonly model: Model;
  /** Parameters that were set; one that lies on two removed channels counts once. */
  readonly count: number;
  /** What became of the original's values: names repeat among bodies. */
  readonly copies: Copies;
}

/**
 * A copy of the coupled model in which `value(dtype, slot)` stands for every float parameter on a removed channel;
 * undefined leaves those of a slot as they are. So does a small constant of several readers, of which another may keep
 * what this one loses, and anything quantised.
 */
export function editRemoved(coupling: Coupling, kept: Kept, value: (dtype: DType, slot: ConstantSlot) => number | undefined): Edited {
  const copies = new Copies();
  const model = cloneModel(coupling.typing.model, copies);
  let count = 0;
  const edits = new Map<Value, Map<number, number>>();
  for (const group of coupling.groups) {
    for (const slot of group.slots) {
      const tensor = slot.value.constant;
      if (!tensor || !isFloat(tensor.dtype) || (isTypedPerUse(slot.value) && slot.value.useCount > 1)) continue;
      const by = value(tensor.dtype, slot);
      if (by === undefined) continue;
      const of = edits.get(slot.value) ?? new Map<number, number>();
      edits.set(slot.value, of);
      const gone = group.choices.flatMap((c, k) => (kept.isRemoved(c) ? slot.positions(k) : []));
      for (const at of elements(tensor.dims, slot, gone)) of.set(at, by);
    }
  }
  for (const [value, of] of edits) {
    const mine = copies.value(value);
    const tensor = mine.constant;
    if (!tensor || of.size === 0) continue;
    const data = Float64Array.from(tensor.numbers(), (x, i) => of.get(i) ?? x);
    count += of.size;
    mine.graph?.setConstant(mine, Tensor.fromNumbers(tensor.dtype, tensor.dims, data));
  }
  return { model, count, copies };
}

/** Flat indices of a tensor of `dims` at `positions` of the slot's axis, in the slot's rows. */
function* elements(dims: readonly number[], { axis, rows }: ConstantSlot, positions: readonly number[]): Iterable<number> {
  const inner = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const extent = dims[axis] as number;
  const outer = dims.slice(0, axis).reduce((a, b) => a * b, 1);
  const perRow = dims.slice(1).reduce((a, b) => a * b, 1);
  for (let o = 0; o < outer; o++) {
    for (const p of positions) {
      const start = (o * extent + p) * inner;
      const row = Math.floor(start / perRow);
      if (rows && (row < rows[0] || row >= rows[1])) continue;
      for (let i = 0; i < inner; i++) yield start + i;
    }
  }
}
