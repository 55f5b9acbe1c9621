/**
 * Normalisations that ONNX Runtime fuses with the sum before them (com.microsoft): SkipLayerNormalization and
 * SkipSimplifiedLayerNormalization after a residual sum, EmbedLayerNormalization after three embeddings. Not evaluated.
 */
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import type { Dim } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { broadcastAxes, freezeAxes, mixAxes } from "./axis-rules.js";
import { likeInput, mismatch, NO_MACS, noMacs, type Shape, sameExtent, tensorOf } from "./shape-rules.js";

/** The extent of the normalised axis, which vectors over it must have. */
function checkVectors(op: OpContext, extent: Dim | undefined, ...operands: readonly number[]): void {
  if (extent === undefined) return;
  for (const i of operands) {
    const v = op.shape(i);
    if (v) sameExtent(op.node, extent, v[0] as Dim, `the last axis and input ${i}`);
  }
}

function skipAxes(op: AxisContext, vectors: readonly number[]): void {
  const X = broadcastAxes(op, [op.in(0), op.in(1)], op.outShape(0));
  const last = X[X.length - 1] as Axis;
  mixAxes(op, X, [X.length - 1], `${op.node.opType} normalises over it`);
  for (const i of vectors) if (op.has(i)) op.same(op.in(i)[0] as Axis, last);
  const statistics = X.map((a, k) => (k < X.length - 1 ? a : op.fixed(1, "it was averaged")));
  for (const i of [0, 3]) op.out(i, X);
  for (const i of [1, 2]) op.out(i, statistics);
}

function skip(type: string, inputs: readonly string[]): OpSpec {
  const vectors = inputs.flatMap((_, i) => (i < 2 ? [] : [i]));
  return defineOp({
    type,
    domain: "com.microsoft",
    since: [1],
    inputs,
    outputs: ["output", "mean?", "inv_std_var?", "input_skip_bias_sum?"],
    ranks: { 0: [2, 3], ...Object.fromEntries(vectors.map((i) => [i, 1])) },
    remark: NO_MACS,
    infer(op) {
      const X = op.shape(0);
      checkVectors(op, X?.[X.length - 1], ...vectors);
      const S = op.shape(1);
      if (X && S && S.length > X.length) throw mismatch(op.node, `skip [${S.join(", ")}] should broadcast to input [${X.join(", ")}].`);
      const statistics = tensorOf("float32", X && [...X.slice(0, -1), 1]);
      return [likeInput(op), statistics, statistics, likeInput(op)];
    },
    axes: (op) => skipAxes(op, vectors),
    macs: noMacs,
  });
}

/** [batch, sequence, hidden] for ids [batch, sequence] and a table [vocabulary, hidden]. */
function embedded(op: OpContext): Shape | undefined {
  const ids = op.shape(0);
  const D = op.shape(2)?.[1];
  return ids && D !== undefined ? [...ids, D] : undefined;
}

/** The tables of words, positions and segments; and what has one element per hidden index. */
const TABLES = [2, 3, 4] as const;
const PER_HIDDEN = [5, 6] as const;

export const specs: readonly OpSpec[] = [
  skip("SkipLayerNormalization", ["input", "skip", "gamma", "beta?", "bias?"]),
  skip("SkipSimplifiedLayerNormalization", ["input", "skip", "gamma", "bias?"]),
  defineOp({
    type: "EmbedLayerNormalization",
    domain: "com.microsoft",
    since: [1],
    inputs: [
      "input_ids",
      "segment_ids?",
      "word_embedding",
      "position_embedding",
      "segment_embedding?",
      "gamma",
      "beta",
      "mask?",
      "position_ids?",
    ],
    outputs: ["output", "mask_index?", "embedding_sum?"],
    ranks: { 0: 2, 2: 2, 3: 2, 4: 2, 5: 1, 6: 1 },
    remark: NO_MACS,
    infer(op) {
      const shape = embedded(op);
      checkVectors(op, shape?.[2], ...PER_HIDDEN);
      for (const i of TABLES)
        if (op.shape(i)?.[1] !== undefined && shape)
          sameExtent(op.node, shape[2] as Dim, op.shape(i)?.[1] as Dim, `hidden sizes of input ${i}`);
      const dtype = op.type(2)?.dtype;
      const sum = dtype && tensorOf(dtype, shape);
      const batch = op.shape(0)?.[0];
      return [sum, tensorOf("int32", batch === undefined ? undefined : [batch]), sum];
    },
    axes(op) {
      const ids = op.in(0);
      const hidden = op.in(2)[1] as Axis;
      op.freeze(ids[1] as Axis, "EmbedLayerNormalization counts positions along it");
      op.freeze(hidden, "EmbedLayerNormalization normalises over it");
      for (const i of TABLES) {
        if (!op.has(i)) continue;
        const [rows, columns] = op.in(i) as [Axis, Axis];
        op.freeze(rows, "EmbedLayerNormalization looks rows up in it");
        op.same(columns, hidden);
      }
      for (const i of PER_HIDDEN) op.same(op.in(i)[0] as Axis, hidden);
      for (const i of [1, 7, 8]) if (op.has(i)) freezeAxes(op, op.in(i), "it says which rows are looked up, or which tokens count");
      const Y = [...ids, hidden];
      op.out(0, Y);
      op.out(1, ids.slice(0, 1));
      op.out(2, Y);
    },
    macs: noMacs,
  }),
];
