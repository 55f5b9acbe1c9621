import { int } from "../../src/graph/attribute.js";
import { i64, type OpCase, of, scalar, x } from "./case.js";

const X = of("float32", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [2, 3, 2]);

export const cases: readonly OpCase[] = [
  { op: "CumSum", opset: [11, 14], name: "axis 1", inputs: [X, scalar(1)] },
  { op: "CumSum", opset: 14, name: "exclusive", attributes: { exclusive: int(1) }, inputs: [X, scalar(-1)] },
  { op: "CumSum", opset: 14, name: "reverse", attributes: { reverse: int(1) }, inputs: [X, scalar(0)] },
  {
    op: "CumSum",
    opset: 14,
    name: "reverse and exclusive, int64",
    attributes: { reverse: int(1), exclusive: int(1) },
    inputs: [i64(1, 2, 3, 4), scalar(0)],
  },
  { op: "CumProd", opset: 26, name: "along axis 1", inputs: [x([2, 3, 2]), scalar(1)], macs: 0 },
  {
    op: "CumProd",
    opset: 26,
    name: "exclusive, from the end",
    attributes: { exclusive: int(1), reverse: int(1) },
    inputs: [x([4]), scalar(0)],
  },
];
