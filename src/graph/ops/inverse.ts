/** Inverse (com.microsoft): inverses of the matrices on the last two axes. Not evaluated: constants of it are rare. */
import { defineOp, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { likeInput, NO_MACS, noMacs } from "./shape-rules.js";

const inverse = defineOp({
  type: "Inverse",
  domain: "com.microsoft",
  since: [1],
  inputs: ["X"],
  outputs: ["Y"],
  remark: NO_MACS,
  infer: (op) => [likeInput(op)],
  axes(op) {
    const X = op.in(0);
    freezeAxes(op, X.slice(-2), "Inverse reads whole matrices");
    op.out(0, X);
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [inverse];
