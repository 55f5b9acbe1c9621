/**
 * MultiHeadAttention (com.microsoft) on projected Q, K and V, and its decoding form DecoderMaskedMultiHeadAttention.
 * Heads may leave, and dims of Q and K or of V inside them. Packed forms (K with V, or all three, in one 5-D tensor) run on GPUs
 * only and are kept whole; so is the decoding form, whose caches lie in an order of their own. Not evaluated.
 */
import { int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import type { ResizeContext } from "../coupling/resize.js";
import { add, type Dim, exactDiv, isKnown, mul, product } from "../dim.js";
import { type CostContext, defineOp, type OpContext, type OpSpec } from "../op.js";
import { biasAxes, cacheAxes, freezeInputs, keepScale, keptHeads, positionsOf, SEQUENCE, splitHeads } from "./heads.js";
import { expectRank, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

interface Extents {
  readonly batch: Dim;
  readonly S: Dim;
  readonly heads: number;
  /** Positions of this call's K and V. */
  readonly L: Dim;
  readonly past: Dim;
  /** Dims of each head of Q and K, and of V. */
  readonly qk: Dim;
  readonly v: Dim;
}

/** K and V are [batch, sequence, hidden], or what a cache holds: [batch, heads, sequence, dims]. */
function extents(op: OpContext): Extents | undefined {
  const { node } = op;
  const [Q, K, V] = [op.shape(0), op.shape(1), op.shape(2)];
  if (Q?.length !== 3 || !K || !V || (K.length !== 3 && K.length !== 4)) return undefined;
  expectRank(node, V, "value", K.length);
  const heads = node.int("num_heads", 0);
  const qk = exactDiv(Q[2] as Dim, heads);
  const v = K.length === 4 ? V[3] : exactDiv(V[2] as Dim, heads);
  for (const d of [Q[2], V.length === 3 ? V[2] : 0] as Dim[])
    if (isKnown(d) && d % heads !== 0) throw mismatch(node, `a hidden size of ${d} does not divide into ${heads} heads.`);
  if (qk === undefined || v === undefined) return undefined;
  sameExtent(node, K.length === 4 ? qk : (Q[2] as Dim), K[K.length - 1] as Dim, "the last axes of query and key");
  const past = op.node.inputs[6] ? op.shape(6)?.[2] : 0;
  return past === undefined ? undefined : { batch: Q[0] as Dim, S: Q[1] as Dim, heads, L: K[K.length - 2] as Dim, past, qk, v };
}

function attentionAxes(op: AxisContext): void {
  const e = extents(op);
  if (!e) return op.barrier(`${op.node.opType} reads Q, K and V packed in one tensor`);
  if (!isKnown(e.qk) || !isKnown(e.v)) return op.barrier("the hidden sizes of Q, K and V are unknown");
  const [Q, K, V] = [op.in(0), op.in(1), op.in(2)];
  const [batch, S, hidden] = Q as [Axis, Axis, Axis];
  const q = splitHeads(op, hidden, e.heads, e.qk);
  const isCache = K.length === 4;
  const v = isCache ? { heads: V[1] as Axis, dims: V[3] as Axis } : splitHeads(op, V[2] as Axis, e.heads, e.v);
  for (const [axes, size, isKey] of [
    [K, e.qk, true],
    [V, e.v, false],
  ] as const) {
    op.same(axes[0] as Axis, batch);
    op.freeze(axes[isCache ? 2 : 1] as Axis, SEQUENCE);
    const here = isCache ? { heads: axes[1] as Axis, dims: axes[3] as Axis } : splitHeads(op, axes[2] as Axis, e.heads, size);
    op.same(here.heads, q.heads);
    op.same(here.dims, isKey ? q.dims : v.dims);
  }
  op.freeze(S, SEQUENCE);
  if (isCache || op.has(6)) op.balance([q.dims, v.dims], "the caches of keys and values have heads of one size");

  const added = op.has(3);
  if (added) {
    const hiddenQK = op.prod([q.heads, q.dims]);
    op.same(op.in(3)[0] as Axis, op.sum([hiddenQK, hiddenQK, op.prod([q.heads, v.dims])]));
  }
  // Q·K' sums over dims inside the operator: what leaves is silenced before it.
  op.contract(
    { input: 0, axis: 2, over: q.dims, zero: true },
    { input: 1, axis: isCache ? 3 : 2, over: q.dims, zero: true },
    ...(added ? [{ input: 3, axis: 0, over: q.dims, zero: true }] : []),
  );

  freezeInputs(op, [4], "it is a mask");
  biasAxes(op, 5, q.heads);
  cacheAxes(op, 6, batch, q);
  cacheAxes(op, 7, batch, { heads: q.heads, dims: v.dims });
  freezeInputs(op, [8, 9], "it says where the caches are read");
  op.out(0, [batch, S, op.prod([q.heads, v.dims])]);
  op.out(1, [batch, q.heads, positionsOf(op, 1, 2), q.dims]);
  op.out(2, [batch, q.heads, positionsOf(op, 2, 2), v.dims]);
  op.out(3, [batch, q.heads, S, positionsOf(op, 3, 3)]);
}

function attentionResize(op: ResizeContext): void {
  const kept = op.keptIn(0, 2);
  const e = extents(op);
  if (!kept || !e) return;
  const size = e.qk as number;
  const q = keptHeads(kept, size);
  if (q.heads !== e.heads) op.setAttribute("num_heads", int(q.heads));
  keepScale(op, size, q.size);
}

function attentionMacs(op: CostContext): Dim {
  const e = extents(op);
  return e ? product([e.batch, e.heads, e.S, add(e.L, e.past), add(e.qk, e.v)]) : unknownMacs(op.node);
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "MultiHeadAttention",
    domain: "com.microsoft",
    since: [1],
    inputs: [
      "query",
      "key?",
      "value?",
      "bias?",
      "key_padding_mask?",
      "attention_bias?",
      "past_key?",
      "past_value?",
      "past_sequence_length?",
      "cache_indirection?",
    ],
    outputs: ["output", "present_key?", "present_value?", "qk?"],
    ranks: { 0: [3, 5], 1: [3, 5], 2: [3, 4], 3: 1, 6: 4, 7: 4 },
    remark: "Packed K and V, or Q, K and V, are kept whole.",
    infer(op) {
      const dtype = op.type(0)?.dtype;
      if (!dtype) return [];
      const Q = op.shape(0);
      const e = extents(op);
      if (Q?.length === 5) return [tensorOf(dtype, [Q[0] as Dim, Q[1] as Dim, mul(Q[2] as Dim, Q[4] as Dim)])];
      const shared = op.node.inputs[8] !== undefined;
      const shape = (dims: Shape | undefined) => tensorOf(dtype, dims);
      if (!e) return [0, 1, 2, 3].map(() => shape(undefined));
      const T = add(e.L, e.past);
      const cache = (i: number, d: Dim) => (shared ? op.shape(i) : [e.batch, e.heads, T, d]);
      return [
        shape([e.batch, e.S, mul(e.heads, e.v)]),
        shape(cache(6, e.qk)),
        shape(cache(7, e.v)),
        shape(shared ? undefined : [e.batch, e.heads, e.S, T]),
      ];
    },
    axes: attentionAxes,
    resize: attentionResize,
    macs: attentionMacs,
  }),
  defineOp({
    type: "DecoderMaskedMultiHeadAttention",
    domain: "com.microsoft",
    since: [1],
    inputs: [
      "query",
      "key?",
      "value?",
      "mask_index?",
      "attention_bias?",
      "past_key?",
      "past_value?",
      "past_sequence_length?",
      "beam_width?",
      "cache_indirection?",
      "bias?",
    ],
    outputs: ["output", "present_key?", "present_value?", "qk?"],
    ranks: { 0: 3, 1: [3, 4], 2: [3, 4] },
    remark: "Kept whole: its caches lie in an order of their own. Counts the positions of the caches it is given.",
    infer(op) {
      const dtype = op.type(0)?.dtype;
      if (!dtype) return [];
      const cache = (past: number) => tensorOf(dtype, op.node.int("past_present_share_buffer", 0) !== 0 ? op.shape(past) : undefined);
      return [tensorOf(dtype, decodedShape(op)), cache(5), cache(6), undefined];
    },
    barrier: "its caches lie in an order of their own, which depends on the size of a head",
    macs(op) {
      const Y = op.outputShape(0);
      const L = op.shape(5)?.[2] ?? (op.shape(1)?.length === 4 ? op.shape(1)?.[2] : undefined);
      return Y && L !== undefined ? product([2, product(Y), L]) : unknownMacs(op.node);
    },
  }),
];

/** [batch, 1, V's hidden size]; undefined where V is packed into query, whose parts nothing tells. */
function decodedShape(op: OpContext): Shape | undefined {
  const [Q, V] = [op.shape(0), op.shape(2)];
  if (!Q) return undefined;
  if (V?.length === 4) return [Q[0] as Dim, Q[1] as Dim, mul(V[1] as Dim, V[3] as Dim)];
  return V && [Q[0] as Dim, Q[1] as Dim, V[2] as Dim];
}
