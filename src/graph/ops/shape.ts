/** Shape and Size (onnx/docs/Operators.md#Shape). */
import { product } from "../dim.js";
import type { Node } from "../graph.js";
import { defineOp, type OpSpec } from "../op.js";
import { Tensor } from "../tensor.js";
import { noMacs, type Shape, tensorOf } from "./shape-rules.js";

const FOLLOWED = "A barrier only where its result is not known as symbols: shape arithmetic couples nothing and is rewritten.";
const MEASURED = "its extents are read as numbers that cannot be followed";

const shape = defineOp({
  type: "Shape",
  since: [1, 13, 15, 19, 21, 23, 24, 25],
  inputs: ["data"],
  outputs: ["shape"],

  infer(op) {
    const dims = op.shape(0);
    if (!dims) return [tensorOf("int64", [op.fresh(0, 0)])];
    const part = window(op.node, dims);
    return [tensorOf("int64", [part.length], part)];
  },

  evaluate: (op, [data]) => data && [Tensor.ints(window(op.node, data.dims) as number[])],
  remark: FOLLOWED,
  barrier: MEASURED,
  macs: noMacs,
});

/** The extents from `start` to `end` (opset 15), clamped; Array.slice counts negatives from the back as the op does. */
function window(node: Node, dims: Shape): Shape {
  return dims.slice(node.int("start", 0), node.int("end"));
}

const size = defineOp({
  type: "Size",
  since: [1, 13, 19, 21, 23, 24, 25],
  inputs: ["data"],
  outputs: ["size"],

  infer(op) {
    const dims = op.shape(0);
    return [tensorOf("int64", [], dims && [product(dims)])];
  },

  evaluate: (_, [data]) => data && [Tensor.ints([data.size], [])],
  remark: FOLLOWED,
  barrier: MEASURED,
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [shape, size];
