/** ConstantOfShape (onnx/docs/Operators.md#ConstantOfShape). */
import type { Node } from "../graph.js";
import { defineOp, type OpSpec } from "../op.js";
import { rearrange, sizeOf } from "../rearrange.js";
import { Tensor } from "../tensor.js";
import { noMacs, shapeOfRank, tensorOf } from "./shape-rules.js";

const constantOfShape = defineOp({
  type: "ConstantOfShape",
  since: [9, 20, 21, 23, 24, 25],
  inputs: ["input"],
  outputs: ["output"],

  // The content of a small result comes from `evaluate`.
  infer(op) {
    const { dtype } = fillOf(op.node);
    return [tensorOf(dtype, op.content(0) ?? shapeOfRank(op, op.shape(0)?.[0]))];
  },

  evaluate(op, [input]) {
    const dims = input?.ints();
    if (!dims || dims.some((d) => d < 0)) return undefined;
    const out = rearrange([fillOf(op.node)], dims, new Float64Array(sizeOf(dims)));
    return out && [out];
  },

  sizeOperands: [0],
  axes: (op) =>
    op.out(
      0,
      op.outShape(0).map((d) => (op.content(0) ? op.atom(d) : op.fixed(d, "its extent is computed at run time"))),
    ),
  resize: (op) =>
    op.setOperand(
      0,
      op.outShape(0).map((_, k) => op.sizeOut(0, k)),
    ),
  macs: noMacs,
});

/** The single element to repeat; float32 zero by default. */
function fillOf(node: Node): Tensor {
  return node.tensor("value") ?? Tensor.floats([1], [0]);
}

export const specs: readonly OpSpec[] = [constantOfShape];
