/** Softmax, LogSoftmax, Hardmax: along one axis since opset 13, before over all axes from `axis` on, taken as one. */

import { isFloat } from "../dtype.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { mixAxes } from "./axis-rules.js";
import { exactNumbers, store } from "./numeric.js";
import { frontAxis, likeInput, NO_MACS, noMacs } from "./shape-rules.js";

type Normaliser = (x: Float64Array) => Float64Array;

function softmax(x: Float64Array): Float64Array {
  const top = x.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const e = x.map((v) => Math.exp(v - top));
  const total = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / total);
}

function logSoftmax(x: Float64Array): Float64Array {
  const top = x.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const log = Math.log(x.reduce((a, b) => a + Math.exp(b - top), 0));
  return x.map((v) => v - top - log);
}

function hardmax(x: Float64Array): Float64Array {
  const top = x.indexOf(x.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY));
  return x.map((_, i) => Number(i === top));
}

function axisOf({ node, opset }: OpContext, rank: number): number {
  return frontAxis(node, node.int("axis", opset < 13 ? 1 : -1), rank);
}

function spec(type: string, f: Normaliser): OpSpec {
  return defineOp({
    type,
    since: [1, 11, 13],
    inputs: ["input"],
    outputs: ["output"],
    remark: NO_MACS,
    infer(op) {
      const shape = op.shape(0);
      if (shape && shape.length > 0) axisOf(op, shape.length);
      return [likeInput(op)];
    },
    evaluate(op, [x]) {
      if (!x || !isFloat(x.dtype)) return undefined;
      const rank = x.dims.length;
      const numbers = exactNumbers(x);
      if (!numbers || rank === 0 || (op.opset < 13 && op.node.int("axis", 1) >= rank)) return undefined;
      const axis = axisOf(op, rank);
      const run = op.opset < 13 ? x.dims.slice(axis) : [x.dims[axis] as number];
      const length = run.reduce((a, b) => a * b, 1);
      const step = op.opset < 13 ? 1 : x.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
      const out = new Float64Array(numbers.length);
      for (let at = 0; at < numbers.length; at++) {
        // Only positions where a run begins.
        if (Math.floor(at / step) % length !== 0) continue;
        const y = f(Float64Array.from({ length }, (_, k) => numbers[at + k * step] as number));
        y.forEach((v, k) => {
          out[at + k * step] = v;
        });
      }
      const y = store(x.dtype, x.dims, out);
      return y && [y];
    },
    axes(op) {
      const X = op.in(0);
      if (X.length > 0 && !(op.opset < 13 && op.node.int("axis", 1) >= X.length)) {
        const axis = axisOf(op, X.length);
        const places = X.map((_, k) => k).filter((k) => (op.opset < 13 ? k >= axis : k === axis));
        mixAxes(op, X, places, `${type} normalises over it`);
      }
      op.out(0, X);
    },
    macs: noMacs,
  });
}

export const specs: readonly OpSpec[] = [spec("Softmax", softmax), spec("LogSoftmax", logSoftmax), spec("Hardmax", hardmax)];
