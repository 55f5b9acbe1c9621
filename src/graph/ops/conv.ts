/** Convolutions: Conv, and its integer forms ConvInteger and QLinearConv, in any number of spatial axes. */

import { int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import type { ResizeContext } from "../coupling/resize.js";
import { type Dim, isKnown, mul, product } from "../dim.js";
import type { DType } from "../dtype.js";
import { type CostContext, defineOp, type OpContext, type OpSpec } from "../op.js";
import { convolutionBlocks, freezeAxes, groupForm, spatial } from "./axis-rules.js";
import { expectRank, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";
import { groupsOf, readWindow, windowsAlong } from "./window.js";

/** [N, M, windows…] for X [N, C, …] and W [M, C/group, kernel…]. */
function convShape(op: OpContext, x: number, w: number): Shape | undefined {
  const { node } = op;
  const X = op.shape(x);
  const W = op.shape(w);
  if (!X || !W) return undefined;
  if (X.length < 3) throw mismatch(node, `X should be [N, C, spatial…], but is [${X.join(", ")}].`);
  expectRank(node, W, "W", X.length);
  const B = op.node.opType === "Conv" ? op.shape(2) : undefined;
  if (B) expectRank(node, B, "B", 1);
  const group = groupsOf(node);
  const [N, C] = X as [Dim, Dim];
  const [M, perGroup] = W as [Dim, Dim];
  sameExtent(node, C, mul(perGroup, group), "channels of X and W's input channels times group");
  if (isKnown(M) && M % group !== 0) throw mismatch(node, `${M} filters do not divide into ${group} groups.`);
  const stated = node.ints("kernel_shape");
  if (stated && stated.length !== W.length - 2) throw mismatch(node, `kernel_shape [${stated}] does not fit W [${W.join(", ")}].`);
  const kernel = W.slice(2).map((k, i) => sameExtent(node, k, stated?.[i] ?? k, "kernel_shape and W's spatial extents"));
  const window = readWindow(node, kernel);
  return [N, M, ...X.slice(2).map((extent, i) => windowsAlong(node, window, i, extent))];
}

/** Every output element takes C/group times the kernel's elements. */
function convMacs(op: CostContext, w: number): Dim {
  const Y = op.outputShape(0);
  const W = op.shape(w);
  return Y && W ? mul(product(Y), product(W.slice(1))) : unknownMacs(op.node);
}

/** Batch ties X and Y, filters tie W, B and Y, channels are summed; windows freeze space. `x`, `w`, `b`: input positions. */
function convAxes(op: AxisContext, x: number, w: number, b: number): void {
  const X = op.in(x);
  const W = op.in(w);
  const group = op.node.int("group", 1);
  const [own, inner] = W as [Axis, Axis];
  freezeAxes(op, W.slice(2), "it is a kernel extent");
  if (op.has(b)) op.same(op.in(b)[0] as Axis, own);
  convolutionBlocks(op, group, own, inner, X[1] as Axis);
  switch (groupForm(group, own.size, inner.size)) {
    case "depthwise":
      break;
    case "mirror":
      // Each group sums its own channels: the sum runs over `inner`, not over the groups.
      op.contract({ input: x, axis: 1, over: op.prod([op.fixed(group, "groups"), inner]) }, { input: w, axis: 1 });
      break;
    default:
      op.contract({ input: x, axis: 1 }, { input: w, axis: 1 });
  }
  op.out(0, [X[0] as Axis, own, ...spatial(op, X, 0)]);
}

/** Groups that lost all their channels are gone from `group`. */
function convResize(op: ResizeContext, x: number, w: number): void {
  const group = op.node.int("group", 1);
  const W = op.shape(w) as Shape;
  const form = groupForm(group, W[0] as Dim, W[1] as Dim);
  const left = form === "depthwise" ? op.sizeIn(x, 1) : form === "mirror" ? op.sizeOut(0, 1) : group;
  if (left !== group) op.setAttribute("group", int(left as number));
}

function output(dtype: DType | undefined, shape: Shape | undefined) {
  return [dtype && tensorOf(dtype, shape)];
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "Conv",
    since: [1, 11, 22],
    inputs: ["X", "W", "B?"],
    outputs: ["Y"],
    infer: (op) => output(op.type(0)?.dtype ?? op.type(1)?.dtype, convShape(op, 0, 1)),
    axes: (op) => convAxes(op, 0, 1, 2),
    resize: (op) => convResize(op, 0, 1),
    macs: (op) => convMacs(op, 1),
  }),
  defineOp({
    type: "ConvInteger",
    since: [10],
    inputs: ["x", "w", "x_zero_point?", "w_zero_point?"],
    outputs: ["y"],
    infer: (op) => output("int32", convShape(op, 0, 1)),
    macs: (op) => convMacs(op, 1),
  }),
  defineOp({
    type: "QLinearConv",
    since: [10],
    inputs: ["x", "x_scale", "x_zero_point", "w", "w_scale", "w_zero_point", "y_scale", "y_zero_point", "B?"],
    outputs: ["y"],
    infer: (op) => output(op.type(7)?.dtype, convShape(op, 0, 3)),
    macs: (op) => convMacs(op, 3),
  }),
];
