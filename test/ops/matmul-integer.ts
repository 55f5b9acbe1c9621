import { f0, f32, type OpCase, of, x } from "./case.js";

const bytes = (dims: readonly number[]) =>
  of(
    "uint8",
    Array.from({ length: dims.reduce((a, b) => a * b) }, (_, i) => (i * 11) % 256),
    dims,
  );

export const cases: readonly OpCase[] = [
  {
    op: "MatMulInteger",
    opset: 10,
    name: "zero points",
    inputs: [bytes([2, 3]), bytes([3, 4]), of("uint8", [2], []), of("uint8", [3], [])],
    macs: 24,
  },
  {
    op: "QLinearMatMul",
    opset: [10, 21],
    name: "uint8",
    inputs: [bytes([2, 3]), f0(0.1), of("uint8", [2], []), bytes([3, 4]), f0(0.2), of("uint8", [3], []), f0(0.4), of("uint8", [7], [])],
    macs: 24,
  },
  {
    op: "MatMulInteger",
    opset: 10,
    name: "a zero point per column, and a batch",
    inputs: [bytes([2, 2, 3]), bytes([3, 4]), of("uint8", [2], []), of("uint8", [3, 1, 0, 9])],
    macs: 48,
  },
  { op: "MatMulInteger", opset: 10, name: "no zero points", inputs: [bytes([2, 3]), bytes([3, 4])] },
  {
    op: "QLinearMatMul",
    opset: 10,
    name: "a scale per column",
    inputs: [
      bytes([2, 3]),
      f0(0.1),
      of("uint8", [2], []),
      bytes([3, 4]),
      f32(0.2, 0.1, 0.05, 0.3),
      of("uint8", [3, 0, 1, 2]),
      f0(0.4),
      of("uint8", [7], []),
    ],
  },
  {
    op: "MatMulIntegerToFloat",
    domain: "com.microsoft",
    opset: 17,
    name: "a scale per column, zero points and a bias",
    inputs: [
      bytes([2, 2, 3]),
      bytes([3, 4]),
      f0(0.1),
      f32(0.2, 0.1, 0.05, 0.3),
      of("uint8", [2], []),
      of("uint8", [3, 0, 1, 2]),
      f32(1, 2, 3, 4),
    ],
    macs: 48,
  },
  {
    op: "MatMulIntegerToFloat",
    domain: "com.microsoft",
    opset: 17,
    name: "scales alone",
    inputs: [bytes([2, 3]), bytes([3, 4]), f0(0.1), f0(0.2)],
  },
  {
    op: "DynamicQuantizeMatMul",
    domain: "com.microsoft",
    opset: 17,
    name: "a scale per column and a bias",
    inputs: [x([2, 2, 3]), bytes([3, 4]), f32(0.2, 0.1, 0.05, 0.3), of("uint8", [3, 0, 1, 2]), f32(1, 2, 3, 4)],
    macs: 48,
  },
  { op: "DynamicQuantizeMatMul", domain: "com.microsoft", opset: 17, name: "one scale", inputs: [x([2, 3]), bytes([3, 4]), f0(0.2)] },
];
