import { ints } from "../../src/graph/attribute.js";
import { i64, type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "CenterCropPad", opset: 18, name: "crops one axis and pads another", inputs: [x([7, 4]), i64(4, 9)], macs: 0 },
  { op: "CenterCropPad", opset: 18, name: "named axes", attributes: { axes: ints([-1, 1]) }, inputs: [x([2, 3, 6, 7]), i64(4, 6)] },
  { op: "CenterCropPad", opset: 18, name: "to a size known at run time", inputs: [x([7, 4]), i64(4, 9)], hidden: [1] },
];
