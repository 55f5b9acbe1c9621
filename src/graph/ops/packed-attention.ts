/**
 * Attention that projects its input by the weights of Q, K and V side by side (com.microsoft): Attention, and QAttention on
 * quantised numbers. Heads may leave, and dims of Q and K or of V inside them. Not evaluated.
 */
import { int, ints } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext, Slot } from "../coupling/context.js";
import type { ResizeContext } from "../coupling/resize.js";
import { add, type Dim, exactDiv, isKnown, product } from "../dim.js";
import type { DType } from "../dtype.js";
import { type CostContext, defineOp, type OpContext, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { biasAxes, freezeInputs, keepScale, keptHeads, positionsOf, SEQUENCE, splitHeads } from "./heads.js";
import { mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

/** Where an operator has its operands, by input position. */
interface Operands {
  readonly bias: number;
  /** Scale and zero point of the weights, of quantised forms. */
  readonly quantisation?: { readonly scale: number; readonly zero: number };
  readonly mask: number;
  readonly past: number;
  readonly attentionBias?: number;
}

/** Hidden sizes of Q, K and V; undefined while the weights' extent is unknown. */
function hiddenSizes(op: OpContext): readonly [Dim, Dim, Dim] | undefined {
  const stated = op.node.ints("qkv_hidden_sizes");
  if (stated?.length === 3) return stated as unknown as [number, number, number];
  const third = op.shape(1)?.[1] !== undefined ? exactDiv(op.shape(1)?.[1] as Dim, 3) : undefined;
  return third === undefined ? undefined : [third, third, third];
}

/** Positions attended to: those of the input behind those of the past. */
function total(op: OpContext, operands: Operands): Dim | undefined {
  const S = op.shape(0)?.[1];
  if (S === undefined || !op.node.inputs[operands.past]) return S;
  const P = op.shape(operands.past)?.[3];
  return P === undefined ? undefined : add(S, P);
}

function presentShape(op: OpContext, operands: Operands): Shape | undefined {
  const past = op.shape(operands.past);
  if (op.node.int("past_present_share_buffer", 0) !== 0) return past;
  const batch = op.shape(0)?.[0];
  const positions = total(op, operands);
  const heads = op.node.int("num_heads", 0);
  const K = hiddenSizes(op)?.[1];
  const size = past?.[4] ?? (K === undefined ? undefined : exactDiv(K, heads));
  return batch === undefined || positions === undefined || size === undefined ? undefined : [2, batch, heads, positions, size];
}

function outputShape(op: OpContext): Shape | undefined {
  const { node } = op;
  const X = op.shape(0);
  const W = op.shape(1);
  if (!X) return undefined;
  if (W) sameExtent(node, X[2] as Dim, W[0] as Dim, "input's last axis and the rows of weights");
  const sizes = hiddenSizes(op);
  if (!sizes) return undefined;
  const heads = node.int("num_heads", 0);
  if (W) sameExtent(node, add(add(sizes[0], sizes[1]), sizes[2]), W[1] as Dim, "hidden sizes of Q, K and V and the columns of weights");
  for (const n of sizes)
    if (isKnown(n) && n % heads !== 0) throw mismatch(node, `a hidden size of ${n} does not divide into ${heads} heads.`);
  return [X[0] as Dim, X[1] as Dim, sizes[2]];
}

function attentionMacs(op: CostContext, operands: Operands): Dim {
  const X = op.shape(0);
  const sizes = hiddenSizes(op);
  const T = total(op, operands);
  if (!X || !sizes || T === undefined) return unknownMacs(op.node);
  const [N, S, D] = X as [Dim, Dim, Dim];
  const projections = product([N, S, D, add(add(sizes[0], sizes[1]), sizes[2])]);
  return add(projections, product([N, S, T, add(sizes[0], sizes[2])]));
}

function attentionAxes(op: AxisContext, operands: Operands): void {
  const { bias, quantisation, mask, past, attentionBias } = operands;
  const X = op.in(0);
  const W = op.in(1);
  const count = op.node.int("num_heads", 0);
  const sizes = hiddenSizes(op);
  if (op.node.int("do_rotary", 0) !== 0)
    return op.barrier("ONNX Runtime turns pairs of dims inside it on GPUs only: a removal could not be proven");
  if (quantisation && op.has(quantisation.zero) && !op.constant(quantisation.zero))
    return op.barrier("what stands for 0 in its weights is known only at run time");
  const columns = W[1] as Axis;
  if (!sizes?.every(isKnown) || !isKnown(columns.size)) return op.barrier("the hidden sizes of Q, K and V are unknown");
  const [nQ, nK, nV] = sizes as readonly [number, number, number];
  op.same(X[2] as Axis, W[0] as Axis);
  op.contract({ input: 0, axis: 2 }, { input: 1, axis: 0 });
  op.freeze(X[1] as Axis, SEQUENCE);
  const perColumn = [bias, ...(quantisation ? [quantisation.scale, quantisation.zero] : [])];
  for (const i of perColumn) {
    const [v] = op.has(i) ? op.in(i) : [];
    if (v && v.size !== 1) op.same(v, columns);
  }
  const [Q, K, V] = op.cut(columns, [nQ, nQ + nK]) as [Axis, Axis, Axis];
  const [q, k, v] = [splitHeads(op, Q, count, nQ / count), splitHeads(op, K, count, nK / count), splitHeads(op, V, count, nV / count)];
  op.same(q.heads, k.heads);
  op.same(q.heads, v.heads);
  op.same(q.dims, k.dims);
  if (op.has(past) || op.node.outputs[1]) op.same(k.dims, v.dims);
  else if (quantisation) op.balance([k.dims, v.dims], `${op.node.opType} has Q, K and V of one size`);

  // Q·K' sums over dims inside the operator: what leaves is silenced before it.
  op.contract(...silenced(op, operands).map((slot): Slot => ({ ...slot, over: q.dims, zero: true })));

  freezeInputs(op, [mask], "it is a mask");
  if (attentionBias !== undefined) biasAxes(op, attentionBias, q.heads);
  if (op.has(past)) {
    const P = op.in(past) as readonly [Axis, Axis, Axis, Axis, Axis];
    freezeAxes(op, [P[0], P[3]], SEQUENCE);
    op.same(P[1], X[0] as Axis);
    op.same(P[2], k.heads);
    op.same(P[4], k.dims);
  }
  op.out(0, [X[0] as Axis, X[1] as Axis, V]);
  op.out(1, [op.fixed(2, "it counts keys and values"), X[0] as Axis, k.heads, positionsOf(op, 1, 3), k.dims]);
}

/** The operands whose zeros at a column make Q and K zero there. */
function silenced(op: AxisContext, { bias, quantisation }: Operands): Slot[] {
  const added = op.has(bias) ? [{ input: bias, axis: 0 }] : [];
  if (!quantisation) return [{ input: 1, axis: 1 }, ...added];
  const { scale, zero } = quantisation;
  if ((op.shape(scale) ?? []).some((n) => n !== 1)) return [{ input: scale, axis: 0 }, ...added];
  return [{ input: 1, axis: 1, zeroPoint: zero }, ...added];
}

function attentionResize(op: ResizeContext): void {
  const kept = op.keptIn(1, 1);
  if (!kept) return;
  const [nQ, nK, nV] = hiddenSizes(op) as [number, number, number];
  const count = op.node.int("num_heads", 0);
  const size = nQ / count;
  const q = keptHeads(
    kept.filter((p) => p < nQ),
    size,
  );
  const v = keptHeads(
    kept.filter((p) => p >= nQ + nK),
    nV / count,
    nQ + nK,
  );
  if (q.heads !== count) op.setAttribute("num_heads", int(q.heads));
  keepScale(op, size, q.size);
  const isStated = op.node.attributes.has("qkv_hidden_sizes");
  if (isStated || q.size !== v.size) op.setAttribute("qkv_hidden_sizes", ints([q.size, q.size, v.size].map((n) => n * q.heads)));
}

interface Row extends Pick<OpSpec, "type" | "inputs" | "outputs" | "ranks" | "remark"> {
  readonly operands: Operands;
  readonly dtype: (op: OpContext) => DType | undefined;
}

const rows: readonly Row[] = [
  {
    type: "Attention",
    inputs: ["input", "weights", "bias?", "mask_index?", "past?", "attention_bias?", "past_sequence_length?"],
    outputs: ["output", "present?"],
    ranks: { 0: 3, 1: 2, 2: 1, 4: 5 },
    operands: { bias: 2, mask: 3, past: 4, attentionBias: 5 },
    dtype: (op) => op.type(0)?.dtype ?? op.type(1)?.dtype,
  },
  {
    type: "QAttention",
    inputs: ["input", "weight", "bias", "input_scale", "weight_scale", "mask_index?", "input_zero_point?", "weight_zero_point?", "past?"],
    outputs: ["output", "present?"],
    ranks: { 0: 3, 1: 2, 2: 1, 4: [0, 1], 7: [0, 1], 8: 5 },
    operands: { bias: 2, quantisation: { scale: 4, zero: 7 }, mask: 5, past: 8 },
    dtype: (op) => op.type(2)?.dtype ?? op.type(3)?.dtype,
  },
];

export const specs: readonly OpSpec[] = rows.map(({ operands, dtype, ...row }) =>
  defineOp({
    ...row,
    domain: "com.microsoft",
    since: [1],
    infer(op) {
      const of = dtype(op);
      return [of && tensorOf(of, outputShape(op)), of && tensorOf(of, presentShape(op, operands))];
    },
    axes: (op) => attentionAxes(op, operands),
    resize: attentionResize,
    macs: (op) => attentionMacs(op, operands),
  }),
);
