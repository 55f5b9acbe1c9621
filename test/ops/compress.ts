import { int } from "../../src/graph/attribute.js";
import { type OpCase, of, x } from "./case.js";

const data = x([3, 4]);

export const cases: readonly OpCase[] = [
  { op: "Compress", opset: [9, 11], name: "rows", attributes: { axis: int(0) }, inputs: [data, of("bool", [1, 0, 1])], macs: 0 },
  { op: "Compress", opset: 11, name: "a short condition", attributes: { axis: int(-1) }, inputs: [data, of("bool", [0, 1])] },
  { op: "Compress", opset: 11, name: "elements", inputs: [data, of("bool", [0, 1, 1, 0, 0, 0, 1])] },
  {
    op: "Compress",
    opset: 11,
    name: "a condition known at run time",
    attributes: { axis: int(0) },
    inputs: [data, of("bool", [1, 0, 1])],
    hidden: [1],
  },
];
