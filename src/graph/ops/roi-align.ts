/** RoiAlign and MaxRoiPool (onnx/docs/Operators.md#RoiAlign): types only; interpolation is not counted. */
import { defineOp, type InferContext, type Inferred, type OpSpec } from "../op.js";
import { noMacs, tensorOf } from "./shape-rules.js";

const roiAlign = defineOp({
  type: "RoiAlign",
  since: [10, 16, 22],
  inputs: ["X", "rois", "batch_indices"],
  outputs: ["Y"],
  remark: "Interpolation counts no multiply-accumulates.",
  infer: (op) => [pooled(op, op.node.int("output_height", 1), op.node.int("output_width", 1))],
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
  macs: noMacs,
});

/** One [C, h, w] per region. */
function pooled(op: InferContext, h: number, w: number): Inferred | undefined {
  const x = op.type(0);
  return x && tensorOf(x.dtype, [op.shape(1)?.[0] ?? op.fresh(0, 0), x.shape?.[1] ?? op.fresh(0, 1), h, w]);
}

export const specs: readonly OpSpec[] = [roiAlign, maxRoiPool];
