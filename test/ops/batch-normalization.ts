import { int } from "../../src/graph/attribute.js";
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
  },
];
