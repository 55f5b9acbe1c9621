/** RotaryEmbedding (onnx/docs/Operators.md#RotaryEmbedding): pairs of dims of each head are rotated by the angle of their position. Not evaluated. */
import { int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, exactDiv, isKnown } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { broadcastAxis, freezeAxes } from "./axis-rules.js";
import { expectInputRank, expectRank, likeInput, mismatch, NO_MACS, noMacs, type Shape, sameExtent } from "./shape-rules.js";

interface Rotation {
  /** Heads of the packed axis of a rank-3 input; undefined for rank 4, where heads have an axis of their own. */
  readonly heads: number | undefined;
  /** Dims of a head. */
  readonly size: Dim;
  /** How many of them, from the front, are rotated. */
  readonly rotated: Dim;
}

function rotationOf(op: OpContext): Rotation | undefined {
  const X = op.shape(0);
  if (!X) return undefined;
  expectRank(op.node, X, "X", 3, 4);
  const isRead = op.node.inputs[3] !== undefined;
  expectInputRank(op, 1, "cos_cache", isRead ? 2 : 3);
  expectInputRank(op, 2, "sin_cache", isRead ? 2 : 3);
  expectInputRank(op, 3, "position_ids", 2);
  const last = X[X.length - 1] as Dim;
  const heads = X.length === 3 ? op.node.int("num_heads", 0) : undefined;
  if (heads !== undefined && heads < 1) throw mismatch(op.node, "num_heads is required with packed heads, but is absent.");
  const size = heads === undefined ? last : exactDiv(last, heads);
  if (size === undefined) {
    if (isKnown(last)) throw mismatch(op.node, `a hidden size of ${last} does not divide into ${heads} heads.`);
    return undefined;
  }
  // 0 stands for the whole head.
  const rotated = op.node.int("rotary_embedding_dim", 0) || size;
  if (isKnown(size) && isKnown(rotated) && (rotated < 0 || rotated > size))
    throw mismatch(op.node, `rotary_embedding_dim should be at most the ${size} dims of a head, but is ${rotated}.`);
  const half = op.shape(1)?.at(-1);
  const pairs = exactDiv(rotated, 2);
  if (half !== undefined && pairs !== undefined)
    sameExtent(op.node, half, pairs, "the last axis of cos_cache and half of the rotated dims");
  return { heads, size, rotated };
}

/** Both dims of a pair, and its column of the tables, leave together, in every head; dims that are not rotated are free. */
function rotaryAxes(op: AxisContext): void {
  const rotation = rotationOf(op);
  if (!rotation) return op.barrier("its heads cannot be told apart");
  const { heads, size, rotated } = rotation;
  const X = op.in(0);
  const [cos, sin] = [op.in(1), op.in(2)];
  const last = X[X.length - 1] as Axis;
  const dims = heads === undefined ? last : (op.split(last, [heads, size])[1] as Axis);
  if (!isKnown(size) || !isKnown(rotated) || rotated % 2 !== 0) return op.barrier("the dims it rotates cannot be told");
  const [turned, rest] = rotated < size ? op.cut(dims, [rotated]) : [dims];
  const pair = cos[cos.length - 1] as Axis;
  op.same(pair, sin[sin.length - 1] as Axis);
  const member = op.fixed(2, "RotaryEmbedding rotates pairs");
  op.same(turned as Axis, op.prod(op.node.int("interleaved", 0) !== 0 ? [pair, member] : [member, pair]));
  if (rest) op.balance([rest], "each head of RotaryEmbedding has as many dims");
  const steps = X[X.length - 2] as Axis;
  op.freeze(steps, "RotaryEmbedding counts positions along it");
  if (op.has(3)) {
    // Tables of all positions, read by position_ids.
    freezeAxes(op, [cos[0], sin[0]] as Axis[], "RotaryEmbedding reads it by positions");
    const [batch, position] = op.in(3) as [Axis, Axis];
    broadcastAxis(op, batch, X[0] as Axis);
    op.freeze(position, "RotaryEmbedding counts positions along it");
  } else {
    for (const table of [cos, sin]) {
      broadcastAxis(op, table[0] as Axis, X[0] as Axis);
      op.freeze(table[1] as Axis, "RotaryEmbedding counts positions along it");
    }
  }
  return op.out(0, X);
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "RotaryEmbedding",
    since: [23],
    inputs: ["X", "cos_cache", "sin_cache", "position_ids?"],
    outputs: ["Y"],
    remark: NO_MACS,
    infer(op) {
      rotationOf(op);
      return [likeInput(op)];
    },
    axes: rotaryAxes,
    resize(op) {
      const rotation = rotationOf(op);
      const X = op.shape(0);
      if (!rotation || !X || !isKnown(rotation.size)) return;
      const { heads, size, rotated } = rotation;
      const kept = heads === undefined ? undefined : op.keptIn(0, X.length - 1);
      if (kept) op.setAttribute("num_heads", int(new Set(kept.map((p) => Math.floor(p / (size as number)))).size));
      const tables = op.shape(1) as Shape;
      if (rotated !== size) op.setAttribute("rotary_embedding_dim", int(2 * (op.sizeIn(1, tables.length - 1) as number)));
    },
    macs: noMacs,
  }),
];
