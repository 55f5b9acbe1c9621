import { float, int, string } from "../../src/graph/attribute.js";
import { f0, f32, type OpCase, of, x } from "./case.js";

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
  {
    op: "FusedGemm",
    domain: "com.microsoft",
    opset: 17,
    name: "activation, alpha, transB",
    attributes: { transB: int(1), alpha: float(0.5), activation: string("LeakyRelu"), activation_alpha: float(0.1) },
    inputs: [x([2, 3]), x([4, 3]), x([4])],
    macs: 24,
  },
  {
    op: "QGemm",
    domain: "com.microsoft",
    opset: 17,
    name: "quantised output, a scale per column, C",
    attributes: { transB: int(1) },
    inputs: [
      of("uint8", [1, 20, 3, 40, 5, 60], [2, 3]),
      f0(0.1),
      of("uint8", [7], []),
      of("uint8", [9, 8, 7, 6, 5, 4, 30, 20, 10, 0, 1, 2], [4, 3]),
      f32(0.1, 0.2, 0.3, 0.4),
      of("uint8", [1, 2, 3, 4]),
      of("int32", [100, -100, 5, 0]),
      f0(0.5),
      of("uint8", [3], []),
    ],
    macs: 24,
  },
  {
    op: "QGemm",
    domain: "com.microsoft",
    opset: 17,
    name: "real output",
    inputs: [
      of("uint8", [1, 20, 3, 40, 5, 60], [2, 3]),
      f0(0.1),
      of("uint8", [7], []),
      of("int8", [9, -8, 7, 6, -5, 4], [3, 2]),
      f0(0.1),
      of("int8", [0], []),
    ],
  },
];
