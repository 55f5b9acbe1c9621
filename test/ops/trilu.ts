import { int } from "../../src/graph/attribute.js";
import { type OpCase, of, scalar, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "Trilu", opset: 14, name: "the upper part by default", inputs: [x([2, 3, 4])], macs: 0 },
  { op: "Trilu", opset: 14, name: "above the diagonal", inputs: [x([4, 3]), scalar(1)] },
  {
    op: "Trilu",
    opset: 14,
    name: "the lower part and one more",
    attributes: { upper: int(0) },
    inputs: [of("int64", [1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3]), scalar(1)],
  },
];
