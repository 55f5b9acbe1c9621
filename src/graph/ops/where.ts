/** Where: X where the condition holds, Y elsewhere, the three broadcast together. Works for every element type. */

import { defineOp, type OpSpec } from "../op.js";
import { rearrange } from "../rearrange.js";
import { elementwise } from "./axis-rules.js";
import { choice, elements, zip } from "./content-algebra.js";
import { broadcastDims, broadcastOffsets } from "./numeric.js";
import { broadcast, NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "Where",
    since: [9, 16],
    inputs: ["condition", "X", "Y"],
    outputs: ["output"],
    remark: NO_MACS,
    infer(op) {
      const dtype = op.type(1)?.dtype ?? op.type(2)?.dtype;
      const shape = broadcast(op.node, [op.shape(0), op.shape(1), op.shape(2)]);
      const content = shape && shape.length <= 1 ? zip([elements(op, 0), elements(op, 1), elements(op, 2)], choice) : undefined;
      return [dtype && tensorOf(dtype, shape, content)];
    },
    evaluate(_, [condition, X, Y]) {
      if (!condition || !X || !Y) return undefined;
      const dims = broadcastDims([condition.dims, X.dims, Y.dims]);
      const [c, x, y] = [condition, X, Y].map((t) => broadcastOffsets(t.dims, dims)) as [Int32Array, Int32Array, Int32Array];
      const holds = condition.bytes;
      const positions = Float64Array.from(c, (at, i) => (holds[at] ? (x[i] as number) : X.size + (y[i] as number)));
      const out = rearrange([X, Y], dims, positions);
      return out && [out];
    },
    axes: elementwise,
    macs: noMacs,
  }),
];
