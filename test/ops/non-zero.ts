import { i64, type OpCase, of } from "./case.js";

const matrix = of("float32", [0, 1, 0, 2, 3, 0], [2, 3]);

export const cases: readonly OpCase[] = [
  { op: "NonZero", opset: [9, 13], name: "of a matrix", inputs: [matrix], macs: 0 },
  { op: "NonZero", opset: 13, name: "of a vector", inputs: [i64(0, 5, 0, 1)], symbolic: false },
  { op: "NonZero", opset: 13, name: "of what is known at run time", inputs: [matrix], hidden: [0] },
];
