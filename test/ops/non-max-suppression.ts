import { f0, type OpCase, of, scalar } from "./case.js";

const boxes = of("float32", [0, 0, 1, 1, 0, 0, 1, 1.1, 0, 10, 1, 11], [1, 3, 4]);
const scores = of("float32", [0.9, 0.8, 0.7], [1, 1, 3]);

export const cases: readonly OpCase[] = [
  {
    op: "NonMaxSuppression",
    opset: [10, 11],
    name: "two of three boxes",
    inputs: [boxes, scores, scalar(3), f0(0.5)],
    hidden: [0, 1],
    macs: 0,
  },
];
