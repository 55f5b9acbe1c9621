import { int, string } from "../../src/graph/attribute.js";
import { i64, type OpCase, of, x } from "./case.js";

const none = string("none");
const grid = of("int64", [0, 2, 1, 3, 3, 1], [2, 3]);

export const cases: readonly OpCase[] = [
  { op: "NegativeLogLikelihoodLoss", opset: [12, 13, 22], name: "a mean by default", inputs: [x([2, 4]), i64(1, 3)], macs: 0 },
  {
    op: "NegativeLogLikelihoodLoss",
    opset: 13,
    name: "per element, weighted",
    attributes: { reduction: none, ignore_index: int(3) },
    inputs: [x([2, 4, 3]), grid, x([4], 2)],
  },
  { op: "SoftmaxCrossEntropyLoss", opset: [12, 13], name: "a mean by default", inputs: [x([2, 4]), i64(1, 3)], outputs: 2, macs: 0 },
  {
    op: "SoftmaxCrossEntropyLoss",
    opset: 13,
    name: "per element",
    attributes: { reduction: none },
    inputs: [x([2, 4, 3]), grid],
    outputs: 2,
  },
];
