import { int } from "../../src/graph/attribute.js";
import { i64, type OpCase, x } from "./case.js";

const data = x([4, 3, 2]);

export const cases: readonly OpCase[] = [
  { op: "ReverseSequence", opset: 10, name: "time first", inputs: [data, i64(1, 4, 2)], macs: 0 },
  {
    op: "ReverseSequence",
    opset: 10,
    name: "batch first",
    attributes: { batch_axis: int(0), time_axis: int(1) },
    inputs: [data, i64(1, 3, 2, 3)],
  },
];
