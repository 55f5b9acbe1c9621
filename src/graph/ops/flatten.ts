/** Flatten (onnx/docs/Operators.md#Flatten). */
import { product } from "../dim.js";
import type { Node } from "../graph.js";
import { defineOp, type OpSpec } from "../op.js";
import { regroup } from "./axis-rules.js";
import { frontAxis, noMacs, type Shape, tensorOf } from "./shape-rules.js";

const flatten = defineOp({
  type: "Flatten",
  since: [1, 9, 11, 13, 21, 23, 24, 25],
  inputs: ["input"],
  outputs: ["output"],

  infer(op) {
    const input = op.type(0);
    return [input && tensorOf(input.dtype, input.shape ? flattened(op.node, input.shape) : [op.fresh(0, 0), op.fresh(0, 1)])];
  },

  moves: [0],
  evaluate(op, [input]) {
    return input && [input.reshape(flattened(op.node, input.dims) as number[])];
  },

  axes: (op) => op.out(0, regroup(op, op.in(0), op.outShape(0))),
  macs: noMacs,
});

/** Two extents: the axes before `axis`, and the rest. */
function flattened(node: Node, shape: Shape): Shape {
  // Unlike elsewhere, axis = rank is allowed: everything is "before".
  const axis = node.int("axis", 1);
  const at = axis === shape.length ? axis : frontAxis(node, axis, shape.length);
  return [product(shape.slice(0, at)), product(shape.slice(at))];
}

export const specs: readonly OpSpec[] = [flatten];
