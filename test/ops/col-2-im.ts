import { ints } from "../../src/graph/attribute.js";
import { i64, type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "Col2Im", opset: 18, name: "blocks that overlap", inputs: [x([2, 12, 9]), i64(4, 4), i64(2, 2)], macs: 0 },
  {
    op: "Col2Im",
    opset: 18,
    name: "strides, pads and dilations",
    attributes: { strides: ints([2, 1]), pads: ints([1, 0, 0, 1]), dilations: ints([1, 2]) },
    inputs: [x([1, 18, 9]), i64(5, 6), i64(2, 3)],
    symbolic: false,
  },
  { op: "Col2Im", opset: 18, name: "of extents known at run time", inputs: [x([2, 12, 9]), i64(4, 4), i64(2, 2)], hidden: [1, 2] },
];
