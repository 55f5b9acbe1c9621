/**
 * Matrix products of quantised numbers, Σ (a - a_zero_point)·(b - b_zero_point): MatMulInteger, QLinearMatMul, and
 * com.microsoft MatMulIntegerToFloat and DynamicQuantizeMatMul. Not evaluated: constants of them are rare.
 */
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import type { DType } from "../dtype.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { macsOf, matmulAxes, matmulShape } from "./matmul.js";
import { WHOLE_TENSOR_SCALE } from "./quantize.js";
import { tensorOf } from "./shape-rules.js";

/** One per row of A or column of B: a vector, or a tensor of the rank of `matrix` with 1 elsewhere; one element serves all. */
function alongVectors(op: AxisContext, operands: readonly number[], matrix: readonly Axis[], vector: Axis | undefined): void {
  for (const i of operands) {
    if (!op.has(i)) continue;
    const V = op.in(i);
    V.forEach((v, k) => {
      const a = V.length === 1 ? vector : matrix[matrix.length - V.length + k];
      if (a && v.size === a.size) op.same(v, a);
      else if (v.size !== 1 && a) freezeAxes(op, [v, a], "its scale or zero point has another extent");
    });
  }
}

interface Row extends Pick<OpSpec, "type" | "domain" | "since" | "inputs" | "outputs" | "remark"> {
  readonly a: number;
  readonly b: number;
  /** Scales and zero points of A, and of Y where there may be one per row. */
  readonly perRow: readonly number[];
  /** Scales and zero points of B, and the bias. */
  readonly perColumn: readonly number[];
  /** A is quantised on the way, with one scale. */
  readonly dynamic?: boolean;
  readonly dtype: (op: OpContext) => DType | undefined;
}

const rows: readonly Row[] = [
  {
    type: "MatMulInteger",
    since: [10],
    inputs: ["A", "B", "a_zero_point?", "b_zero_point?"],
    outputs: ["Y"],
    a: 0,
    b: 1,
    perRow: [2],
    perColumn: [3],
    dtype: () => "int32",
  },
  {
    type: "QLinearMatMul",
    since: [10, 21],
    inputs: ["a", "a_scale", "a_zero_point", "b", "b_scale", "b_zero_point", "y_scale", "y_zero_point"],
    outputs: ["y"],
    a: 0,
    b: 3,
    perRow: [1, 2, 6, 7],
    perColumn: [4, 5],
    dtype: (op) => op.type(7)?.dtype,
  },
  {
    type: "MatMulIntegerToFloat",
    domain: "com.microsoft",
    since: [1],
    inputs: ["A", "B", "a_scale", "b_scale", "a_zero_point?", "b_zero_point?", "bias?"],
    outputs: ["Y"],
    a: 0,
    b: 1,
    perRow: [2, 4],
    perColumn: [3, 5, 6],
    dtype: (op) => op.type(2)?.dtype ?? op.type(3)?.dtype,
  },
  {
    type: "DynamicQuantizeMatMul",
    domain: "com.microsoft",
    since: [1],
    inputs: ["A", "B", "b_scale", "b_zero_point?", "bias?"],
    outputs: ["Y"],
    remark: `A is kept whole: ${WHOLE_TENSOR_SCALE}.`,
    a: 0,
    b: 1,
    perRow: [],
    perColumn: [2, 3, 4],
    dynamic: true,
    dtype: (op) => op.type(0)?.dtype ?? op.type(2)?.dtype,
  },
];

export const specs: readonly OpSpec[] = rows.map(({ a, b, perRow, perColumn, dynamic, dtype, ...row }) => {
  const product = (op: OpContext) => matmulShape(op.node, op.shape(a), op.shape(b));
  return defineOp({
    ...row,
    infer(op) {
      const of = dtype(op);
      return [of && tensorOf(of, product(op)?.shape)];
    },
    axes(op) {
      if (dynamic) freezeAxes(op, op.in(a), WHOLE_TENSOR_SCALE);
      const { row, column } = matmulAxes(op, { a, b });
      alongVectors(op, perRow, op.in(a), row[0]);
      alongVectors(op, perColumn, op.in(b), column[0]);
    },
    macs: (op) => macsOf(op, product(op)),
  });
});
