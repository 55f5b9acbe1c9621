import { float, int } from "../../src/graph/attribute.js";
import { i64, type OpCase, of, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "MatMul", opset: [7, 9, 13], name: "matrices", inputs: [x([2, 3]), x([3, 4])], macs: 24 },
  {
    op: "MatMul",
    opset: 13,
    name: "batches broadcast", // Terms of opposite sign cancel in float32; largest seen: 2.8e-8.
    absolute: 1e-7,
    inputs: [x([5, 1, 2, 3]), x([4, 3, 2])],
    macs: 5 * 4 * 2 * 2 * 3,
  },
  { op: "MatMul", opset: 13, name: "vector on the left", inputs: [x([3]), x([2, 3, 4])], macs: 24 },
  { op: "MatMul", opset: 13, name: "vector on the right", inputs: [x([2, 4, 3]), x([3])], macs: 24 },
  { op: "MatMul", opset: 13, name: "two vectors", inputs: [x([3]), x([3], 2)], macs: 3 },
  { op: "MatMul", opset: 13, name: "integers", inputs: [of("int32", [1, -2, 3, 4], [2, 2]), of("int32", [5, 6, -7, 8], [2, 2])] },
  { op: "MatMul", opset: 13, name: "int64 vectors", inputs: [i64(1, 2, 3), i64(4, 5, 6)] },
  {
    op: "FusedMatMul",
    domain: "com.microsoft",
    opset: 17,
    name: "transA, alpha",
    attributes: { transA: int(1), alpha: float(0.5) },
    inputs: [x([4, 3, 2]), x([4, 3, 5])],
    macs: 4 * 2 * 5 * 3,
  },
  { op: "FusedMatMul", domain: "com.microsoft", opset: 17, name: "transB", attributes: { transB: int(1) }, inputs: [x([2, 3]), x([5, 3])] },
  {
    op: "FusedMatMul",
    domain: "com.microsoft",
    opset: 17,
    name: "transBatchA and transA: the first axis goes behind the batch",
    attributes: { transBatchA: int(1), transA: int(1) },
    inputs: [x([2, 4, 3]), x([4, 2, 5])],
    macs: 4 * 3 * 2 * 5,
  },
  {
    op: "FusedMatMul",
    domain: "com.microsoft",
    opset: 17,
    name: "transBatchB of rank 4",
    attributes: { transBatchB: int(1), transB: int(1) },
    inputs: [x([2, 3, 4, 5]), x([6, 2, 3, 5])],
    macs: 2 * 3 * 4 * 6 * 5,
  },
  {
    op: "FusedMatMul",
    domain: "com.microsoft",
    opset: 17,
    name: "transBatchB without transB",
    attributes: { transBatchB: int(1) },
    inputs: [x([2, 3, 4, 5]), x([5, 2, 3, 6])],
  },
  {
    op: "TransposeMatMul",
    domain: "com.microsoft",
    opset: 17,
    name: "transB",
    attributes: { transB: int(1) },
    inputs: [x([2, 3]), x([5, 3])],
  },
];
