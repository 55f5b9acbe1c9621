/** Attention heads: hidden = heads × dims, row-major. What the fused attention operators of com.microsoft say of them alike. */
import { internal } from "../../errors.js";
import { float } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import type { ResizeContext } from "../coupling/resize.js";
import { freezeAxes } from "./axis-rules.js";

/** Why positions of a sequence stay. */
export const SEQUENCE = "attention normalises over the positions of the sequence";

/** The two factors of a hidden axis. */
export interface Heads {
  readonly heads: Axis;
  readonly dims: Axis;
}

/** `hidden` as heads × dims. */
export function splitHeads(op: AxisContext, hidden: Axis, heads: number, size: number): Heads {
  const [h, d] = op.split(hidden, [heads, size]) as [Axis, Axis];
  op.balance([d], `the heads of ${op.node.opType} have equally many dims`);
  return { heads: h, dims: d };
}

/**
 * The part of a hidden axis that Q·K' sums over: the dims, whatever becomes of the heads. Nothing can be gathered inside the
 * operator, so that slots over it say `zero`.
 */
export function dimsOf(op: AxisContext, { heads, dims }: Heads): Axis {
  return op.prod([op.fixed(heads.size, "every head sums its own dims"), dims]);
}

/** An attention_bias [batch or 1, heads or 1, sequence, total]: its heads go with `heads`. */
export function biasAxes(op: AxisContext, input: number, heads: Axis): void {
  if (!op.has(input)) return;
  op.in(input).forEach((a, k) => {
    if (k === 1 && a.size === heads.size) op.same(a, heads);
    else op.freeze(a, SEQUENCE);
  });
}

/** Masks, lengths and positions: read as they are. */
export function freezeInputs(op: AxisContext, inputs: readonly number[], why: string): void {
  for (const i of inputs) if (op.has(i)) freezeAxes(op, op.in(i), why);
}

/** A cache [batch, heads, positions, dims]. */
export function cacheAxes(op: AxisContext, input: number, batch: Axis, { heads, dims }: Heads): void {
  if (!op.has(input)) return;
  const [n, h, p, d] = op.in(input) as [Axis, Axis, Axis, Axis];
  op.same(n, batch);
  op.same(h, heads);
  op.freeze(p, SEQUENCE);
  op.same(d, dims);
}

/** The axis of positions of an output that may be absent. */
export function positionsOf(op: AxisContext, output: number, axis: number): Axis {
  return op.fixed((op.node.outputs[output] && op.outShape(output)[axis]) ?? 1, SEQUENCE);
}

/** How many heads, and how many dims in each, are left of `size` dims per head; `kept`: positions, counted from `from`. */
export function keptHeads(kept: readonly number[], size: number, from = 0): { readonly heads: number; readonly size: number } {
  const heads = new Set(kept.map((p) => Math.floor((p - from) / size))).size;
  if (heads === 0 || kept.length % heads !== 0) throw internal(`${kept.length} positions are kept of ${heads} heads.`);
  return { heads, size: kept.length / heads };
}

/**
 * The scale on Q·K' that was 1/√size by default is stated once a head has another size: dims that leave take their terms along,
 * they do not sharpen the others'.
 */
export function keepScale(op: ResizeContext, size: number, left: number): void {
  if (left !== size && op.node.float("scale", 0) === 0) op.setAttribute("scale", float(Math.fround(1 / Math.fround(Math.sqrt(size)))));
}
