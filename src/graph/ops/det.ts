/** Det (onnx/docs/Operators.md#Det): determinants of the matrices on the last two axes. Not evaluated: constants of it are rare. */
import { defineOp, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

const det = defineOp({
  type: "Det",
  since: [11, 22],
  inputs: ["X"],
  outputs: ["Y"],
  remark: NO_MACS,

  infer(op) {
    const X = op.type(0);
    return [X && tensorOf(X.dtype, X.shape?.slice(0, -2))];
  },

  axes(op) {
    const X = op.in(0);
    freezeAxes(op, X.slice(-2), "Det reads whole matrices");
    op.out(0, X.slice(0, -2));
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [det];
