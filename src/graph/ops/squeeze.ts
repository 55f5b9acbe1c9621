/** Squeeze and Unsqueeze (onnx/docs/Operators.md#Squeeze). An axis named by Squeeze whose extent is symbolic is taken to be 1, as the op demands. */

import { ints } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import { isKnown } from "../dim.js";
import type { Node } from "../graph.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { Tensor } from "../tensor.js";
import { freezeAxes } from "./axis-rules.js";
import { frontAxis, hasInput, knownContent, mismatch, noMacs, type Shape, tensorOf } from "./shape-rules.js";

const squeeze = defineOp({
  type: "Squeeze",
  since: [1, 11, 13, 21, 23, 24, 25],
  inputs: ["data", "axes?"],
  outputs: ["squeezed"],

  infer(op) {
    const data = op.type(0);
    if (!data) return [undefined];
    const { shape } = data;
    const named = namesAxes(op);
    const axes = named ? axesOf(op) : undefined;
    if (!shape || (named && !axes)) return [tensorOf(data.dtype, undefined)];
    // A symbol may turn out to be 1: which axes then go cannot be told.
    if (!named && !shape.every(isKnown)) return [tensorOf(data.dtype, undefined)];
    return [tensorOf(data.dtype, squeezed(op.node, shape, axes))];
  },

  moves: [0],
  evaluate(op, [data, axes]) {
    return data && [data.reshape(squeezed(op.node, data.dims, axes?.ints() ?? op.node.ints("axes")) as number[])];
  },

  sizeOperands: [1],
  axes(op) {
    const X = op.in(0);
    const named = axesOf(op)?.map((a) => frontAxis(op.node, a, X.length));
    // A single index cut out of a longer axis cannot leave once its axis is gone.
    const gone = (a: Axis, k: number) => (named ? named.includes(k) : a.size === 1);
    X.forEach((a, k) => {
      if (gone(a, k)) op.freeze(a, "Squeeze takes its only index as given");
    });
    // Without axes every extent of 1 goes: where none does yet, nothing could say that one more must stay.
    if (!named && X.every((a) => a.size !== 1)) freezeAxes(op, X, "Squeeze would drop it at an extent of 1");
    op.out(
      0,
      X.filter((a, k) => !gone(a, k)),
    );
  },
  resize(op) {
    if (namesAxes(op)) return;
    const shape = op.shape(0) as Shape;
    const more = shape.some((d, a) => d !== 1 && op.sizeIn(0, a) === 1);
    if (!more) return;
    const axes = shape.flatMap((d, a) => (d === 1 ? [a] : []));
    if (op.opset < 13) op.setAttribute("axes", ints(axes));
    else op.setTensor(1, Tensor.ints(axes));
  },
  macs: noMacs,
});

function squeezed(node: Node, shape: Shape, axes: readonly number[] | undefined): Shape {
  if (!axes) return shape.filter((d) => d !== 1);
  const gone = new Set(axes.map((a) => frontAxis(node, a, shape.length)));
  for (const a of gone) {
    const d = shape[a];
    if (d !== undefined && isKnown(d) && d !== 1) throw mismatch(node, `axis ${a} of data [${shape.join(", ")}] should have extent 1.`);
  }
  return shape.filter((_, a) => !gone.has(a));
}

const unsqueeze = defineOp({
  type: "Unsqueeze",
  since: [1, 11, 13, 21, 23, 24, 25],
  inputs: ["data", "axes"],
  outputs: ["expanded"],

  infer(op) {
    const data = op.type(0);
    if (!data) return [undefined];
    const axes = axesOf(op);
    return [tensorOf(data.dtype, data.shape && axes ? unsqueezed(op.node, data.shape, axes) : undefined)];
  },

  moves: [0],
  evaluate(op, [data, axes]) {
    const at = axes?.ints() ?? op.node.ints("axes");
    return data && at && [data.reshape(unsqueezed(op.node, data.dims, at) as number[])];
  },

  sizeOperands: [1],
  axes(op) {
    const rest = [...op.in(0)];
    const named = axesOf(op);
    if (!named) return op.barrier("its axes are computed at run time");
    const rank = rest.length + named.length;
    const ones = new Set(named.map((a) => frontAxis(op.node, a, rank)));
    return op.out(
      0,
      Array.from({ length: rank }, (_, k) => (ones.has(k) ? op.atom(1) : (rest.shift() as Axis))),
    );
  },
  macs: noMacs,
});

/** The input extents with a 1 at each of `axes`, which count in the output. */
function unsqueezed(node: Node, shape: Shape, axes: readonly number[]): Shape {
  const rank = shape.length + axes.length;
  const ones = new Set(axes.map((a) => frontAxis(node, a, rank)));
  if (ones.size !== axes.length) throw mismatch(node, `axes [${axes.join(", ")}] should not repeat.`);
  const rest = [...shape];
  return Array.from({ length: rank }, (_, a) => (ones.has(a) ? 1 : (rest.shift() ?? 1)));
}

/** Whether the node names axes at all: by attribute below opset 13, by input since. */
function namesAxes(op: OpContext): boolean {
  return op.opset < 13 ? op.node.ints("axes") !== undefined : hasInput(op, 1);
}

function axesOf(op: OpContext): readonly number[] | undefined {
  return op.opset < 13 ? op.node.ints("axes") : knownContent(op, 1);
}

export const specs: readonly OpSpec[] = [squeeze, unsqueeze];
