/** BatchNormalization: Y like X; the statistics outputs of training forms are vectors of channels. */

import type { Axis } from "../coupling/axis.js";
import type { Dim } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { expectRank, likeInput, mismatch, NO_MACS, noMacs, sameExtent, tensorOf } from "./shape-rules.js";

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "BatchNormalization",
    since: [7, 9, 14, 15],
    inputs: ["X", "scale", "B", "input_mean", "input_var"],
    outputs: ["Y", "running_mean?", "running_var?", "saved_mean?", "saved_var?"],
    remark: `${NO_MACS} It is affine per channel and folds into its neighbour. saved_mean and saved_var exist before opset 14 only.`,
    infer(op) {
      const X = op.shape(0);
      const vectors = [1, 2, 3, 4].map((i) => op.shape(i));
      // Before opset 9, spatial = 0 normalises every position by itself and the vectors have X's other axes.
      if (X && op.node.int("spatial", 1) === 1) {
        if (X.length === 0) throw mismatch(op.node, "X is a scalar and has no channels.");
        for (const v of vectors) if (v) expectRank(op.node, v, "each of scale, B, mean and var", 1);
      }
      if (X && X.length > 1 && op.node.int("spatial", 1) === 1) {
        for (const v of vectors) if (v) sameExtent(op.node, X[1] as Dim, v[0] as Dim, "channels of X and the statistics");
      }
      const statistics = [3, 4, 3, 4].map((i) => {
        const dtype = op.type(i)?.dtype;
        return dtype && tensorOf(dtype, op.shape(i));
      });
      return [likeInput(op), ...statistics];
    },
    axes(op) {
      const X = op.in(0);
      const channel = X.length > 1 ? 1 : 0;
      if (op.node.int("training_mode", 0) !== 0) op.barrier("training mode computes statistics over the batch");
      else if (op.node.int("spatial", 1) !== 1) op.barrier("it normalises every position by itself");
      else {
        for (const i of [1, 2, 3, 4]) op.same(op.in(i)[0] as Axis, X[channel] as Axis);
        op.out(0, X);
        for (const i of [1, 2, 3, 4]) op.out(i, [X[channel] as Axis]);
      }
    },
    macs: noMacs,
  }),
];
