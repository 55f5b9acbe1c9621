import { f0, type OpCase, of, scalar } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "Range", opset: 11, name: "up", inputs: [scalar(0), scalar(7), scalar(1)], macs: 0 },
  { op: "Range", opset: 11, name: "up in threes", inputs: [scalar(2), scalar(12), scalar(3)] },
  { op: "Range", opset: 11, name: "down", inputs: [scalar(9), scalar(2), scalar(-2)] },
  { op: "Range", opset: 11, name: "nothing", inputs: [scalar(3), scalar(1), scalar(1)], symbolic: false },
  { op: "Range", opset: 11, name: "int32", inputs: [of("int32", [1], []), of("int32", [4], []), of("int32", [1], [])] },
  { op: "Range", opset: 11, name: "floats", inputs: [f0(0), f0(3), f0(1)] },
  { op: "Range", opset: 11, name: "fractions", inputs: [f0(0.5), f0(2), f0(0.25)], evaluates: false },
];
