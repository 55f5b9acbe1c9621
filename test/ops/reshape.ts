import { int, ints } from "../../src/graph/attribute.js";
import { i64, type OpCase, x } from "./case.js";

const data = x([2, 3, 4]);

export const cases: readonly OpCase[] = [
  { op: "Reshape", opset: [5, 13, 14, 19, 21, 25], name: "a flat view", inputs: [data, i64(24)], macs: 0 },
  { op: "Reshape", opset: 13, name: "0 copies, -1 takes the rest", inputs: [data, i64(0, -1)] },
  { op: "Reshape", opset: 13, name: "-1 before a copied extent", inputs: [data, i64(-1, 0, 2)] },
  { op: "Reshape", opset: 13, name: "to a scalar", inputs: [x([1, 1]), i64()] },
  { op: "Reshape", opset: 14, name: "allowzero makes an empty tensor", attributes: { allowzero: int(1) }, inputs: [x([0, 3]), i64(3, 0)] },
  { op: "Reshape", opset: 13, name: "int64 data", inputs: [i64(1, 2, 3, 4), i64(2, 2)] },
  { op: "Reshape", opset: 1, name: "shape as an attribute", attributes: { shape: ints([4, -1]) }, inputs: [data] },
];
