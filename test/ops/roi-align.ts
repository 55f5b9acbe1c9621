import { int, ints } from "../../src/graph/attribute.js";
import { i64, type OpCase, of, x } from "./case.js";

const X = x([2, 3, 8, 8]);
const rois = of("float32", [0, 0, 4, 4, 2, 2, 7, 7, 1, 0, 5, 3], [3, 4]);

export const cases: readonly OpCase[] = [
  {
    op: "RoiAlign",
    opset: [10, 16],
    name: "three regions",
    attributes: { output_height: int(4), output_width: int(5) },
    inputs: [X, rois, i64(0, 1, 1)],
    macs: 0,
  },
  {
    op: "MaxRoiPool",
    opset: 1,
    name: "two regions",
    attributes: { pooled_shape: ints([2, 3]) },
    inputs: [X, of("float32", [0, 0, 0, 4, 4, 1, 2, 2, 7, 7], [2, 5])],
    macs: 0,
  },
];
