import { type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "OptionalGetElement", opset: 18, name: "of a tensor", inputs: [x([2, 3])], macs: 0 },
  { op: "OptionalHasElement", opset: 18, name: "of a tensor", inputs: [x([2, 3])], macs: 0 },
];
