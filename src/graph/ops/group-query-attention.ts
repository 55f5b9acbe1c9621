/**
 * GroupQueryAttention (com.microsoft): every head of K and V serves a group of heads of Q. What may leave: a head of K and V with
 * its group, a place within all groups, and blocks of dims, as many of V as of Q and K, since the operator knows one size.
 * Not evaluated.
 */
import { int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import type { ResizeContext } from "../coupling/resize.js";
import { add, type Dim, exactDiv, isKnown, mul, product } from "../dim.js";
import { type CostContext, defineOp, type InferContext, type OpContext, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { biasAxes, cacheAxes, freezeInputs, keepScale, keptHeads, positionsOf, SEQUENCE } from "./heads.js";
import { pairsOf } from "./rotary-embedding-contrib.js";
import { mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

/** ONNX Runtime takes heads of a multiple of 8 dims, of 16 where they are turned (8 pairs each). */
const DIMS = 8;
const TURNED_DIMS = 16;
const PAIRS = 8;

interface Extents {
  readonly batch: Dim;
  readonly S: Dim;
  readonly heads: number;
  readonly kvHeads: number;
  readonly size: Dim;
  readonly isPacked: boolean;
}

function extents(op: OpContext): Extents | undefined {
  const { node } = op;
  const Q = op.shape(0);
  if (!Q) return undefined;
  const heads = node.int("num_heads", 0);
  const kvHeads = node.int("kv_num_heads", 0);
  const isPacked = node.inputs[1] === undefined;
  if (isPacked !== (node.inputs[2] === undefined)) throw mismatch(node, "key and value should both be there, or both lie in query.");
  const size = exactDiv(Q[2] as Dim, isPacked ? heads + 2 * kvHeads : heads);
  if (size === undefined || heads % kvHeads !== 0) return undefined;
  const K = op.shape(1);
  if (K) sameExtent(node, mul(size, kvHeads), K[2] as Dim, "kv_num_heads times the size of a head and key's last axis");
  return { batch: Q[0] as Dim, S: Q[1] as Dim, heads, kvHeads, size, isPacked };
}

/** [batch, kv heads, positions, size]: as long as the past, where that is a longer buffer. */
function presentShape(op: InferContext, past: number, output: number): Shape | undefined {
  const e = extents(op);
  if (!e) return undefined;
  const total = op.content(6)?.[0];
  const P = op.node.inputs[past] ? op.shape(past)?.[2] : 0;
  const T = P === 0 ? total : isKnownPair(P, total) ? Math.max(P as number, total as number) : undefined;
  return [e.batch, e.kvHeads, T ?? op.fresh(output, 2), e.size];
}

function isKnownPair(a: Dim | undefined, b: Dim | undefined): boolean {
  return a !== undefined && b !== undefined && isKnown(a) && isKnown(b);
}

function attentionAxes(op: AxisContext): void {
  const e = extents(op);
  if (!e || !isKnown(e.size)) return op.barrier("the number of heads, or their size, is unknown");
  if ([12, 13].some((i) => op.has(i))) return op.barrier("its caches are quantised");
  if ([14, 15].some((i) => op.has(i))) return op.barrier("it normalises over the dims of every head");
  const { size, kvHeads } = e;
  const group = e.heads / kvHeads;
  const [batch, S, hidden] = op.in(0) as [Axis, Axis, Axis];
  const whole = [e.heads * size, kvHeads * size, kvHeads * size] as const;
  const [Q, K, V] = (e.isPacked ? op.cut(hidden, [whole[0], whole[0] + whole[1]]) : [hidden, op.in(1)[2], op.in(2)[2]]) as [
    Axis,
    Axis,
    Axis,
  ];
  for (const i of [1, 2]) {
    if (!op.has(i)) continue;
    op.same(op.in(i)[0] as Axis, batch);
    op.freeze(op.in(i)[1] as Axis, SEQUENCE);
  }
  op.freeze(S, SEQUENCE);
  const [kv, place, d] = op.split(Q, [kvHeads, group, size]) as [Axis, Axis, Axis];
  const [kHeads, kDims] = op.split(K, [kvHeads, size]) as [Axis, Axis];
  const [vHeads, vDims] = op.split(V, [kvHeads, size]) as [Axis, Axis];
  op.same(kv, kHeads);
  op.same(kv, vHeads);
  op.same(d, kDims);
  blockDims(op, d, vDims);
  op.balance([place], "GroupQueryAttention has groups of one size");
  op.balance([d, vDims], "GroupQueryAttention has Q, K and V of one size");
  // Q·K' sums over dims inside the operator: what leaves is silenced before it.
  op.contract({ input: 0, axis: 2, over: d, zero: true }, ...(e.isPacked ? [] : [{ input: 1, axis: 2, over: d, zero: true }]));

  const heads = op.prod([kv, place]);
  cacheAxes(op, 3, batch, { heads: kv, dims: d });
  cacheAxes(op, 4, batch, { heads: kv, dims: vDims });
  freezeInputs(op, [5, 6, 9], "it says lengths or positions");
  biasAxes(op, 10, heads);
  if (op.has(11)) op.same(op.in(11)[0] as Axis, heads);
  op.out(0, [batch, S, op.prod([kv, place, vDims])]);
  op.out(1, [batch, kv, positionsOf(op, 1, 2), d]);
  op.out(2, [batch, kv, positionsOf(op, 2, 2), vDims]);
  op.out(3, [batch, heads, S, positionsOf(op, 3, 3)]);
}

/** Lets dims leave in the blocks that keep the size of a head one that the operator takes. */
function blockDims(op: AxisContext, d: Axis, vDims: Axis): void {
  const turns = op.node.int("do_rotary", 0) !== 0;
  const inBlocks = (a: Axis, block: number) => {
    if ((a.size as number) % block !== 0) return op.freeze(a, `ONNX Runtime takes heads of a multiple of ${block} dims`);
    const within = op.fixed(block, `ONNX Runtime takes heads of a multiple of ${block} dims: they leave in blocks`);
    return op.same(a, op.prod([op.atom((a.size as number) / block), within]));
  };
  inBlocks(vDims, turns ? TURNED_DIMS : DIMS);
  const caches = [7, 8].filter((i) => op.has(i)).map((i) => op.in(i));
  for (const c of caches) op.freeze(c[0] as Axis, "positions are looked up along it");
  if (!turns) {
    for (const c of caches) freezeAxes(op, c, "it is not used");
    return inBlocks(d, DIMS);
  }
  if (caches.length !== 2 || !caches.every((c) => isKnown((c[1] as Axis).size))) return op.freeze(d, "the number of pairs is unknown");
  const { pairs, rest } = pairsOf(
    op,
    d,
    caches.map((c) => c[1] as Axis),
    op.node.int("rotary_interleaved", 0) !== 0,
  );
  inBlocks(pairs, PAIRS);
  if (rest) inBlocks(rest, TURNED_DIMS);
}

function attentionResize(op: ResizeContext): void {
  const e = extents(op);
  const kept = op.keptIn(0, 2);
  if (!e || !kept) return;
  const size = e.size as number;
  const end = e.heads * size;
  const q = keptHeads(e.isPacked ? kept.filter((p) => p < end) : kept, size);
  const kvKept = e.isPacked ? kept.filter((p) => p >= end && p < end + e.kvHeads * size) : op.keptIn(1, 2);
  const kvHeads = kvKept ? keptHeads(kvKept, size, e.isPacked ? end : 0).heads : e.kvHeads;
  if (q.heads !== e.heads) op.setAttribute("num_heads", int(q.heads));
  if (kvHeads !== e.kvHeads) op.setAttribute("kv_num_heads", int(kvHeads));
  keepScale(op, size, q.size);
}

function attentionMacs(op: CostContext): Dim {
  const e = extents(op);
  const T = op.outputShape(1)?.[2] ?? op.content(6)?.[0];
  return e && T !== undefined ? product([e.batch, e.heads, e.S, T, add(e.size, e.size)]) : unknownMacs(op.node);
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "GroupQueryAttention",
    domain: "com.microsoft",
    since: [1],
    inputs: [
      "query",
      "key?",
      "value?",
      "past_key?",
      "past_value?",
      "seqlens_k",
      "total_sequence_length",
      "cos_cache?",
      "sin_cache?",
      "position_ids?",
      "attention_bias?",
      "head_sink?",
      "k_scale?",
      "v_scale?",
      "q_norm_weight?",
      "k_norm_weight?",
    ],
    outputs: ["output", "present_key?", "present_value?", "output_qk?"],
    ranks: { 0: 3, 1: 3, 2: 3, 3: 4, 4: 4, 7: 2, 8: 2, 11: 1 },
    remark: "Dims leave in blocks of 8, or of 8 pairs, as ONNX Runtime asks. Counts every position of the caches.",
    infer(op) {
      const dtype = op.type(0)?.dtype;
      if (!dtype) return [];
      const e = extents(op);
      const cache = (past: number, output: number) => tensorOf(op.type(past)?.dtype ?? dtype, presentShape(op, past, output));
      const T = op.content(6)?.[0];
      return [
        tensorOf(dtype, e && [e.batch, e.S, mul(e.heads, e.size)]),
        cache(3, 1),
        cache(4, 2),
        tensorOf(dtype, e && [e.batch, e.heads, e.S, T ?? op.fresh(3, 3)]),
      ];
    },
    axes: attentionAxes,
    resize: attentionResize,
    macs: attentionMacs,
  }),
];
