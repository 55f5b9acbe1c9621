import { int, string } from "../../src/graph/attribute.js";
import { type OpCase, of, x } from "./case.js";

const indices = of("int64", [1, 0, -1, 2], [2, 2]);
const elements = { attributes: { axis: int(1) }, inputs: [x([2, 4]), indices, x([2, 2], 2)] };
const blocks = [x([3, 4]), of("int64", [2, 0], [2, 1]), x([2, 4], 2)];

export const cases: readonly OpCase[] = [
  {
    op: "Scatter",
    opset: 9,
    name: "along axis 1",
    attributes: { axis: int(1) },
    inputs: [x([2, 4]), of("int64", [1, 0, 3, 2], [2, 2]), x([2, 2], 2)],
    macs: 0,
  },
  { op: "ScatterElements", opset: [11, 13, 16, 18], name: "along axis 1", ...elements, macs: 0 },
  {
    op: "ScatterElements",
    opset: 18,
    name: "added",
    ...elements,
    attributes: { axis: int(1), reduction: string("add") },
    evaluates: false,
  },
  { op: "ScatterND", opset: [11, 13, 16, 18], name: "rows", inputs: blocks, macs: 0 },
  { op: "ScatterND", opset: 13, name: "elements", inputs: [x([3, 4]), of("int64", [2, 0, 1, -1], [2, 2]), x([2], 2)] },
  { op: "ScatterND", opset: 18, name: "added", inputs: blocks, attributes: { reduction: string("add") }, evaluates: false },
];
