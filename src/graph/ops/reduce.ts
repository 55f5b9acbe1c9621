/** Reductions over axes: Reduce* (axes an attribute, then an input), ArgMax and ArgMin (one axis). */

import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { add, type Dim, mul } from "../dim.js";
import { isFloat, isInteger } from "../dtype.js";
import { defineOp, type InferContext, type OpContext, type OpSpec } from "../op.js";
import type { Tensor } from "../tensor.js";
import { elements, fitting, larger, smaller } from "./content-algebra.js";
import { reduceElements, store } from "./numeric.js";
import { frontAxis, hasInput, knownContent, NO_MACS, noMacs, type Shape, tensorOf } from "./shape-rules.js";

interface Row {
  readonly type: string;
  readonly since: readonly number[];
  /** Opset at which axes became an input. */
  readonly axesInput: number;
  readonly f: (v: Float64Array) => number;
  /** Defined for integers with an integer result. */
  readonly integers: boolean;
  /** A sum of a term per element that is 0 where the element is: a removed index drops its term and nothing else changes. */
  readonly isSum?: boolean;
  /** On integers that may be symbolic. */
  readonly content?: (a: Dim, b: Dim) => Dim;
}

const total = (v: Float64Array): number => v.reduce((a, b) => a + b, 0);
const maximum = (v: Float64Array): number => v.reduce((a, b) => Math.max(a, b));
const minimum = (v: Float64Array): number => v.reduce((a, b) => Math.min(a, b));

function logSumExp(v: Float64Array): number {
  const top = maximum(v);
  return Number.isFinite(top) ? top + Math.log(v.reduce((a, x) => a + Math.exp(x - top), 0)) : top;
}

const SINCE = [1, 11, 13, 18] as const;

const rows: readonly Row[] = [
  { type: "ReduceSum", since: [1, 11, 13], axesInput: 13, f: total, integers: true, isSum: true, content: add },
  { type: "ReduceMean", since: SINCE, axesInput: 18, f: (v) => total(v) / v.length, integers: false },
  { type: "ReduceProd", since: SINCE, axesInput: 18, f: (v) => v.reduce((a, b) => a * b, 1), integers: true, content: mul },
  { type: "ReduceMax", since: [1, 11, 12, 13, 18, 20], axesInput: 18, f: maximum, integers: true, content: larger },
  { type: "ReduceMin", since: [1, 11, 12, 13, 18, 20], axesInput: 18, f: minimum, integers: true, content: smaller },
  { type: "ReduceL1", since: SINCE, axesInput: 18, f: (v) => total(v.map(Math.abs)), integers: true, isSum: true },
  { type: "ReduceL2", since: SINCE, axesInput: 18, f: (v) => Math.sqrt(total(v.map((x) => x * x))), integers: false, isSum: true },
  { type: "ReduceSumSquare", since: SINCE, axesInput: 18, f: (v) => total(v.map((x) => x * x)), integers: true, isSum: true },
  { type: "ReduceLogSum", since: SINCE, axesInput: 18, f: (v) => Math.log(total(v)), integers: false, isSum: true },
  { type: "ReduceLogSumExp", since: SINCE, axesInput: 18, f: logSumExp, integers: false },
];

/** Reduced axes from the front; undefined when they are an input whose elements, `operand`, are not known. */
function reducedAxes(
  op: OpContext,
  axesInput: number,
  rank: number,
  operand: number[] | undefined = knownContent(op, 1),
): number[] | undefined {
  const isInput = op.opset >= axesInput;
  const stated = isInput ? (hasInput(op, 1) ? operand : []) : (op.node.ints("axes") ?? []);
  if (!stated) return undefined;
  if (stated.length === 0) return isInput && op.node.int("noop_with_empty_axes", 0) !== 0 ? [] : Array.from({ length: rank }, (_, a) => a);
  return [...new Set(stated.map((a) => frontAxis(op.node, a, rank)))];
}

const keepsDims = (op: OpContext): boolean => op.node.int("keepdims", 1) !== 0;

function reducedShape<D extends Dim>(shape: readonly D[], axes: readonly number[], keeps: boolean): (D | 1)[] {
  if (keeps) return shape.map((d, a) => (axes.includes(a) ? 1 : d));
  return shape.filter((_, a) => !axes.includes(a));
}

function reducedAxesOf(op: AxisContext, X: readonly Axis[], reduced: readonly number[]): Axis[] {
  return X.flatMap((a, k) => (!reduced.includes(k) ? [a] : keepsDims(op) ? [op.fixed(1, "it was reduced")] : []));
}

function inferShape(op: InferContext, axes: readonly number[] | undefined): Shape | undefined {
  const X = op.shape(0);
  if (!X) return undefined;
  if (axes) return reducedShape(X, axes, keepsDims(op));
  // Axes that only a run knows: each extent stays or becomes 1.
  return keepsDims(op) ? X.map((d, a) => (d === 1 ? 1 : op.fresh(0, a))) : undefined;
}

function reduction(row: Row): OpSpec {
  const { type, since, axesInput, f } = row;
  return defineOp({
    type,
    since,
    inputs: ["data", "axes?"],
    outputs: ["reduced"],
    sizeOperands: [1],
    remark: `${NO_MACS} axes is an attribute before opset ${axesInput}.`,
    infer(op) {
      const X = op.type(0);
      const axes = X?.shape && reducedAxes(op, axesInput, X.shape.length);
      const from = axes && elements(op, 0);
      const content = row.content && from && from.length > 0 ? (axes.length === 0 ? from : [from.reduce(row.content)]) : undefined;
      return [X && tensorOf(X.dtype, inferShape(op, axes), fitting(X.dtype, content))];
    },
    evaluate(op, [x, operand]) {
      if (!x || !(isFloat(x.dtype) || (row.integers && isInteger(x.dtype)))) return undefined;
      const axes = reducedAxes(op, axesInput, x.dims.length, operand?.ints());
      if (!axes) return undefined;
      // noop_with_empty_axes: whether Σ|x| of nothing reduced is x or |x| has changed over time; only plain cases are kept.
      if (axes.length === 0 && x.dims.length > 0) return row.content ? [x] : undefined;
      const values = reduceElements(x, axes, f);
      const y = values && store(x.dtype, reducedShape(x.dims, axes, keepsDims(op)), values);
      return y && [y];
    },
    axes(op) {
      const X = op.in(0);
      const reduced = reducedAxes(op, axesInput, X.length);
      if (!reduced) return op.barrier("the axes it reduces are computed at run time");
      for (const a of reduced) {
        if (row.isSum) op.contract({ input: 0, axis: a });
        else op.freeze(X[a] as Axis, `${type} compares or averages over it`);
      }
      return op.out(0, reducedAxesOf(op, X, reduced));
    },
    macs: noMacs,
  });
}

/** Position of the best element; of equal ones the first, or the last under select_last_index. */
function bestIndex(v: Float64Array, isBetter: (a: number, b: number) => boolean, last: boolean): number {
  let best = 0;
  for (let i = 1; i < v.length; i++) {
    if (isBetter(v[i] as number, v[best] as number) || (last && v[i] === v[best])) best = i;
  }
  return best;
}

function argument(type: string, isBetter: (a: number, b: number) => boolean): OpSpec {
  const axisOf = (op: OpContext, rank: number) => frontAxis(op.node, op.node.int("axis", 0), rank);
  return defineOp({
    type,
    since: [1, 11, 12, 13],
    inputs: ["data"],
    outputs: ["reduced"],
    remark: NO_MACS,
    infer(op) {
      const X = op.shape(0);
      return [tensorOf("int64", X && reducedShape(X, [axisOf(op, X.length)], keepsDims(op)))];
    },
    evaluate(op, [x]) {
      if (!x || x.dims.length === 0) return undefined;
      const axis = axisOf(op, x.dims.length);
      const last = op.node.int("select_last_index", 0) !== 0;
      const values = hasNaN(x) ? undefined : reduceElements(x, [axis], (v) => bestIndex(v, isBetter, last));
      const y = values && store("int64", reducedShape(x.dims, [axis], keepsDims(op)), values);
      return y && [y];
    },
    axes(op) {
      const X = op.in(0);
      const axis = axisOf(op, X.length);
      op.freeze(X[axis] as Axis, `${type} compares over it`);
      op.out(0, reducedAxesOf(op, X, [axis]));
    },
    macs: noMacs,
  });
}

const hasNaN = (x: Tensor): boolean => isFloat(x.dtype) && x.numbers().some((v) => Number.isNaN(v));

export const specs: readonly OpSpec[] = [...rows.map(reduction), argument("ArgMax", (a, b) => a > b), argument("ArgMin", (a, b) => a < b)];
