import { ints } from "../../src/graph/attribute.js";
import { i64, type OpCase, x } from "./case.js";

const ones = x([1, 3, 1, 4, 1]);
const axes = (...a: number[]) => ({ axes: ints(a) });

export const cases: readonly OpCase[] = [
  { op: "Squeeze", opset: [1, 11], name: "axes as an attribute", attributes: axes(0, 2), inputs: [ones], macs: 0 },
  { op: "Squeeze", opset: 11, name: "negative axis as an attribute", attributes: axes(-1), inputs: [ones] },
  { op: "Squeeze", opset: [13, 21], name: "axes as an input", inputs: [ones, i64(0, -1)] },
  { op: "Squeeze", opset: [11, 13], name: "every 1 by default", inputs: [ones] },
  { op: "Squeeze", opset: 13, name: "a vector to a scalar", inputs: [i64(7), i64(0)] },
  { op: "Unsqueeze", opset: [1, 11], name: "axes as an attribute", attributes: axes(0, 3), inputs: [x([3, 4])], macs: 0 },
  { op: "Unsqueeze", opset: 11, name: "negative axis as an attribute", attributes: axes(-1), inputs: [x([3, 4])] },
  { op: "Unsqueeze", opset: [13, 21], name: "axes as an input, out of order", inputs: [x([3, 4]), i64(-1, 0)] },
];
