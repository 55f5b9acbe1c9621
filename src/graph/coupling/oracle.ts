/**
 * The exact oracle of a removal: the *original* graph, every producer whole, with a Gather of the kept positions before
 * each sum they enter (both operands). What the removed slices would have added is thereby not added; everything else
 * runs as it did. The pruned graph must compute the same outputs.
 *
 * It reads only what is kept and what each node sums over, never the slicer's rewriting, and holds through
 * normalisation and softmax, where setting slices to zero does not.
 */

import { internal } from "../../errors.js";
import { cloneModel } from "../clone.js";
import { isKnown } from "../dim.js";
import { bitsOf } from "../dtype.js";
import type { Graph, Model, Node, Value, ValueType } from "../graph.js";
import { Tensor } from "../tensor.js";
import type { Axis } from "./axis.js";
import type { Kept } from "./choices.js";
import type { Typing } from "./couple.js";
import { insertGather, takeBlocks } from "./slice.js";

/** The oracle model for `kept`; inputs and outputs are those of the original. */
export function oracleOf(typing: Typing, kept: Kept): Model {
  const next = cloneModel(typing.model);
  const source = typing.model.graph.nodes;
  const twin = new Map<Node, Node>();
  next.graph.nodes.forEach((n, i) => {
    twin.set(source[i] as Node, n);
  });
  for (const { node, slots } of typing.contractions) {
    const target = twin.get(node) as Node;
    for (const { input, axis, over, zero } of slots) {
      const term = over ?? (typing.axesOfInput(node, input)?.[axis] as Axis);
      const constant = node.inputs[input]?.constant;
      const blocks = kept.familyIndices(term);
      if (blocks) {
        const value = target.inputs[input]?.constant;
        if (value) target.setInput(input, next.graph.addInitializer(`${node.inputs[input]?.name}_kept`, takeBlocks(value, axis, blocks)));
        else gatherBlocks(next.graph, target, input, axis, blocks, (typing.types.shape(node.inputs[input] as Value) ?? [])[0] as number);
        continue;
      }
      const indices = kept.isFamily(term) ? undefined : kept.indices(term);
      if (!indices) continue;
      const now = target.inputs[input]?.constant;
      if (zero) {
        if (now) target.setInput(input, next.graph.addInitializer(`${node.inputs[input]?.name}_kept`, zeroed(now, axis, indices)));
        else maskInput(next.graph, target, input, typing.types.type(node.inputs[input] as Value), axis, indices);
      } else if (constant && now)
        target.setInput(input, next.graph.addInitializer(`${node.inputs[input]?.name}_kept`, now.take(axis, indices)));
      else insertGather(next.graph, target, input, axis, indices);
    }
  }
  return next;
}

/** Puts before `input`, a computed grouped weight, what takeBlocks does to a constant: per block, a Gather of its rows and of its positions. */
function gatherBlocks(graph: Graph, node: Node, input: number, axis: number, blocks: readonly (readonly number[])[], rows: number): void {
  const whole = node.inputs[input] as Value;
  const per = rows / blocks.length;
  const pieces = blocks.map((positions, b) => {
    node.setInput(input, whole);
    insertGather(
      graph,
      node,
      input,
      0,
      Array.from({ length: per }, (_, i) => b * per + i),
    );
    insertGather(graph, node, input, axis, positions);
    return node.inputs[input];
  });
  const joined = graph.insertNode("Concat", pieces, {
    before: node,
    outputs: [`${whole.name}_kept`],
    attributes: { axis: { kind: "int", value: 0 } },
  });
  node.setInput(input, joined.outputs[0]);
}

/** Multiplies an input, a computed weight, by 1 at the kept positions of `axis` and 0 elsewhere. */
function maskInput(graph: Graph, node: Node, input: number, type: ValueType | undefined, axis: number, kept: readonly number[]): void {
  const value = node.inputs[input] as Value;
  const extent = type?.kind === "tensor" ? type.shape?.[axis] : undefined;
  if (type?.kind !== "tensor" || extent === undefined || !isKnown(extent)) throw internal(`The extent of "${value.name}" is unknown.`);
  const dims = type.shape?.map((_, a) => (a === axis ? extent : 1)) ?? [];
  const ones = Array.from({ length: extent }, (_, i) => (kept.includes(i) ? 1 : 0));
  const mask = graph.addInitializer(`${value.name}_mask`, Tensor.fromNumbers(type.dtype, dims, ones));
  const masked = graph.insertNode("Mul", [value, mask], { before: node, outputs: [`${value.name}_kept`] });
  node.setInput(input, masked.outputs[0]);
}

/** `tensor` with every position of `axis` outside `kept` set to zero. */
function zeroed(tensor: Tensor, axis: number, kept: readonly number[]): Tensor {
  return tensor.derive(tensor.dims, (whole) => {
    const n = tensor.dims[axis] as number;
    const row = (tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1) * bitsOf(tensor.dtype)) / 8;
    const bytes = whole.slice();
    const keep = new Set(kept);
    for (let at = 0; at * row < bytes.length; at++) if (!keep.has(at % n)) bytes.fill(0, at * row, (at + 1) * row);
    return bytes;
  });
}
