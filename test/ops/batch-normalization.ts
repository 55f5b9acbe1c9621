import { float, int } from "../../src/graph/attribute.js";
import { between, type OpCase, x } from "./case.js";

const vectors = [x([3], 2), x([3], 3), x([3], 4), between(0.5, 1, [3])];

export const cases: readonly OpCase[] = [
  { op: "BatchNormalization", opset: [7, 9, 14, 15], name: "images", inputs: [x([2, 3, 4, 5]), ...vectors], macs: 0 },
  { op: "BatchNormalization", opset: 15, name: "matrix", inputs: [x([2, 3]), ...vectors] },
  {
    op: "BatchNormalization",
    opset: 15,
    name: "training_mode",
    attributes: { training_mode: int(1) },
    inputs: [x([2, 3, 4, 5]), ...vectors],
    outputs: 3,
    // Sums of terms around 1 that nearly cancel, in float32 there and in double precision here.
    absolute: 1e-6,
  },
  {
    op: "BatchNormalization",
    opset: 14,
    name: "training_mode, epsilon and momentum given",
    attributes: { training_mode: int(1), epsilon: float(0.125), momentum: float(0.5) },
    inputs: [x([1, 3, 8]), ...vectors],
    outputs: 3,
    absolute: 1e-6,
  },
];
