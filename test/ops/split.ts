import { int, ints } from "../../src/graph/attribute.js";
import { i64, type OpCase, x } from "./case.js";

const axis = int(1);

export const cases: readonly OpCase[] = [
  {
    op: "Split",
    opset: [2, 11],
    name: "sizes as an attribute",
    attributes: { axis, split: ints([1, 3, 2]) },
    inputs: [x([2, 6, 3])],
    outputs: 3,
    macs: 0,
  },
  { op: "Split", opset: [13, 18], name: "sizes as an input", attributes: { axis }, inputs: [x([2, 6, 3]), i64(1, 5)], outputs: 2 },
  { op: "Split", opset: [2, 11, 13], name: "equal parts", attributes: { axis: int(1) }, inputs: [x([2, 6])], outputs: 3 },
  {
    op: "Split",
    opset: 18,
    name: "num_outputs that divides",
    attributes: { axis: int(-1), num_outputs: int(3) },
    inputs: [x([2, 6])],
    outputs: 3,
  },
  {
    op: "Split",
    opset: 18,
    name: "a last part that is smaller",
    attributes: { axis: int(-1), num_outputs: int(3) },
    inputs: [x([2, 7])],
    outputs: 3,
  },
  { op: "Split", opset: 13, name: "parts of a shape", inputs: [i64(4, 5, 6), i64(1, 2)], outputs: 2 },
];
