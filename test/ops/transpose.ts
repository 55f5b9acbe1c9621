import { ints } from "../../src/graph/attribute.js";
import { i64, type OpCase, of, x } from "./case.js";

const data = x([2, 3, 4, 5]);

export const cases: readonly OpCase[] = [
  { op: "Transpose", opset: [1, 13, 21], name: "perm", attributes: { perm: ints([0, 2, 3, 1]) }, inputs: [data], macs: 0 },
  { op: "Transpose", opset: 13, name: "reverses by default", inputs: [data] },
  { op: "Transpose", opset: 13, name: "int64", inputs: [of("int64", [1, 2, 3, 4, 5, 6], [2, 3])] },
  { op: "Transpose", opset: 13, name: "float16", inputs: [of("float16", [1, 2, 3, 4, 5, 6], [2, 3])] },
  { op: "Transpose", opset: 13, name: "bool", inputs: [of("bool", [1, 0, 1, 1, 0, 0], [3, 2])] },
  { op: "Transpose", opset: 13, name: "a vector", inputs: [i64(3, 4)] },
];
