import { int } from "../../src/graph/attribute.js";
import { type OpCase, x } from "./case.js";

const input = x([2, 3, 4, 5]);
const at = (axis: number) => ({ op: "Flatten", opset: 13, name: `axis ${axis}`, attributes: { axis: int(axis) }, inputs: [input] });

export const cases: readonly OpCase[] = [
  { op: "Flatten", opset: [1, 9, 11, 13, 21], name: "axis 1 by default", inputs: [input], macs: 0 },
  ...[0, 2, 4, -1, -4].map(at),
];
