import { float, int } from "../../src/graph/attribute.js";
import { type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "Gemm", opset: [7, 9, 11, 13], name: "bias vector", inputs: [x([2, 3]), x([3, 4]), x([4])], macs: 24 },
  {
    op: "Gemm",
    opset: 13,
    name: "transB, scalar C, alpha, beta",
    attributes: { transB: int(1), alpha: float(0.5), beta: float(2) },
    inputs: [x([2, 3]), x([4, 3]), x([])],
  },
  {
    op: "Gemm",
    opset: 13,
    name: "transA, column C",
    attributes: { transA: int(1) },
    inputs: [x([3, 2]), x([3, 4]), x([2, 1])],
    macs: 24,
  },
  { op: "Gemm", opset: 11, name: "no C", attributes: { transA: int(1), transB: int(1) }, inputs: [x([3, 2]), x([4, 3])] },
];
