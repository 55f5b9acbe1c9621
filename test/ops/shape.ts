import { int } from "../../src/graph/attribute.js";
import { type OpCase, scalar, x } from "./case.js";

const data = x([2, 3, 4]);
const window = (start: number, end?: number): OpCase => ({
  op: "Shape",
  opset: [15, 19],
  name: `from ${start} to ${end ?? "the end"}`,
  attributes: { start: int(start), ...(end === undefined ? {} : { end: int(end) }) },
  inputs: [data],
});

export const cases: readonly OpCase[] = [
  { op: "Shape", opset: [1, 13, 15, 21, 25], name: "all extents", inputs: [data], macs: 0 },
  window(1),
  window(0, -1),
  window(-2, 2),
  window(-10, 10),
  window(2, 1),
  { op: "Shape", opset: 13, name: "of a scalar", inputs: [scalar(1)] },
  { op: "Size", opset: [1, 13, 21], name: "of a tensor", inputs: [data], macs: 0 },
];
