import { between, f32, type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "PRelu", opset: [7, 9, 16], name: "slope per channel", inputs: [between(-2, 2, [2, 3, 4, 5]), x([3, 1, 1])] },
  { op: "PRelu", opset: 16, name: "one slope", inputs: [between(-2, 2, [2, 3]), f32(0.25)] },
  { op: "PRelu", opset: 16, name: "slope grows X, which the runtime allows", inputs: [between(-2, 2, [1, 3]), x([2, 3])] },
  { op: "PRelu", opset: 16, name: "slope of higher rank", inputs: [between(-2, 2, [3]), x([2, 3])] },
];
