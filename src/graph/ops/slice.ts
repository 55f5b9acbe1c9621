/** Slice (onnx/docs/Operators.md#Slice). A symbolic extent is taken to be large enough for a start, or an end counted from the back, to lie inside it. */

import { ints } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import { add, ceilDiv, type Dim, isKnown, sub } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { rearrange, strided, stridesOf } from "../rearrange.js";
import { followPick } from "./axis-rules.js";
import { smaller } from "./content-algebra.js";
import { frontAxis, hasInput, knownContent, mismatch, noMacs, type Shape, tensorOf } from "./shape-rules.js";

/** Exporters write "to the end" as INT64_MAX, INT32_MAX or 2^62: beyond any extent. */
const BEYOND = 2 ** 31 - 1;

/** What a Slice asks of one axis. */
interface Cut {
  readonly start: Dim;
  readonly end: Dim;
  readonly step: number;
}

const slice = defineOp({
  type: "Slice",
  since: [1, 10, 11, 13],
  inputs: ["data", "starts", "ends", "axes?", "steps?"],
  outputs: ["output"],

  infer(op) {
    const data = op.type(0);
    if (!data) return [undefined];
    const { shape } = data;
    if (!shape) return [tensorOf(data.dtype, undefined)];
    const { axes, cuts } = cutsOf(op, shape.length);
    // Without axes every extent may have shrunk.
    if (!axes)
      return [
        tensorOf(
          data.dtype,
          shape.map((_, a) => op.fresh(0, a)),
        ),
      ];
    const out = shape.map((d, a): Dim => {
      const at = axes.indexOf(a);
      if (at < 0) return d;
      const cut = cuts?.[at];
      return cut ? extentOf(d, cut) : op.fresh(0, a);
    });
    return [tensorOf(data.dtype, out)];
  },

  moves: [0],
  evaluate(op, [data, ...operands]) {
    if (!data) return undefined;
    const steps = stridesOf(data.dims);
    const dims = [...data.dims];
    let offset = 0;
    const { axes, cuts } = cutsOf(
      op,
      dims.length,
      operands.map((t) => t?.ints()),
    );
    if (!axes || !cuts) return undefined;
    for (const [i, a] of axes.entries()) {
      const cut = cuts[i] as Cut;
      const extent = data.dims[a] as number;
      dims[a] = extentOf(extent, cut) as number;
      const stride = steps[a] as number;
      offset += stride * firstOf(extent, cut);
      steps[a] = stride * cut.step;
    }
    const out = rearrange([data], dims, strided(dims, steps, offset));
    return out && [out];
  },

  sizeOperands: [1, 2, 3, 4],
  axes(op) {
    const X = op.in(0);
    const { axes, cuts } = cutsOf(op, X.length);
    if (!axes) return op.barrier("the axes it cuts are computed at run time");
    let out: Axis[] = [...X];
    for (const [at, k] of axes.entries()) {
      const a = out[k] as Axis;
      const size = op.outShape(0)[k] as Dim;
      const cut = cuts?.[at];
      const picked = cut && pickedBy(a.size, cut);
      if (picked) {
        if (picked.length === a.size && picked.every((p, i) => p === i)) continue;
        const made = picked.length > 0 ? op.pick(a, picked) : op.fixed(0, "Slice takes nothing of it");
        if (picked.length > 0) out = followPick(op, out, k, picked, made);
        out[k] = made;
        continue;
      }
      // Everything, symbolically: x[:, 0:] of an extent N.
      if (size === a.size && cut?.step === 1) continue;
      op.freeze(a, "Slice cuts it where only a run can tell");
      out[k] = op.fixed(size, "Slice cuts it where only a run can tell");
    }
    return op.out(0, out);
  },
  resize(op) {
    const rank = (op.shape(0) as Shape).length;
    const { axes, cuts } = cutsOf(op, rank);
    if (!axes || !cuts) return;
    const next = cuts.map((cut, i): Cut => {
      const axis = axes[i] as number;
      const kept = op.keptIn(0, axis);
      const out = op.keptOut(0, axis);
      const picked = pickedBy((op.shape(0) as Shape)[axis] as Dim, cut);
      if ((!kept && !out) || !picked) return cut;
      const position = new Map((kept ?? range((op.shape(0) as Shape)[axis] as number)).map((index, p) => [index, p]));
      const wanted = (out ?? range(picked.length)).map((o) => position.get(picked[o] as number) as number);
      if (wanted.length === 0) return { start: 0, end: 0, step: 1 };
      const regular = regularCut(wanted);
      if (regular) return regular;
      op.gatherInput(0, axis, wanted);
      return { start: 0, end: wanted.length, step: 1 };
    });
    if (op.opset < 10) {
      op.setAttribute("starts", ints(next.map((c) => c.start as number)));
      op.setAttribute("ends", ints(next.map((c) => c.end as number)));
      return;
    }
    op.setOperand(
      1,
      next.map((c) => c.start),
    );
    op.setOperand(
      2,
      next.map((c) => c.end),
    );
    if (hasInput(op, 4))
      op.setOperand(
        4,
        next.map((c) => c.step),
      );
  },
  macs: noMacs,
});

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Longer axes are not followed index by index. */
const LARGEST_PICKED = 2 ** 20;

/** Positions that `cut` reads of an extent, in order; undefined unless all are numbers. */
function pickedBy(extent: Dim, cut: Cut): number[] | undefined {
  if (!isKnown(extent) || !isKnown(cut.start) || !isKnown(cut.end) || extent > LARGEST_PICKED) return undefined;
  const first = firstOf(extent, cut);
  return Array.from({ length: extentOf(extent, cut) as number }, (_, i) => first + i * cut.step);
}

/** Start, end and step that read just these positions; undefined when they are not evenly spaced (or a step is needed where none was). */
function regularCut(positions: readonly number[]): Cut | undefined {
  const first = positions[0] as number;
  if (positions.length === 1) return { start: first, end: first + 1, step: 1 };
  const step = (positions[1] as number) - first;
  if (step === 0 || positions.some((p, i) => p !== first + i * step)) return undefined;
  const end = first + positions.length * step;
  // A negative end would count from the back: "past the front" is spelled with the smallest number of the narrowest type.
  return { start: first, end: end < 0 ? -(2 ** 31) : end, step };
}

/** The axes a node cuts and how; `cuts` undefined when starts, ends or steps are not known. `operands` replace inputs 1 to 4. */
export function cutsOf(
  op: OpContext,
  rank: number,
  operands?: readonly (readonly number[] | undefined)[],
): { readonly axes: readonly number[] | undefined; readonly cuts: readonly Cut[] | undefined } {
  const byAttribute = op.opset < 10;
  const content = (i: number): Shape | undefined => (operands ? operands[i - 1] : op.content(i));
  const starts = byAttribute ? op.node.ints("starts", []) : content(1);
  const ends = byAttribute ? op.node.ints("ends", []) : content(2);
  const given = byAttribute ? op.node.ints("axes") : operands ? operands[2] : knownContent(op, 3);
  const count = starts?.length ?? ends?.length ?? op.shape(1)?.[0];
  const isDefault = byAttribute ? !given : !hasInput(op, 3);
  const axes = isDefault && count !== undefined && isKnown(count) ? Array.from({ length: count }, (_, a) => a) : given;
  const front = axes?.map((a) => frontAxis(op.node, a, rank));
  if (!front || !starts || !ends) return { axes: front, cuts: undefined };
  if (starts.length !== front.length || ends.length !== front.length) {
    throw mismatch(
      op.node,
      `starts, ends and axes should be equally long, but have ${starts.length}, ${ends.length} and ${front.length} elements.`,
    );
  }
  const steps = !byAttribute && hasInput(op, 4) ? content(4) : starts.map(() => 1);
  if (steps?.includes(0)) throw mismatch(op.node, "a step is 0.");
  if (!steps?.every(isKnown)) return { axes: front, cuts: undefined };
  return { axes: front, cuts: front.map((_, i) => ({ start: starts[i] as Dim, end: ends[i] as Dim, step: steps[i] as number })) };
}

/** The extent that `cut` leaves of `extent`. */
export function extentOf(extent: Dim, cut: Cut): Dim {
  const { start, end, step } = cut;
  if (isKnown(extent) && isKnown(start) && isKnown(end)) return Math.max(0, Math.ceil((lastOf(extent, cut) - firstOf(extent, cut)) / step));
  const length =
    step > 0 ? sub(forwardEnd(extent, end), fromFront(extent, start)) : sub(backwardStart(extent, start), backwardEnd(extent, end));
  const count = ceilDiv(length, Math.abs(step));
  return isKnown(count) ? Math.max(0, count) : count;
}

/** Numeric start, counted from the front and clamped as the specification says. */
function firstOf(extent: number, { start, step }: Cut): number {
  const s = start as number;
  return clamp(s < 0 ? s + extent : s, 0, step > 0 ? extent : extent - 1);
}

function lastOf(extent: number, { end, step }: Cut): number {
  const e = end as number;
  const fromStart = e < 0 ? e + extent : e;
  return step > 0 ? clamp(fromStart, 0, extent) : clamp(fromStart, -1, extent - 1);
}

function clamp(x: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, x));
}

function fromFront(extent: Dim, at: Dim): Dim {
  if (!isKnown(at) || at >= 0) return at;
  return at <= -BEYOND ? 0 : add(extent, at);
}

function forwardEnd(extent: Dim, end: Dim): Dim {
  if (isKnown(end) && end < 0) return fromFront(extent, end);
  if (isKnown(end) && end >= BEYOND) return extent;
  // A known end may lie beyond the extent: x[:, :100] of a shorter x is all of x.
  return smaller(end, extent);
}

function backwardStart(extent: Dim, start: Dim): Dim {
  if (isKnown(start) && start < 0) return fromFront(extent, start);
  return isKnown(start) && start >= BEYOND ? sub(extent, 1) : smaller(start, sub(extent, 1));
}

function backwardEnd(extent: Dim, end: Dim): Dim {
  return isKnown(end) && end <= -BEYOND ? -1 : fromFront(extent, end);
}

export const specs: readonly OpSpec[] = [slice];
