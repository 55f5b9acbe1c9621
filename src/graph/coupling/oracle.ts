/**
 * The exact oracle of a removal: the *original* graph, every producer whole, with a Gather of the kept positions before
 * each sum they enter (both operands), or with zeros there where no Gather fits: inside a recurrence, inside the groups of
 * a convolution, and where each row of a tensor keeps other positions. What the removed slices would have added is thereby
 * not added; everything else runs as it did. The pruned graph must compute the same outputs.
 *
 * It reads only what is kept and what each node sums over, never the slicer's rewriting, and holds through
 * normalisation and softmax, where setting slices to zero does not.
 */

import { internal } from "../../errors.js";
import { Copies, cloneModel } from "../clone.js";
import type { Graph, Model, Node, Value } from "../graph.js";
import { rearrange, sizeOf, strided, stridesOf } from "../rearrange.js";
import { Tensor } from "../tensor.js";
import type { Axis, AxisSystem } from "./axis.js";
import type { Kept } from "./choices.js";
import type { Slot } from "./context.js";
import type { Typing } from "./couple.js";
import { insertGather } from "./slice.js";

/** The oracle model for `kept`; inputs and outputs are those of the original. */
export function oracleOf(typing: Typing, kept: Kept): Model {
  const copies = new Copies();
  const next = cloneModel(typing.model, copies);
  // Nearest to the operand's own extents first: what is masked keeps them, what is gathered does not.
  for (const { node, slots } of typing.contractions)
    for (const slot of slots) if (slot.zero || isDependent(typing, kept, node, slot)) mask(typing, kept, node, copies.node(node), slot);
  for (const { node, slots } of typing.contractions)
    for (const slot of slots) if (!slot.zero && !isDependent(typing, kept, node, slot)) gather(typing, kept, node, copies.node(node), slot);
  return next;
}

/** Whether the sum drops other positions in other rows: there no Gather says which. */
function isDependent(typing: Typing, kept: Kept, node: Node, { input, axis }: Slot): boolean {
  return kept.isFamily(typing.axesOfInput(node, input)?.[axis] as Axis);
}

function gather(typing: Typing, kept: Kept, node: Node, target: Node, { input, axis }: Slot): void {
  const graph = target.graph as Graph;
  const indices = kept.indices(typing.axesOfInput(node, input)?.[axis] as Axis);
  if (!indices) return;
  const now = target.inputs[input]?.constant;
  if (now) target.setInput(input, graph.addInitializer(`${node.inputs[input]?.name}_kept`, now.take(axis, indices)));
  else insertGather(graph, target, input, axis, indices);
}

/** Sets what the sum drops to 0 in one operand. */
function mask(typing: Typing, kept: Kept, node: Node, target: Node, { input, axis, zeroPoint }: Slot): void {
  const graph = target.graph as Graph;
  const value = node.inputs[input] as Value;
  const type = typing.types.type(value);
  const axes = typing.axesOfInput(node, input) as readonly Axis[];
  if (type?.kind !== "tensor") throw internal(`"${value.name}" is summed over, but is no tensor.`);
  const ones = keptMask(typing.system, kept, axes, axis);
  if (!ones) return;
  const now = target.inputs[input]?.constant;
  if (now) {
    const zero = zeroPoint === undefined ? undefined : target.inputs[zeroPoint]?.constant;
    target.setInput(input, graph.addInitializer(`${value.name}_kept`, masked(now, ones, zero)));
    return;
  }
  const by = graph.addInitializer(`${value.name}_mask`, Tensor.fromNumbers(type.dtype, ones.dims, ones.kept));
  const product = graph.insertNode("Mul", [target.inputs[input], by], { before: target, outputs: [`${value.name}_kept`] });
  target.setInput(input, product.outputs[0]);
}

/** 1 where a position of an axis is kept, 0 elsewhere: extents of 1 but for that axis and the rows it depends on. */
export interface KeptMask {
  readonly dims: readonly number[];
  readonly kept: readonly number[];
}

/** The mask of axis `k` of a tensor of axes `axes`; undefined when nothing of it leaves. Rows that leave are all kept. */
export function keptMask(system: AxisSystem, kept: Kept, axes: readonly Axis[], k: number): KeptMask | undefined {
  const dims = axes.map(() => 1);
  dims[k] = (axes[k] as Axis).size as number;
  const cells: { readonly at: ReadonlyMap<number, number>; readonly kept: readonly number[] | undefined }[] = [];
  const visit = (here: readonly Axis[], at: ReadonlyMap<number, number>) => {
    const r = system.find(here[k] as Axis);
    const place = kept.isFamily(r) ? system.rowsAt(here, r) : undefined;
    if (r.form?.kind !== "family" || place === undefined) {
      cells.push({ at, kept: kept.indices(r) });
      return;
    }
    const { parts, rows } = r.form;
    const extent = (axes[place] as Axis).size as number;
    dims[place] = extent;
    const per = extent / parts.length;
    const stays = kept.indices(rows);
    parts.forEach((p, b) => {
      const inside = here.map((x, i) => (i === k ? p : i === place ? x : system.inRow(x, rows, b)));
      for (let i = 0; i < per; i++) {
        const where = new Map(at).set(place, b * per + i);
        if (stays && !stays.includes(b)) cells.push({ at: where, kept: undefined });
        else visit(inside, where);
      }
    });
  };
  visit(axes, new Map());
  if (cells.every((c) => c.kept === undefined)) return undefined;
  const steps = stridesOf(dims);
  const out = new Array<number>(sizeOf(dims)).fill(1);
  for (const c of cells) {
    if (!c.kept) continue;
    let from = 0;
    for (const [a, index] of c.at) from += index * (steps[a] as number);
    const stays = new Set(c.kept);
    for (let i = 0; i < (dims[k] as number); i++) if (!stays.has(i)) out[from + i * (steps[k] as number)] = 0;
  }
  return { dims, kept: out };
}

/** `tensor` with 0, or its zero point, where the mask says so. */
function masked(tensor: Tensor, { dims, kept }: KeptMask, zero: Tensor | undefined): Tensor {
  return tensor.derive(tensor.dims, (whole) => {
    const steps = stridesOf(dims).map((s, a) => (dims[a] === 1 ? 0 : s));
    const from = strided(tensor.dims, steps);
    const row = tensor.size / (tensor.dims[0] as number);
    // Elements of the weight, then those of the zero point.
    const positions = Float64Array.from(from, (m, i) => {
      if (kept[m]) return i;
      if (!zero) return -1;
      return tensor.size + (zero.size === 1 ? 0 : Math.floor(i / row));
    });
    const read = Tensor.ofBytes(tensor.dtype, tensor.dims, whole);
    const out = rearrange(zero ? [read, zero] : [read], tensor.dims, positions);
    if (!out) throw internal(`Weights of type ${tensor.dtype} cannot be masked.`);
    return out.bytes;
  });
}
