/**
 * RotaryEmbedding of com.microsoft: turns pairs of dims of each head by an angle that depends on the position. Heads may leave,
 * and pairs with their column of the caches of cosines and sines; dims that are not turned leave one by one. Not evaluated.
 */
import { int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, exactDiv, isKnown } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { freezeInputs, keptHeads } from "./heads.js";
import { likeInput, NO_MACS, noMacs } from "./shape-rules.js";

/** Heads, and dims of each; undefined while they are unknown. */
function extents(op: OpContext): { readonly heads: number; readonly size: number } | undefined {
  const X = op.shape(0);
  const half = op.shape(2)?.[1];
  if (!X || half === undefined) return undefined;
  if (X.length === 4) {
    const [heads, size] = [X[1] as Dim, X[3] as Dim];
    return isKnown(heads) && isKnown(size) ? { heads, size } : undefined;
  }
  const hidden = X[2] as Dim;
  // Without num_heads the caches say how long a head is.
  const stated = op.node.int("num_heads", 0);
  const size = stated > 0 && op.node.int("rotary_embedding_dim", 0) > 0 ? exactDiv(hidden, stated) : isKnown(half) ? 2 * half : undefined;
  if (size === undefined || !isKnown(size) || !isKnown(hidden)) return undefined;
  return { heads: hidden / size, size };
}

/**
 * The pairs among `dims`, the dims of a head of which the first 2·half are turned: dim i goes with dim i + half, or, interleaved,
 * dim 2i with 2i + 1. `caches`: the axes of cosines and sines that count pairs.
 * Returns the axis of pairs and that of the dims that are not turned.
 */
export function pairsOf(
  op: AxisContext,
  dims: Axis,
  caches: readonly Axis[],
  interleaved: boolean,
): { readonly pairs: Axis; readonly rest: Axis | undefined } {
  const half = (caches[0] as Axis).size as number;
  const turned = 2 * half;
  const [first, rest] = turned < (dims.size as number) ? op.cut(dims, [turned]) : [dims];
  const pairs = caches[0] as Axis;
  for (const c of caches.slice(1)) op.same(c, pairs);
  const two = op.fixed(2, `${op.node.opType} turns pairs`);
  op.same(first as Axis, op.prod(interleaved ? [pairs, two] : [two, pairs]));
  return { pairs, rest };
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "RotaryEmbedding",
    domain: "com.microsoft",
    since: [1],
    inputs: ["input", "position_ids", "cos_cache", "sin_cache"],
    outputs: ["output"],
    ranks: { 0: [3, 4], 2: 2, 3: 2 },
    remark: NO_MACS,
    infer(op) {
      return [likeInput(op)];
    },
    axes(op) {
      const X = op.in(0);
      const e = extents(op);
      if (!e) return op.barrier("the number of heads, or their size, is unknown");
      if (op.node.int("is_packed_batching", 0) !== 0) return op.barrier("its batch is packed");
      const is4D = X.length === 4;
      freezeInputs(op, [1], "it says positions");
      const [cos, sin] = [op.in(2), op.in(3)];
      freezeAxes(op, [cos[0] as Axis, sin[0] as Axis, X[is4D ? 2 : 1] as Axis], "positions are looked up along it");
      const dims = is4D ? (X[3] as Axis) : (op.split(X[2] as Axis, [e.heads, e.size])[1] as Axis);
      pairsOf(op, dims, [cos[1] as Axis, sin[1] as Axis], op.node.int("interleaved", 0) !== 0);
      op.out(0, X);
    },
    resize(op) {
      const e = extents(op);
      if (!e) return;
      const rank = op.shape(0)?.length;
      const kept = rank === 3 ? op.keptIn(0, 2) : undefined;
      const heads = rank === 4 ? (op.sizeIn(0, 1) as number) : kept ? keptHeads(kept, e.size).heads : e.heads;
      if (op.node.int("num_heads", 0) > 0 && heads !== e.heads) op.setAttribute("num_heads", int(heads));
      if (op.node.int("rotary_embedding_dim", 0) > 0) op.setAttribute("rotary_embedding_dim", int(2 * (op.sizeIn(2, 1) as number)));
    },
    macs: noMacs,
  }),
];
