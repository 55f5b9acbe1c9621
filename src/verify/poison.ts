/** Makes removed parameters huge: if one of them still reaches an output, the output shows it. */
import { cloneModel } from "../../src/graph/clone.js";
import type { Kept } from "../../src/graph/coupling/choices.js";
import type { Coupling } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";

/** Large enough to show after any layer, small enough not to overflow in a few. */
const HUGE = 1e6;

/** A copy of the model in which every parameter on a removed channel is huge; `count` of them. */
export function poison(coupling: Coupling, kept: Kept): { readonly model: Model; readonly count: number } {
  const model = cloneModel(coupling.typing.model);
  let count = 0;
  for (const group of coupling.groups) {
    for (const slot of group.slots) {
      const mine = model.graph.value(slot.value.name);
      const tensor = mine?.constant;
      // Another use of a shared small constant may keep what this one loses.
      const isShared = (slot.value.constant?.dims.length ?? 0) <= 1 && slot.value.useCount > 1;
      if (!mine || tensor?.dtype !== "float32" || isShared) continue;
      const gone = new Set(group.choices.flatMap((c, k) => (kept.isRemoved(c) ? slot.positions(k) : [])));
      const inner = tensor.dims.slice(slot.axis + 1).reduce((a, b) => a * b, 1);
      const extent = tensor.dims[slot.axis] as number;
      const row = tensor.size / (tensor.dims[0] ?? 1);
      const data = Float32Array.from(tensor.numbers(), (x, i) => {
        const isMine = !slot.rows || (Math.floor(i / row) >= slot.rows[0] && Math.floor(i / row) < slot.rows[1]);
        if (!isMine || !gone.has(Math.floor(i / inner) % extent)) return x;
        count++;
        return HUGE;
      });
      model.graph.setConstant(mine, Tensor.floats(tensor.dims, data));
    }
  }
  return { model, count };
}
