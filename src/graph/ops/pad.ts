/** Pad (onnx/docs/Operators.md#Pad). Negative pads crop; with other modes than constant such a node is not evaluated, for the specification does not say which comes first. */

import { ints } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { ResizeContext } from "../coupling/resize.js";
import { add, type Dim, isKnown } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { rearrange, sizeOf, stridesOf, unravel } from "../rearrange.js";
import { Tensor } from "../tensor.js";
import { frontAxis, hasInput, knownContent, mismatch, noMacs, type Shape, tensorOf } from "./shape-rules.js";

const pad = defineOp({
  type: "Pad",
  since: [2, 11, 13, 18, 19, 21, 23, 24, 25],
  inputs: ["data", "pads", "constant_value?", "axes?"],
  outputs: ["output"],

  infer(op) {
    const data = op.type(0);
    if (!data) return [undefined];
    const { shape } = data;
    if (!shape) return [tensorOf(data.dtype, undefined)];
    const pads = padsOf(op, shape.length, op.opset < 11 ? op.node.ints("pads") : op.content(1), knownContent(op, 3));
    const out = shape.map((d, a) => (pads ? add(add(d, pads.begin[a] as Dim), pads.end[a] as Dim) : op.fresh(0, a)));
    if (out.some((d) => isKnown(d) && d < 0)) throw mismatch(op.node, `pads crop more than there is of data [${shape.join(", ")}].`);
    return [tensorOf(data.dtype, out)];
  },

  moves: [0, 2],
  evaluate(op, [data, padsOperand, fill, axes]) {
    if (!data) return undefined;
    const pads = padsOf(op, data.dims.length, op.opset < 11 ? op.node.ints("pads") : padsOperand?.ints(), axes?.ints());
    const mode = op.node.string("mode", "constant");
    if (!pads?.begin.every(isKnown) || !pads.end.every(isKnown)) return undefined;
    const begin = pads.begin as number[];
    const end = pads.end as number[];
    if (mode !== "constant" && [...begin, ...end].some((p) => p < 0)) return undefined;
    const value = op.opset < 11 ? Tensor.fromNumbers(data.dtype, [], [op.node.float("value", 0)]) : fill;
    const outside = value ? data.size : -1;
    const dims = data.dims.map((d, a) => d + (begin[a] as number) + (end[a] as number));
    const steps = stridesOf(data.dims);
    const positions = new Float64Array(sizeOf(dims));
    for (let k = 0; k < positions.length; k++) {
      let at = 0;
      for (const [a, i] of unravel(k, dims).entries()) {
        const from = sourceIndex(i - (begin[a] as number), data.dims[a] as number, mode);
        if (from === undefined) {
          at = outside;
          break;
        }
        at += from * (steps[a] as number);
      }
      positions[k] = at;
    }
    const out = rearrange(value ? [data, value] : [data], dims, positions);
    return out && [out];
  },

  sizeOperands: [1, 3],
  axes(op) {
    const X = op.in(0);
    const pads = padsOf(op, X.length, op.opset < 11 ? op.node.ints("pads") : op.content(1), knownContent(op, 3));
    const isConstant = op.node.string("mode", "constant") === "constant";
    op.out(
      0,
      X.map((a, k) => {
        const begin = pads?.begin[k];
        const end = pads?.end[k];
        if (begin === 0 && end === 0) return a;
        if (!isConstant || begin === undefined || end === undefined || !isKnown(begin) || !isKnown(end) || !isKnown(a.size)) {
          op.freeze(a, isConstant ? "Pad grows it as a run decides" : "Pad mirrors or repeats it at the border");
          return op.fixed(op.outShape(0)[k] as Dim, "Pad grows it");
        }
        const from = Math.max(0, -begin);
        const to = a.size - Math.max(0, -end);
        if (from >= to) {
          op.freeze(a, "Pad crops all of it");
          return op.fixed(op.outShape(0)[k] as Dim, "Pad crops all of it");
        }
        op.uniform(a);
        const inside = op.cut(
          a,
          [from, to].filter((o) => o > 0 && o < (a.size as number)),
        )[from > 0 ? 1 : 0] as Axis;
        // Padded indices hold a constant and leave with what they are added to.
        return op.sum([...(begin > 0 ? [op.atom(begin)] : []), inside, ...(end > 0 ? [op.atom(end)] : [])]);
      }),
    );
  },
  resize(op) {
    const X = op.shape(0) as Shape;
    const pads = padsOf(op, X.length, op.opset < 11 ? op.node.ints("pads") : op.content(1), knownContent(op, 3));
    if (!pads) return;
    const axes = knownContent(op, 3)?.map((a) => frontAxis(op.node, a, X.length)) ?? X.map((_, a) => a);
    const sized = axes.map((a) => paddingLeft(op, a, pads.begin[a] as Dim, pads.end[a] as Dim));
    const content = [...sized.map((p) => p.begin), ...sized.map((p) => p.end)];
    if (op.opset < 11) op.setAttribute("pads", ints(content as number[]));
    else op.setOperand(1, content);
  },
  macs: noMacs,
});

/** Pads of one axis after indices left: kept padded positions where it grows, kept cropped ones where it shrinks. */
function paddingLeft(op: ResizeContext, axis: number, begin: Dim, end: Dim): { begin: Dim; end: Dim } {
  const extent = (op.shape(0) as Shape)[axis] as Dim;
  if (!isKnown(begin) || !isKnown(end) || !isKnown(extent)) return { begin, end };
  // An axis that is not padded may keep others in every row: it has no positions to ask for.
  if (begin === 0 && end === 0) return { begin, end };
  // Nothing left: the extent may be too large to be listed.
  if (!op.keptIn(0, axis) && !op.keptOut(0, axis)) return { begin, end };
  const kept = op.keptIn(0, axis) ?? Array.from({ length: extent }, (_, i) => i);
  const out = op.keptOut(0, axis) ?? Array.from({ length: extent + begin + end }, (_, i) => i);
  const last = extent + begin;
  return {
    begin: begin >= 0 ? out.filter((p) => p < begin).length : -kept.filter((p) => p < -begin).length,
    end: end >= 0 ? out.filter((p) => p >= last).length : -kept.filter((p) => p >= extent + end).length,
  };
}

/** Pads at the begin and end of every axis; undefined when the operands are not known. */
export function padsOf(
  op: OpContext,
  rank: number,
  pads: Shape | undefined,
  axes: readonly number[] | undefined,
): { begin: Dim[]; end: Dim[] } | undefined {
  if (!pads || (hasInput(op, 3) && !axes)) return undefined;
  const at = axes?.map((a) => frontAxis(op.node, a, rank)) ?? Array.from({ length: rank }, (_, a) => a);
  if (pads.length !== 2 * at.length) throw mismatch(op.node, `pads [${pads.join(", ")}] should have ${2 * at.length} elements.`);
  const begin = new Array<Dim>(rank).fill(0);
  const end = new Array<Dim>(rank).fill(0);
  at.forEach((a, i) => {
    begin[a] = pads[i] as Dim;
    end[a] = pads[i + at.length] as Dim;
  });
  return { begin, end };
}

/** The index that position `i`, possibly outside [0, extent), shows; undefined for the constant. */
function sourceIndex(i: number, extent: number, mode: string): number | undefined {
  if (i >= 0 && i < extent) return i;
  if (mode === "edge") return Math.max(0, Math.min(extent - 1, i));
  if (mode === "wrap") return ((i % extent) + extent) % extent;
  if (mode !== "reflect") return undefined;
  // Without repeating the border: 2 1 | 0 1 2 | 1 0, period 2(extent - 1).
  const period = Math.max(1, 2 * (extent - 1));
  const r = ((i % period) + period) % period;
  return extent === 1 ? 0 : Math.min(r, period - r);
}

export const specs: readonly OpSpec[] = [pad];
