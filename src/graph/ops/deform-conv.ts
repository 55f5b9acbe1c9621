/** DeformConv (onnx/docs/Operators.md#DeformConv): a convolution whose kernel positions move by computed offsets. Not evaluated; interpolation is not counted. */
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, isKnown, mul, product } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { broadcastAxis, freezeAxes, spatial } from "./axis-rules.js";
import { expectRank, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";
import { readWindow, windowsAlong } from "./window.js";

/** [N, oC, windows…] for X [N, C, …] and W [oC, C/group, kernel…]. */
function outputShape(op: OpContext): Shape | undefined {
  const { node } = op;
  const [X, W] = [op.shape(0), op.shape(1)];
  if (!X || !W) return undefined;
  if (X.length < 3) throw mismatch(node, `X should be [N, C, spatial…], but is [${X.join(", ")}].`);
  expectRank(node, W, "W", X.length);
  const group = node.int("group", 1);
  sameExtent(node, X[1] as Dim, mul(W[1] as Dim, group), "channels of X and W's input channels times group");
  const stated = node.ints("kernel_shape");
  const kernel = W.slice(2).map((k, i) => sameExtent(node, k, stated?.[i] ?? k, "kernel_shape and W's spatial extents"));
  const window = readWindow(node, kernel);
  return [X[0] as Dim, W[0] as Dim, ...X.slice(2).map((extent, i) => windowsAlong(node, window, i, extent))];
}

/** As of a convolution; channels that share offsets keep their places within each offset group. */
function deformAxes(op: AxisContext): void {
  if (op.node.int("group", 1) !== 1) return op.barrier("a grouped deformable convolution is kept as it is");
  const [X, W] = [op.in(0), op.in(1)];
  const [N, C] = X as [Axis, Axis];
  const offsets = op.node.int("offset_group", 1);
  if (offsets > 1) {
    if (!isKnown(C.size)) return op.barrier("the channels that share offsets cannot be told");
    op.freeze(op.split(C, [offsets, C.size / offsets])[0] as Axis, "it counts the offset groups");
  }
  op.same(C, W[1] as Axis);
  op.contract({ input: 0, axis: 1 }, { input: 1, axis: 1 });
  freezeAxes(op, W.slice(2), "it is a kernel extent");
  if (op.has(3)) op.same(op.in(3)[0] as Axis, W[0] as Axis);
  for (const i of [2, 4]) {
    if (!op.has(i)) continue;
    const [batch, ...rest] = op.in(i) as [Axis, ...Axis[]];
    broadcastAxis(op, batch, N);
    freezeAxes(op, rest, "it says where the kernel reads");
  }
  return op.out(0, [N, W[0] as Axis, ...spatial(op, X, 0)]);
}

const deformConv = defineOp({
  type: "DeformConv",
  since: [19, 22],
  inputs: ["X", "W", "offset", "B?", "mask?"],
  outputs: ["Y"],
  remark: "Interpolation counts no multiply-accumulates. With group above 1 all is kept whole.",
  infer(op) {
    const dtype = op.type(0)?.dtype ?? op.type(1)?.dtype;
    return [dtype && tensorOf(dtype, outputShape(op))];
  },
  axes: deformAxes,
  macs(op) {
    const [Y, W] = [op.outputShape(0), op.shape(1)];
    return Y && W ? mul(product(Y), product(W.slice(1))) : unknownMacs(op.node);
  },
});

export const specs: readonly OpSpec[] = [deformConv];
