import { i64, type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "GridSample", opset: 16, name: "two spatial axes", inputs: [x([2, 3, 5, 4]), x([2, 6, 7, 2])], macs: 0 },
  { op: "GridSample", opset: 20, name: "three spatial axes", inputs: [x([2, 3, 4, 5, 4]), x([2, 2, 6, 7, 3])] },
  { op: "AffineGrid", opset: 20, name: "two spatial axes", inputs: [x([2, 2, 3]), i64(2, 3, 5, 6)], macs: 0 },
  { op: "AffineGrid", opset: 20, name: "three spatial axes", inputs: [x([2, 3, 4]), i64(2, 3, 5, 6, 4)] },
];
