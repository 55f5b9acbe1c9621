/** Compress (onnx/docs/Operators.md#Compress). How much is left is known for a constant condition only. */
import type { Axis } from "../coupling/axis.js";
import { type Dim, isKnown, product } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { frontAxis, noMacs, tensorOf } from "./shape-rules.js";

const compress = defineOp({
  type: "Compress",
  since: [9, 11],
  inputs: ["input", "condition"],
  outputs: ["output"],

  infer(op) {
    const input = op.type(0);
    if (!input) return [undefined];
    const condition = op.constant(1)?.ints();
    const axis = op.node.int("axis");
    if (axis === undefined) {
      const size = input.shape && product(input.shape);
      return [tensorOf(input.dtype, [kept(condition, size) ?? op.fresh(0, 0)])];
    }
    if (!input.shape) return [tensorOf(input.dtype, undefined)];
    const at = frontAxis(op.node, axis, input.shape.length);
    return [
      tensorOf(
        input.dtype,
        input.shape.map((d, a) => (a === at ? (kept(condition, d) ?? op.fresh(0, a)) : d)),
      ),
    ];
  },

  moves: [0],
  evaluate(op, [input, condition]) {
    if (!input || !condition) return undefined;
    const axis = op.node.int("axis");
    const data = axis === undefined ? input.reshape([input.size]) : input;
    const at = axis === undefined ? 0 : frontAxis(op.node, axis, data.dims.length);
    const chosen = condition.ints().flatMap((c, i) => (c !== 0 && i < (data.dims[at] as number) ? [i] : []));
    return [data.take(at, chosen)];
  },

  axes(op) {
    const X = op.in(0);
    const C = op.in(1)[0] as Axis;
    const axis = op.node.int("axis");
    if (axis === undefined && X.length === 0) return op.barrier("it compresses a scalar");
    const at = axis === undefined ? 0 : frontAxis(op.node, axis, X.length);
    const whole = axis === undefined ? op.prod(X) : (X[at] as Axis);
    const condition = op.constant(1)?.ints();
    let left: Axis;
    if (condition && isKnown(whole.size) && condition.length > 0 && condition.length <= whole.size) {
      // An index leaves with its condition; those that are not selected are read by nobody.
      op.same(op.cut(whole, condition.length < whole.size ? [condition.length] : [])[0] as Axis, C);
      left = op.pick(
        whole,
        condition.flatMap((c, i) => (c !== 0 ? [i] : [])),
      );
    } else {
      freezeAxes(op, [whole, C], "Compress selects from it as a run decides");
      left = op.fixed(op.outShape(0)[at] as Dim, "Compress selects it as a run decides");
    }
    return op.out(0, axis === undefined ? [left] : X.map((a, k) => (k === at ? left : a)));
  },
  macs: noMacs,
});

/** The number of true conditions within `extent`; a condition may be shorter than the axis, never longer. */
function kept(condition: readonly number[] | undefined, extent: Dim | undefined): Dim | undefined {
  if (!condition || extent === undefined) return undefined;
  return condition.filter((c, i) => c !== 0 && (!isKnown(extent) || i < extent)).length;
}

export const specs: readonly OpSpec[] = [compress];
