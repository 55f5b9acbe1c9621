/** TopK: the K largest or smallest elements along an axis and their positions. K is an attribute before opset 10. */
import type { Axis } from "../coupling/axis.js";
import type { Dim } from "../dim.js";
import { isFloat } from "../dtype.js";
import { defineOp, type InferContext, type OpContext, type OpSpec } from "../op.js";
import { rearrange } from "../rearrange.js";
import { Tensor } from "../tensor.js";
import { exactNumbers } from "./numeric.js";
import { frontAxis, mismatch, NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

function countOf(op: InferContext, axis: number): Dim {
  return (op.opset < 10 ? op.node.int("k") : op.content(1)?.[0]) ?? op.fresh(0, axis);
}

function axisOf(op: OpContext, rank: number): number {
  return frontAxis(op.node, op.node.int("axis", -1), rank);
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "TopK",
    since: [1, 10, 11, 24],
    inputs: ["X", "K"],
    outputs: ["Values", "Indices"],
    sizeOperands: [1],
    remark: NO_MACS,
    infer(op) {
      const X = op.type(0);
      if (!X?.shape) return [X && tensorOf(X.dtype, undefined), tensorOf("int64", undefined)];
      const axis = axisOf(op, X.shape.length);
      const K = countOf(op, axis);
      const extent = X.shape[axis] as Dim;
      if (typeof K === "number" && typeof extent === "number" && K > extent) {
        throw mismatch(op.node, `K should be at most the extent ${extent} of axis ${axis}, but is ${K}.`);
      }
      const shape = X.shape.map((d, a) => (a === axis ? K : d));
      return [tensorOf(X.dtype, shape), tensorOf("int64", shape)];
    },
    evaluate(op, [x, K]) {
      const { node } = op;
      const k = op.opset < 10 ? node.int("k") : K?.scalar();
      const numbers = x && exactNumbers(x);
      // Unsorted results may come in any order; NaN has no place in one.
      if (!x || !numbers || k === undefined || node.int("sorted", 1) === 0) return undefined;
      if (isFloat(x.dtype) && numbers.some((v) => Number.isNaN(v))) return undefined;
      const axis = axisOf(op, x.dims.length);
      const sign = node.int("largest", 1) !== 0 ? -1 : 1;
      const length = x.dims[axis] as number;
      const step = x.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
      const dims = x.dims.map((d, a) => (a === axis ? k : d));
      const runs = x.size / Math.max(1, length);
      const positions = new Float64Array(runs * k);
      const indices = new Float64Array(runs * k);
      for (let run = 0; run < runs; run++) {
        const outer = Math.floor(run / step);
        const from = outer * length * step + (run % step);
        const value = (i: number): number => numbers[from + i * step] as number;
        // Array.sort is stable: of equal elements the one of lower index comes first, as the specification asks.
        const order = Array.from({ length }, (_, i) => i).sort((i, j) =>
          value(i) === value(j) ? 0 : sign * (value(i) < value(j) ? -1 : 1),
        );
        for (let i = 0; i < k; i++) {
          const to = (outer * k + i) * step + (run % step);
          indices[to] = order[i] as number;
          positions[to] = from + (order[i] as number) * step;
        }
      }
      const values = rearrange([x], dims, positions);
      return values && [values, Tensor.fromNumbers("int64", dims, indices)];
    },
    axes(op) {
      const X = op.in(0);
      const axis = axisOf(op, X.length);
      op.freeze(X[axis] as Axis, "TopK compares along it");
      const out = X.map((a, k) => (k === axis ? op.fixed(op.outShape(0)[axis] as Dim, "TopK compares along it") : a));
      op.out(0, out);
      op.out(1, out);
    },
    macs: noMacs,
  }),
];
