/** PRelu: x where it is positive, slope * x elsewhere; slope broadcasts to X. */

import { type Dim, isKnown } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { elementwise } from "./axis-rules.js";
import { mapBroadcast } from "./numeric.js";
import { broadcast, NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "PRelu",
    since: [7, 9, 16],
    inputs: ["X", "slope"],
    outputs: ["Y"],
    remark: NO_MACS,
    infer(op) {
      const X = op.type(0);
      const out = broadcast(op.node, [X?.shape, op.shape(1)]);
      if (!X?.shape || !out || out.length > X.shape.length) return [X && tensorOf(X.dtype, out)];
      // The specification wants slope to broadcast to X, so a symbol of X stands; the runtime lets slope grow a 1.
      return [
        tensorOf(
          X.dtype,
          X.shape.map((d, a) => (d === 1 || isKnown(out[a] as Dim) ? (out[a] as Dim) : d)),
        ),
      ];
    },
    evaluate(_, [x, slope]) {
      const y =
        x && slope && mapBroadcast([x, slope], x.dtype, (...[v, s]) => ((v as number) < 0 ? (s as number) * (v as number) : (v as number)));
      return y && [y];
    },
    axes: elementwise,
    macs: noMacs,
  }),
];
