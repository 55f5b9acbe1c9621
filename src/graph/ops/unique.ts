/** Unique (onnx/docs/Operators.md#Unique). How many there are depends on data; not evaluated. */
import { product } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { frontAxis, noMacs, tensorOf } from "./shape-rules.js";

const unique = defineOp({
  type: "Unique",
  since: [11],
  inputs: ["X"],
  outputs: ["Y", "indices?", "inverse_indices?", "counts?"],

  infer(op) {
    const x = op.type(0);
    const axis = op.node.int("axis");
    const shape = x?.shape;
    if (!x) return [undefined];
    const count = op.fresh(0, axis === undefined || !shape ? 0 : frontAxis(op.node, axis, shape.length));
    const along = shape && axis !== undefined ? frontAxis(op.node, axis, shape.length) : undefined;
    const y = axis === undefined ? [count] : shape?.map((d, a) => (a === along ? count : d));
    const inverse = !shape ? op.fresh(2, 0) : along === undefined ? product(shape) : (shape[along] ?? 1);
    return [tensorOf(x.dtype, y), tensorOf("int64", [count]), tensorOf("int64", [inverse]), tensorOf("int64", [count])];
  },

  barrier: "Unique compares whole slices and gives positions",
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [unique];
