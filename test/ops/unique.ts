import { int } from "../../src/graph/attribute.js";
import { type OpCase, of } from "./case.js";

const data = of("float32", [2, 1, 1, 2, 1, 1], [3, 2]);

export const cases: readonly OpCase[] = [
  { op: "Unique", opset: 11, name: "elements", inputs: [data], outputs: 4, hidden: [0], macs: 0 },
  { op: "Unique", opset: 11, name: "rows", attributes: { axis: int(0) }, inputs: [data], outputs: 4, hidden: [0] },
];
