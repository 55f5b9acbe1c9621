/** Trilu (onnx/docs/Operators.md#Trilu). */

import { defineOp, type OpSpec } from "../op.js";
import { rearrange } from "../rearrange.js";
import { freezeAxes } from "./axis-rules.js";
import { likeInput, noMacs } from "./shape-rules.js";

const trilu = defineOp({
  type: "Trilu",
  since: [14],
  inputs: ["input", "k?"],
  outputs: ["output"],
  infer: (op) => [likeInput(op)],

  moves: [0],
  evaluate({ node }, [input, k]) {
    if (!input || input.dims.length < 2) return undefined;
    const [rows, columns] = input.dims.slice(-2) as [number, number];
    const diagonal = k?.ints()[0] ?? 0;
    const isUpper = node.int("upper", 1) !== 0;
    const positions = Float64Array.from({ length: input.size }, (_, at) => {
      const column = at % columns;
      const row = Math.floor(at / columns) % rows;
      const isKept = isUpper ? column - row >= diagonal : column - row <= diagonal;
      return isKept ? at : -1;
    });
    const out = rearrange([input], input.dims, positions);
    return out && [out];
  },

  axes(op) {
    const X = op.in(0);
    freezeAxes(op, X.slice(-2), "Trilu tells rows from columns");
    op.out(0, X);
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [trilu];
