import { int } from "../../src/graph/attribute.js";
import { i64, type OpCase, of, x } from "./case.js";

const along = (axis: number) => ({ axis: int(axis) });

export const cases: readonly OpCase[] = [
  { op: "Concat", opset: [4, 11, 13], name: "channels", attributes: along(1), inputs: [x([2, 3, 4]), x([2, 1, 4]), x([2, 5, 4])], macs: 0 },
  { op: "Concat", opset: 13, name: "negative axis", attributes: along(-1), inputs: [x([2, 3]), x([2, 4])] },
  { op: "Concat", opset: 13, name: "one input", attributes: along(0), inputs: [x([2, 3])] },
  { op: "Concat", opset: 13, name: "an empty part", attributes: along(0), inputs: [x([2, 3]), x([0, 3])] },
  { op: "Concat", opset: 13, name: "parts of a shape", attributes: along(0), inputs: [i64(4), i64(-1, 7)] },
  { op: "Concat", opset: 13, name: "bool", attributes: along(1), inputs: [of("bool", [1, 0], [2, 1]), of("bool", [0, 0], [2, 1])] },
];
