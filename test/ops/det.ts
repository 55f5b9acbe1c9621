import { type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "Det", opset: [11, 22], name: "one matrix gives a scalar", inputs: [x([3, 3])], macs: 0 },
  { op: "Det", opset: 11, name: "a batch of matrices", inputs: [x([2, 4, 3, 3])] },
];
