import { i64, type OpCase, of, scalar, x } from "./case.js";

const condition = of("bool", [1, 0, 1]);

export const cases: readonly OpCase[] = [
  { op: "Where", opset: [9, 16], name: "three shapes broadcast", inputs: [of("bool", [1, 0], [2, 1, 1]), x([3, 1]), x([4], 2)] },
  { op: "Where", opset: 16, name: "int64 vectors", inputs: [condition, i64(3, -1, 5), i64(7, 8, 9)] },
  { op: "Where", opset: 16, name: "int64 beyond 2^53", inputs: [condition, scalar(Number.MAX_SAFE_INTEGER), i64(7, 8, 9)] },
  { op: "Where", opset: 16, name: "scalar condition", inputs: [of("bool", [0], []), i64(3, 4), i64(7, 8)] },
  { op: "Where", opset: 9, name: "uint8", inputs: [condition, of("uint8", [1, 2, 3]), of("uint8", [200])] },
];
