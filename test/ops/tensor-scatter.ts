import { int, string } from "../../src/graph/attribute.js";
import { i64, type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "TensorScatter", opset: 24, name: "from the first step", inputs: [x([2, 3, 5, 4]), x([2, 3, 2, 4], 2)], macs: 0 },
  { op: "TensorScatter", opset: 24, name: "from a step per sample", inputs: [x([2, 3, 5, 4]), x([2, 3, 2, 4], 2), i64(3, 1)] },
  {
    op: "TensorScatter",
    opset: 24,
    name: "circular along axis 1",
    attributes: { axis: int(1), mode: string("circular") },
    inputs: [x([2, 5, 4]), x([2, 3, 4], 2), i64(4, 3)],
  },
];
