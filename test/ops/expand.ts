import { i64, type OpCase, of, scalar, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "Expand", opset: [8, 13], name: "an axis of 1", inputs: [x([1, 3, 1]), i64(2, 3, 4)], macs: 0 },
  { op: "Expand", opset: 13, name: "new axes in front", inputs: [x([3, 1]), i64(2, 1, 4)] },
  { op: "Expand", opset: 13, name: "a shape of lower rank", inputs: [x([2, 3, 1]), i64(4)] },
  { op: "Expand", opset: 13, name: "ones keep an extent", inputs: [x([2, 3]), i64(1, 1)] },
  { op: "Expand", opset: 13, name: "a scalar", inputs: [scalar(7), i64(3)] },
  { op: "Expand", opset: 13, name: "bool", inputs: [of("bool", [1, 0], [2, 1]), i64(2, 2)] },
];
