import { int } from "../../src/graph/attribute.js";
import { f32, i64, type OpCase, of, x } from "./case.js";

const X = x([2, 5, 3]);

export const cases: readonly OpCase[] = [
  { op: "TopK", opset: 7, name: "k attribute", attributes: { k: int(2) }, inputs: [X], outputs: 2 },
  { op: "TopK", opset: [10, 11, 24], name: "axis 1", attributes: { axis: int(1) }, inputs: [X, i64(3)], outputs: 2 },
  { op: "TopK", opset: 11, name: "smallest", attributes: { largest: int(0) }, inputs: [X, i64(2)], outputs: 2 },
  { op: "TopK", opset: 11, name: "ties", inputs: [f32(1, 3, 3, 1, 3), i64(4)], outputs: 2 },
  { op: "TopK", opset: 11, name: "int64", inputs: [of("int64", [5, -2, 9, 7]), i64(2)], outputs: 2 },
  { op: "TopK", opset: 11, name: "K only a run knows", inputs: [X, i64(2)], outputs: 2, hidden: [1] },
];
