/** NonMaxSuppression (onnx/docs/Operators.md#NonMaxSuppression). How many boxes are selected depends on data. */
import { defineOp, type OpSpec } from "../op.js";
import { noMacs, tensorOf } from "./shape-rules.js";

const nonMaxSuppression = defineOp({
  type: "NonMaxSuppression",
  since: [10, 11],
  inputs: ["boxes", "scores", "max_output_boxes_per_class?", "iou_threshold?", "score_threshold?"],
  outputs: ["selected_indices"],
  infer: (op) => [tensorOf("int64", [op.fresh(0, 0), 3])],
  barrier: "NonMaxSuppression compares all boxes with each other and gives positions",
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [nonMaxSuppression];
