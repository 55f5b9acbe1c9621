/** Attention (onnx/docs/Operators.md#Attention): softmax(scale·QKᵀ + mask)·V per head, heads packed in one axis (rank 3) or apart (rank 4). Not evaluated. */
import { float, int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import type { ResizeContext } from "../coupling/resize.js";
import { add, type Dim, exactDiv, isKnown, mul, product } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { broadcastAxis, freezeAxes } from "./axis-rules.js";
import { expectRank, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

/** Extents as in the specification; `kv` is K's own sequence, `total` with the past. */
interface Extents {
  readonly batch: Dim;
  readonly qHeads: Dim;
  readonly kvHeads: Dim;
  readonly steps: Dim;
  readonly kv: Dim;
  readonly total: Dim;
  readonly head: Dim;
  readonly vHead: Dim;
}

const isPacked = (op: OpContext): boolean => op.shape(0)?.length === 3;

/** [batch, heads, steps, head size] of Q, K or V. */
function unpacked(op: OpContext, i: number, heads: string): readonly [Dim, Dim, Dim, Dim] | undefined {
  const shape = op.shape(i);
  if (!shape) return undefined;
  expectRank(op.node, shape, ["Q", "K", "V"][i] as string, 3, 4);
  if (shape.length === 4) return shape as [Dim, Dim, Dim, Dim];
  const [batch, steps, hidden] = shape as [Dim, Dim, Dim];
  const n = op.node.int(heads);
  if (n === undefined || n < 1) throw mismatch(op.node, `${heads} is required with packed heads, but is ${n ?? "absent"}.`);
  const size = exactDiv(hidden, n);
  if (size === undefined) {
    if (isKnown(hidden)) throw mismatch(op.node, `a hidden size of ${hidden} does not divide into ${n} heads (${heads}).`);
    return undefined;
  }
  return [batch, n, steps, size];
}

function extents(op: OpContext): Extents | undefined {
  const Q = unpacked(op, 0, "q_num_heads");
  const K = unpacked(op, 1, "kv_num_heads");
  const V = unpacked(op, 2, "kv_num_heads");
  if (!Q || !K || !V) return undefined;
  const past = op.node.inputs[4] === undefined ? 0 : op.shape(4)?.[2];
  if (past === undefined) return undefined;
  const [qHeads, kvHeads] = [Q[1], sameExtent(op.node, K[1], V[1], "heads of K and V")];
  if (isKnown(qHeads) && isKnown(kvHeads) && qHeads % kvHeads !== 0)
    throw mismatch(op.node, `${qHeads} heads of Q do not divide among ${kvHeads} of K and V.`);
  const kv = sameExtent(op.node, K[2], V[2], "sequence lengths of K and V");
  const head = sameExtent(op.node, Q[3], K[3], "head sizes of Q and K");
  return { batch: Q[0], qHeads, kvHeads, steps: Q[2], kv, total: add(past, kv), head, vHead: V[3] };
}

/**
 * Heads are one axis of Q, K, V and Y: head q of a query belongs to head q div r of K and V, r queries each. A head's
 * dims are summed between Q and K; V's dims, which may be others, come out. Nothing couples the two.
 */
function attentionAxes(op: AxisContext): void {
  const e = extents(op);
  if (!e) return op.barrier("its heads cannot be told apart");
  const packed = isPacked(op);
  const [Q, K, V] = [op.in(0), op.in(1), op.in(2)];
  const parts = (X: readonly Axis[], heads: Dim, size: Dim): [Axis, Axis] =>
    packed ? (op.split(X[2] as Axis, [heads, size]) as [Axis, Axis]) : [X[1] as Axis, X[3] as Axis];
  const [qHeads, qDims] = parts(Q, e.qHeads, e.head);
  const [kvHeads, kDims] = parts(K, e.kvHeads, e.head);
  const [vHeads, vDims] = parts(V, e.kvHeads, e.vHead);
  op.same(kvHeads, vHeads);
  const queries = exactDiv(e.qHeads, e.kvHeads);
  if (queries === undefined) freezeAxes(op, [qHeads, kvHeads], "its heads are shared in a way that cannot be followed");
  else op.same(qHeads, queries === 1 ? kvHeads : op.prod([kvHeads, op.atom(queries)]));
  op.same(qDims, kDims);
  for (const dims of [qDims, vDims]) op.balance([dims], "the heads of Attention have equally many dims");
  const summed = (heads: Dim, dims: Axis): Axis => (packed ? op.prod([op.fixed(heads, "heads"), dims]) : dims);
  // The default scale is 1/√d of the whole head: the oracle sets what left to 0 rather than take it out.
  const axis = packed ? 2 : 3;
  op.contract(
    { input: 0, axis, over: summed(e.qHeads, qDims), zero: true },
    { input: 1, axis, over: summed(e.kvHeads, kDims), zero: true },
  );
  const steps = packed ? 1 : 2;
  const [batch, qSteps] = [Q[0] as Axis, Q[steps] as Axis];
  op.same(batch, K[0] as Axis);
  op.same(batch, V[0] as Axis);
  freezeAxes(op, [qSteps, K[steps] as Axis, V[steps] as Axis], "Attention runs along it");
  maskAxes(op, batch, qHeads);
  const total = op.fixed(e.total, "Attention runs along it");
  const cache = (dims: Axis): readonly Axis[] => [batch, kvHeads, total, dims];
  for (const [i, dims] of [
    [4, kDims],
    [5, vDims],
  ] as const) {
    if (!op.has(i)) continue;
    const [pastBatch, pastHeads, pastSteps, pastDims] = op.in(i) as [Axis, Axis, Axis, Axis];
    op.same(batch, pastBatch);
    op.same(kvHeads, pastHeads);
    op.freeze(pastSteps, "Attention runs along it");
    op.same(dims, pastDims);
  }
  if (op.has(6)) op.same(batch, op.in(6)[0] as Axis);
  op.out(0, packed ? [batch, qSteps, op.prod([qHeads, vDims])] : [batch, qHeads, qSteps, vDims]);
  op.out(1, cache(kDims));
  op.out(2, cache(vDims));
  op.out(3, [batch, qHeads, qSteps, total]);
}

/** A mask broadcasts to [batch, heads of Q, steps, total]. */
function maskAxes(op: AxisContext, batch: Axis, heads: Axis): void {
  if (!op.has(3)) return;
  const mask = op.in(3);
  freezeAxes(op, mask.slice(-2), "Attention runs along it");
  const [head, image] = [mask.at(-3), mask.at(-4)];
  if (mask.length > 2 && head) broadcastAxis(op, head, heads);
  if (mask.length > 3 && image) broadcastAxis(op, image, batch);
}

function attentionResize(op: ResizeContext): void {
  const e = extents(op);
  if (!e || !isKnown(e.head)) return;
  const packed = isPacked(op);
  const heads = (input: number, size: number, count: Dim): Dim => {
    const kept = packed ? op.keptIn(input, 2) : undefined;
    return kept ? new Set(kept.map((p) => Math.floor(p / size))).size : count;
  };
  const [q, kv] = [heads(0, e.head, e.qHeads), heads(1, e.head, e.kvHeads)];
  const left = packed ? exactDiv(op.sizeIn(0, 2), q) : op.sizeIn(0, 3);
  // What was removed had scores of 0, under the scale of the head as it was.
  if (op.node.float("scale") === undefined && left !== e.head) op.setAttribute("scale", float(1 / Math.sqrt(e.head)));
  if (packed && isKnown(q) && q !== e.qHeads) op.setAttribute("q_num_heads", int(q));
  if (packed && isKnown(kv) && kv !== e.kvHeads) op.setAttribute("kv_num_heads", int(kv));
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "Attention",
    since: [23, 24, 25],
    inputs: ["Q", "K", "V", "attn_mask?", "past_key?", "past_value?", "nonpad_kv_seqlen?"],
    outputs: ["Y", "present_key?", "present_value?", "qk_matmul_output?"],
    remark: "Counts the products QK and (QK)V, masked or not.",
    infer(op) {
      const [q, k, v] = [op.type(0), op.type(1), op.type(2)];
      const e = extents(op);
      const Y = (): Shape | undefined => {
        if (!e) return undefined;
        return isPacked(op) ? [e.batch, e.steps, mul(e.qHeads, e.vHead)] : [e.batch, e.qHeads, e.steps, e.vHead];
      };
      const cache = (e: Extents, size: Dim): Shape => [e.batch, e.kvHeads, e.total, size];
      return [
        q && tensorOf(q.dtype, Y()),
        k && tensorOf(k.dtype, e && cache(e, e.head)),
        v && tensorOf(v.dtype, e && cache(e, e.vHead)),
        q && tensorOf(q.dtype, e && [e.batch, e.qHeads, e.steps, e.total]),
      ];
    },
    axes: attentionAxes,
    resize: attentionResize,
    macs(op) {
      const e = extents(op);
      return e ? product([e.batch, e.qHeads, e.steps, e.total, add(e.head, e.vHead)]) : unknownMacs(op.node);
    },
  }),
];
