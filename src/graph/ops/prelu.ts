/** PRelu: x where it is positive, slope * x elsewhere; slope broadcasts to X and never grows it. */
import { elementwise } from "./axis-rules.js";
import { type Dim, isKnown } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { mapBroadcast } from "./numeric.js";
import { broadcast, likeInput, mismatch, NO_MACS, noMacs } from "./shape-rules.js";

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "PRelu",
    since: [7, 9, 16],
    inputs: ["X", "slope"],
    outputs: ["Y"],
    remark: NO_MACS,
    infer(op) {
      const X = op.shape(0);
      const slope = op.shape(1);
      if (X && slope) {
        const out = broadcast(op.node, [X, slope]) as Dim[];
        if (out.length > X.length || out.some((d, a) => isKnown(d) && X[a] === 1 && d !== 1)) {
          throw mismatch(op.node, `slope [${slope.join(", ")}] should broadcast to X [${X.join(", ")}].`);
        }
      }
      return [likeInput(op)];
    },
    evaluate(_, [x, slope]) {
      const y = x && slope && mapBroadcast([x, slope], x.dtype, (...[v, s]) => ((v as number) < 0 ? (s as number) * (v as number) : (v as number)));
      return y && [y];
    },
    axes: elementwise,
    macs: noMacs,
  }),
];
