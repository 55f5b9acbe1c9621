import { int } from "../../src/graph/attribute.js";
import { f32, i64, type OpCase, of, scalar } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "OneHot", opset: [9, 11], name: "a last axis by default", inputs: [i64(0, 2, 1), scalar(4), f32(0, 1)], macs: 0 },
  {
    op: "OneHot",
    opset: 11,
    name: "axis 0 of a matrix",
    attributes: { axis: int(0) },
    inputs: [of("int64", [0, 2, 1, 3], [2, 2]), scalar(5), of("int64", [0, 1])],
  },
  {
    op: "OneHot",
    opset: 11,
    name: "a middle axis, indices counted from the back and out of range",
    attributes: { axis: int(1) },
    inputs: [of("int64", [0, -1, 2, 7, -4, 1], [3, 2]), scalar(3), f32(-1, 2)],
  },
];
