import { int } from "../../src/graph/attribute.js";
import { type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "EyeLike", opset: [9, 22], name: "of the input's type", inputs: [x([3, 4])], macs: 0 },
  { op: "EyeLike", opset: 9, name: "an upper diagonal of int64", attributes: { k: int(1), dtype: int(7) }, inputs: [x([3, 4])] },
  { op: "EyeLike", opset: 9, name: "a lower diagonal", attributes: { k: int(-2) }, inputs: [x([4, 3])] },
];
