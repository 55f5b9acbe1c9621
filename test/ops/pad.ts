import { float, ints, string } from "../../src/graph/attribute.js";
import { f0, i64, type OpCase, scalar, x } from "./case.js";

const data = x([2, 3, 4]);
const pads = i64(0, 1, 2, 0, 2, 1);
const inMode = (mode: string, opset: number | readonly number[]): OpCase => ({
  op: "Pad",
  opset,
  name: `mode ${mode}`,
  attributes: { mode: string(mode) },
  inputs: [data, pads],
});

export const cases: readonly OpCase[] = [
  { op: "Pad", opset: 2, name: "attributes", attributes: { pads: ints([0, 1, 2, 0, 2, 1]), value: float(0.5) }, inputs: [data], macs: 0 },
  { op: "Pad", opset: [11, 13, 18, 19, 21, 25], name: "zeros", inputs: [data, pads] },
  { op: "Pad", opset: 13, name: "a value", inputs: [data, pads, f0(-1.5)] },
  { op: "Pad", opset: 13, name: "negative pads crop", inputs: [data, i64(0, -1, -2, 0, 0, 1), f0(3)] },
  { op: "Pad", opset: [18, 21], name: "some axes", inputs: [data, i64(1, 2, 0, 3), undefined, i64(-1, 0)] },
  inMode("reflect", [11, 18]),
  inMode("edge", [11, 18]),
  inMode("wrap", 19),
  { op: "Pad", opset: 13, name: "elements of a shape", inputs: [i64(5, 6), i64(1, 0), scalar(1)] },
];
