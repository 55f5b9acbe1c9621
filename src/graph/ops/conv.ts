/**
 * Convolutions in any number of spatial axes: Conv, its integer forms ConvInteger and QLinearConv, and what ONNX Runtime's
 * optimiser writes for them (com.microsoft: FusedConv, QLinearConv with channels last). One rule says what all of them sum over.
 */

import { int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import type { ResizeContext } from "../coupling/resize.js";
import { type Dim, isKnown, mul, product } from "../dim.js";
import type { DType } from "../dtype.js";
import { type CostContext, defineOp, type OpContext, type OpSpec } from "../op.js";
import { convolutionBlocks, freezeAxes, groupsLeft } from "./axis-rules.js";
import { expectInputRank, expectRank, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";
import { groupsOf, readWindow, windowsAlong } from "./window.js";

/** Where a convolution has its operands, by input position. */
export interface ConvOperands {
  readonly x: number;
  readonly w: number;
  /** Operands with one element per filter, or one for all: bias, scale and zero point of W. */
  readonly perFilter: readonly number[];
  /** The zero point of W, where W is quantised. */
  readonly zeroPoint?: number;
  /** Operand that is added to the output, of its shape. */
  readonly residual?: number;
}

/** Whether X and Y are [N, spatial…, C] instead of [N, C, spatial…]; W is [M, C/group, kernel…] all the same. */
const isChannelsLast = (op: OpContext): boolean => op.node.int("channels_last", 0) !== 0;

const channelAxis = (op: OpContext, rank: number): number => (isChannelsLast(op) ? rank - 1 : 1);

/** [N, M, windows…] for X [N, C, …] and W [M, C/group, kernel…]; M last where C is. */
function convShape(op: OpContext, { x, w, residual }: ConvOperands): Shape | undefined {
  const { node } = op;
  const X = op.shape(x);
  const W = op.shape(w);
  if (!X || !W) return undefined;
  if (X.length < 3) throw mismatch(node, `X should have a batch, channels and spatial axes, but is [${X.join(", ")}].`);
  expectRank(node, W, "W", X.length);
  const channels = channelAxis(op, X.length);
  const B = op.node.opType === "Conv" && op.node.isStandard ? op.shape(2) : undefined;
  if (B) expectRank(node, B, "B", 1);
  const group = groupsOf(node);
  if (residual !== undefined) expectInputRank(op, residual, "Z", X.length);
  const [M, perGroup] = W as [Dim, Dim];
  sameExtent(node, X[channels] as Dim, mul(perGroup, group), "channels of X and W's input channels times group");
  if (isKnown(M) && M % group !== 0) throw mismatch(node, `${M} filters do not divide into ${group} groups.`);
  const stated = node.ints("kernel_shape");
  if (stated && stated.length !== W.length - 2) throw mismatch(node, `kernel_shape [${stated}] does not fit W [${W.join(", ")}].`);
  const kernel = W.slice(2).map((k, i) => sameExtent(node, k, stated?.[i] ?? k, "kernel_shape and W's spatial extents"));
  const window = readWindow(node, kernel);
  const spatial = X.filter((_, a) => a !== 0 && a !== channels).map((extent, i) => windowsAlong(node, window, i, extent));
  return isChannelsLast(op) ? [X[0] as Dim, ...spatial, M] : [X[0] as Dim, M, ...spatial];
}

/** Every output element takes C/group times the kernel's elements. */
function convMacs(op: CostContext, { w }: ConvOperands): Dim {
  const Y = op.outputShape(0);
  const W = op.shape(w);
  return Y && W ? mul(product(Y), product(W.slice(1))) : unknownMacs(op.node);
}

/**
 * Batch ties X and Y; filters tie W, Y and what there is per filter; channels are summed; windows freeze space.
 *
 * Integer forms sum (x - x_zero_point)·(w - w_zero_point), and pad with x_zero_point: a channel that leaves takes its terms
 * along and nothing else.
 */
function convAxes(op: AxisContext, { x, w, perFilter, zeroPoint, residual }: ConvOperands): void {
  const X = op.in(x);
  const W = op.in(w);
  const channels = channelAxis(op, X.length);
  const group = op.node.int("group", 1);
  const [own, inner] = W as [Axis, Axis];
  freezeAxes(op, W.slice(2), "it is a kernel extent");
  for (const i of perFilter) {
    const [v] = op.has(i) ? op.in(i) : [];
    if (v && (v.size !== 1 || own.size === 1)) op.same(v, own);
  }
  if (group > 1 && zeroPoint !== undefined && op.has(zeroPoint) && !op.constant(zeroPoint))
    op.freeze(inner, "what stands for 0 in its weights is known only at run time");
  convolutionBlocks(op, group, own, inner, X[channels] as Axis);
  // Within a group the sum runs over its channels; in a depthwise convolution there is none.
  if (group === 1) op.contract({ input: x, axis: channels }, { input: w, axis: 1 });
  else if (inner.size !== 1) op.contract({ input: w, axis: 1, zero: true, ...(zeroPoint === undefined ? {} : { zeroPoint }) });
  const why = `${op.node.opType} slides a window over it`;
  const Y = op.outShape(0).map((d, a) => {
    if (a === 0) return X[0] as Axis;
    if (a === channels) return own;
    op.freeze(X[a] as Axis, why);
    return op.fixed(d, why);
  });
  if (residual !== undefined && op.has(residual))
    op.in(residual).forEach((z, a) => {
      op.same(z, Y[a] as Axis);
    });
  op.out(0, Y);
}

/** Groups that lost all their channels are gone from `group`. */
function convResize(op: ResizeContext, { x, w }: ConvOperands): void {
  const left = groupsLeft(op.sizeIn(x, channelAxis(op, (op.shape(x) as Shape).length)), op.sizeIn(w, 1));
  if (left !== undefined && left !== op.node.int("group", 1)) op.setAttribute("group", int(left));
}

interface Row extends Pick<OpSpec, "type" | "domain" | "since" | "inputs" | "outputs" | "remark"> {
  readonly operands: ConvOperands;
  readonly dtype: (op: OpContext) => DType | undefined;
}

const quantised = {
  type: "QLinearConv",
  inputs: ["x", "x_scale", "x_zero_point", "w", "w_scale", "w_zero_point", "y_scale", "y_zero_point", "B?"],
  outputs: ["y"],
  operands: { x: 0, w: 3, perFilter: [4, 5, 8], zeroPoint: 5 },
  dtype: (op: OpContext) => op.type(7)?.dtype,
} as const;

const rows: readonly Row[] = [
  {
    type: "Conv",
    since: [1, 11, 22],
    inputs: ["X", "W", "B?"],
    outputs: ["Y"],
    operands: { x: 0, w: 1, perFilter: [2] },
    dtype: (op) => op.type(0)?.dtype ?? op.type(1)?.dtype,
  },
  {
    type: "ConvInteger",
    since: [10],
    inputs: ["x", "w", "x_zero_point?", "w_zero_point?"],
    outputs: ["y"],
    operands: { x: 0, w: 1, perFilter: [3], zeroPoint: 3 },
    dtype: () => "int32",
  },
  { ...quantised, since: [10] },
  { ...quantised, domain: "com.microsoft", since: [1] },
  {
    type: "FusedConv",
    domain: "com.microsoft",
    since: [1],
    inputs: ["X", "W", "B?", "Z?"],
    outputs: ["Y"],
    remark: "The activation acts on each element; Z is added before it.",
    operands: { x: 0, w: 1, perFilter: [2], residual: 3 },
    dtype: (op) => op.type(0)?.dtype ?? op.type(1)?.dtype,
  },
];

export const specs: readonly OpSpec[] = rows.map(({ operands, dtype, ...row }) =>
  defineOp({
    ...row,
    infer(op) {
      const of = dtype(op);
      return [of && tensorOf(of, convShape(op, operands))];
    },
    axes: (op) => convAxes(op, operands),
    resize: (op) => convResize(op, operands),
    macs: (op) => convMacs(op, operands),
  }),
);
