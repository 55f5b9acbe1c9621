import { i64, type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "Tile", opset: [6, 13], name: "every axis", inputs: [x([2, 3, 2]), i64(2, 1, 3)], macs: 0 },
  { op: "Tile", opset: 13, name: "a repeat of 0", inputs: [x([2, 3]), i64(0, 2)] },
  { op: "Tile", opset: 13, name: "a shape", inputs: [i64(4, 5), i64(2)] },
];
