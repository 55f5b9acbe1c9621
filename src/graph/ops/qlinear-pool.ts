/**
 * Pools of quantised tensors (com.microsoft): QLinearAveragePool, QLinearGlobalAveragePool, both with channels first or last, and
 * NhwcMaxPool. Means are taken per channel. Not evaluated.
 */
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import type { Dim } from "../dim.js";
import { defineOp, type InferContext, type OpContext, type OpSpec } from "../op.js";
import { expectInputRank, mismatch, NO_MACS, noMacs, type Shape, tensorOf } from "./shape-rules.js";
import { readWindow, windowsAlong } from "./window.js";

type Layout = (op: OpContext) => boolean;
const stated: Layout = (op) => op.node.int("channels_last", 0) !== 0;

const channelAxis = (isLast: boolean, rank: number): number => (isLast ? rank - 1 : 1);

/** X's shape with `f` of every spatial extent; f's second argument counts them. */
function mapSpatial(op: OpContext, isLast: boolean, f: (extent: Dim, i: number, axis: number) => Dim): Shape | undefined {
  const X = op.shape(0);
  if (!X) return undefined;
  if (X.length < 3) throw mismatch(op.node, `X should have a batch, channels and spatial axes, but is [${X.join(", ")}].`);
  const channels = channelAxis(isLast, X.length);
  return X.map((d, a) => (a === 0 || a === channels ? d : f(d, isLast ? a - 1 : a - 2, a)));
}

function windows(op: InferContext, isLast: boolean): Shape | undefined {
  const { node } = op;
  const kernel = node.ints("kernel_shape");
  if (!kernel) throw mismatch(node, "kernel_shape is required, but absent.");
  expectInputRank(op, 0, "X", kernel.length + 2);
  const window = readWindow(node, kernel);
  const ceil = node.int("ceil_mode", 0) !== 0;
  return mapSpatial(op, isLast, (extent, i) => windowsAlong(node, window, i, extent, ceil));
}

function poolAxes(op: AxisContext, isLast: boolean): void {
  const X = op.in(0);
  const channels = channelAxis(isLast, X.length);
  const why = `${op.node.opType} slides a window over it`;
  op.out(
    0,
    op.outShape(0).map((d, a) => {
      const x = X[a] as Axis;
      if (a === 0 || a === channels) return x;
      op.freeze(x, why);
      return op.fixed(d, why);
    }),
  );
}

function pool(type: string, inputs: readonly string[], layout: Layout, shapeOf: (op: InferContext, isLast: boolean) => Shape | undefined) {
  return defineOp({
    type,
    domain: "com.microsoft",
    since: [1],
    inputs,
    outputs: ["Y"],
    remark: NO_MACS,
    infer(op) {
      const dtype = op.type(0)?.dtype;
      return [dtype && tensorOf(dtype, shapeOf(op, layout(op)))];
    },
    axes: (op) => poolAxes(op, layout(op)),
    macs: noMacs,
  });
}

export const specs: readonly OpSpec[] = [
  pool("QLinearAveragePool", ["X", "x_scale", "x_zero_point?", "y_scale", "y_zero_point?"], stated, windows),
  pool("QLinearGlobalAveragePool", ["X", "x_scale", "x_zero_point", "y_scale", "y_zero_point"], stated, (op, isLast) =>
    mapSpatial(op, isLast, () => 1),
  ),
  pool("NhwcMaxPool", ["x"], () => true, windows),
];
