/** EyeLike (onnx/docs/Operators.md#EyeLike). */
import { dtypeOfWire } from "../dtype.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { Tensor } from "../tensor.js";
import { isNumeric } from "./numeric.js";
import { noMacs, tensorOf } from "./shape-rules.js";

const eyeLike = defineOp({
  type: "EyeLike",
  since: [9, 22],
  inputs: ["input"],
  outputs: ["output"],

  infer(op) {
    const input = op.type(0);
    const dtype = dtypeOf(op);
    return [dtype && tensorOf(dtype, input?.shape ?? [op.fresh(0, 0), op.fresh(0, 1)])];
  },

  evaluate(op, [input]) {
    const dtype = dtypeOf(op);
    if (input?.dims.length !== 2 || !dtype || !isNumeric(dtype)) return undefined;
    const [rows, columns] = input.dims as [number, number];
    const k = op.node.int("k", 0);
    const values = new Float64Array(rows * columns);
    for (let i = 0; i < rows; i++) if (i + k >= 0 && i + k < columns) values[i * columns + i + k] = 1;
    return [Tensor.fromNumbers(dtype, input.dims, values)];
  },

  barrier: "EyeLike writes a diagonal over both axes and takes its size from the input",
  macs: noMacs,
});

function dtypeOf(op: OpContext) {
  const wire = op.node.int("dtype");
  return wire === undefined ? op.type(0)?.dtype : dtypeOfWire(wire);
}

export const specs: readonly OpSpec[] = [eyeLike];
