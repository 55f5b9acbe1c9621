/** Split (onnx/docs/Operators.md#Split). */

import { ints } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import { ceilDiv, type Dim, exactDiv, floorDiv, isKnown, mul, sub } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { rearrange, strided, stridesOf } from "../rearrange.js";
import { followPick } from "./axis-rules.js";
import { frontAxis, hasInput, mismatch, noMacs, type Shape, tensorOf } from "./shape-rules.js";

const split = defineOp({
  type: "Split",
  since: [1, 2, 11, 13, 18],
  inputs: ["input", "split?"],
  outputs: ["outputs..."],

  infer(op) {
    const input = op.type(0);
    const outputs = op.node.outputs;
    if (!input) return outputs.map(() => undefined);
    const { shape } = input;
    if (!shape) return outputs.map(() => tensorOf(input.dtype, undefined));
    const axis = frontAxis(op.node, op.node.int("axis", 0), shape.length);
    const sizes = sizesOf(op, shape[axis] as Dim, op.content(1));
    return outputs.map((_, i) =>
      tensorOf(
        input.dtype,
        shape.map((d, a) => (a === axis ? (sizes?.[i] ?? op.fresh(i, a)) : d)),
      ),
    );
  },

  moves: [0],
  evaluate(op, [input, split]) {
    if (!input) return undefined;
    const axis = frontAxis(op.node, op.node.int("axis", 0), input.dims.length);
    const sizes = sizesOf(op, input.dims[axis] as number, split?.ints());
    if (!sizes?.every(isKnown)) return undefined;
    const steps = stridesOf(input.dims);
    let start = 0;
    const out = (sizes as number[]).map((size) => {
      const dims = input.dims.map((d, a) => (a === axis ? size : d));
      const part = rearrange([input], dims, strided(dims, steps, start * (steps[axis] as number)));
      start += size;
      return part;
    });
    return out.every((t) => t !== undefined) ? out : undefined;
  },

  sizeOperands: [1],
  axes(op) {
    const X = op.in(0);
    const axis = frontAxis(op.node, op.node.int("axis", 0), X.length);
    const sizes = op.node.outputs.map((_, i) => op.outShape(i)[axis] as Dim);
    const whole = X[axis] as Axis;
    let parts: Axis[];
    if (isKnown(whole.size) && sizes.every(isKnown)) {
      let at = 0;
      parts = op.cut(
        whole,
        (sizes as number[]).slice(0, -1).map((n) => (at += n)),
      );
    } else {
      op.freeze(whole, "Split cuts an extent known only at run time");
      parts = sizes.map((n) => op.fixed(n, "Split cuts an extent known only at run time"));
    }
    let start = 0;
    op.node.outputs.forEach((_, i) => {
      const [part, n] = [parts[i] as Axis, sizes[i] as Dim];
      const from = start;
      // A file can claim any extent; only what depends on the axis is followed index by index.
      const follows = isKnown(n) && n > 0 && isKnown(whole.size) && X.some((a) => op.dependsOn(a, whole));
      const others = follows
        ? followPick(
            op,
            X,
            axis,
            Array.from({ length: n }, (_x, p) => from + p),
            part,
          )
        : X;
      if (isKnown(n)) start += n;
      op.out(
        i,
        others.map((a, k) => (k === axis ? part : a)),
      );
    });
  },
  resize(op) {
    const rank = (op.shape(0) as Shape).length;
    const axis = frontAxis(op.node, op.node.int("axis", 0), rank);
    const sizes = op.node.outputs.map((_, i) => op.sizeOut(i, axis));
    if (sizes.every((n, i) => n === op.outShape(i)[axis])) return;
    if (op.opset < 13) op.setAttribute("split", ints(sizes as number[]));
    else {
      // num_outputs and explicit sizes exclude each other.
      op.setAttribute("num_outputs", undefined);
      op.setOperand(1, sizes);
    }
  },
  macs: noMacs,
});

/** Extent of each part, by attribute, by input, or equal; undefined when a given input is not known. */
function sizesOf(op: OpContext, extent: Dim, content: Shape | undefined): readonly Dim[] | undefined {
  const count = op.node.outputs.length;
  const given = op.opset < 13 && !(op.opset < 2 && hasInput(op, 1)) ? op.node.ints("split") : content;
  if (given) {
    const known = given.every(isKnown) ? (given as number[]).reduce((a, b) => a + b, 0) : undefined;
    if (given.length !== count || (known !== undefined && isKnown(extent) && known !== extent)) {
      throw mismatch(op.node, `split [${given.join(", ")}] should have ${count} parts that sum to ${extent}.`);
    }
    return given;
  }
  if (hasInput(op, 1)) return undefined;
  if (op.opset >= 18) {
    // The last part takes what is left, which may be less.
    const size = ceilDiv(extent, count);
    const last = sub(extent, mul(size, count - 1));
    if (isKnown(last) && last < 0) throw mismatch(op.node, `extent ${extent} does not split into ${count} parts of ${size}.`);
    return Array.from({ length: count }, (_, i) => (i === count - 1 && exactDiv(extent, count) === undefined ? last : size));
  }
  const size = exactDiv(extent, count);
  if (size === undefined && isKnown(extent)) throw mismatch(op.node, `extent ${extent} does not split into ${count} equal parts.`);
  return new Array<Dim>(count).fill(size ?? floorDiv(extent, count));
}

export const specs: readonly OpSpec[] = [split];
