/** Pools over all spatial axes: GlobalAveragePool, GlobalMaxPool, GlobalLpPool. */
import type { Axis } from "../coupling/axis.js";
import { defineOp, type OpSpec } from "../op.js";
import { spatial } from "./axis-rules.js";
import { mismatch, NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

function globalPool(type: string, since: readonly number[]): OpSpec {
  return defineOp({
    type,
    since,
    inputs: ["X"],
    outputs: ["Y"],
    remark: NO_MACS,
    infer(op) {
      const X = op.type(0);
      if (X?.shape && X.shape.length < 3) throw mismatch(op.node, `X should be [N, C, spatial…], but is [${X.shape.join(", ")}].`);
      return [
        X &&
          tensorOf(
            X.dtype,
            X.shape?.map((d, i) => (i < 2 ? d : 1)),
          ),
      ];
    },
    axes(op) {
      const X = op.in(0);
      op.out(0, [X[0] as Axis, X[1] as Axis, ...spatial(op, X, 0)]);
    },
    macs: noMacs,
  });
}

export const specs: readonly OpSpec[] = [
  globalPool("GlobalAveragePool", [1, 22]),
  globalPool("GlobalMaxPool", [1, 22]),
  globalPool("GlobalLpPool", [2, 22]),
];
