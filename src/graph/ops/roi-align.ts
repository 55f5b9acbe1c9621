/** RoiAlign and MaxRoiPool (onnx/docs/Operators.md#RoiAlign). Not evaluated; interpolation is not counted. */
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import type { Dim } from "../dim.js";
import { defineOp, type InferContext, type Inferred, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { noMacs, tensorOf } from "./shape-rules.js";

const roiAlign = defineOp({
  type: "RoiAlign",
  since: [10, 16, 22],
  inputs: ["X", "rois", "batch_indices"],
  outputs: ["Y"],
  remark: "Interpolation counts no multiply-accumulates.",
  infer: (op) => [pooled(op, op.node.int("output_height", 1), op.node.int("output_width", 1))],
  axes(op) {
    op.same(op.in(1)[0] as Axis, op.in(2)[0] as Axis);
    regionAxes(op);
  },
  macs: noMacs,
});

const maxRoiPool = defineOp({
  type: "MaxRoiPool",
  since: [1, 22],
  inputs: ["X", "rois"],
  outputs: ["Y"],
  infer(op) {
    const [h, w] = op.node.ints("pooled_shape", []);
    return [h !== undefined && w !== undefined ? pooled(op, h, w) : undefined];
  },
  axes: regionAxes,
  macs: noMacs,
});

/** X [N, C, H, W] and rois [R, 4 or 5] give [R, C, h, w]: a region tells which image it is in. */
function regionAxes(op: AxisContext): void {
  const [N, C, ...space] = op.in(0) as [Axis, Axis, ...Axis[]];
  const [R, corners] = op.in(1) as [Axis, Axis];
  freezeAxes(op, [N, ...space, corners], `${op.node.opType} reads regions of it`);
  const [, , ...size] = op.outShape(0) as [Dim, Dim, ...Dim[]];
  op.out(0, [R, C, ...size.map((d) => op.fixed(d, `${op.node.opType} makes it`))]);
}

/** One [C, h, w] per region. */
function pooled(op: InferContext, h: number, w: number): Inferred | undefined {
  const x = op.type(0);
  return x && tensorOf(x.dtype, [op.shape(1)?.[0] ?? op.fresh(0, 0), x.shape?.[1] ?? op.fresh(0, 1), h, w]);
}

export const specs: readonly OpSpec[] = [roiAlign, maxRoiPool];
