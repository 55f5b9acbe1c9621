import { type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "GlobalAveragePool", opset: [7, 22], name: "two spatial axes", inputs: [x([2, 3, 4, 5])] },
  { op: "GlobalMaxPool", opset: [7, 22], name: "one spatial axis", inputs: [x([2, 3, 4])] },
  { op: "GlobalLpPool", opset: 7, name: "three spatial axes", inputs: [x([2, 3, 4, 2, 3])] },
];
