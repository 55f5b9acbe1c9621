import { float } from "../../src/graph/attribute.js";
import { between, f0, f32, i64, type OpCase, of, scalar } from "./case.js";

const X = between(-3, 9, [2, 3, 4]);

export const cases: readonly OpCase[] = [
  { op: "Clip", opset: 7, name: "both attributes", attributes: { min: float(0), max: float(6) }, inputs: [X] },
  { op: "Clip", opset: 7, name: "max only", attributes: { max: float(6) }, inputs: [X] },
  { op: "Clip", opset: [11, 12, 13], name: "both inputs", inputs: [X, f0(0), f0(6)] },
  { op: "Clip", opset: 13, name: "max only, input", inputs: [X, undefined, f0(6)] },
  { op: "Clip", opset: 13, name: "no bounds, NaN", inputs: [f32(1, Number.NaN, Number.NEGATIVE_INFINITY)] },
  { op: "Clip", opset: 13, name: "NaN between bounds", inputs: [f32(1, Number.NaN, -4), f0(-1), f0(2)] },
  { op: "Clip", opset: 13, name: "min above max", inputs: [f32(1, -3, 8), f0(5), f0(2)] },
  { op: "Clip", opset: [12, 13], name: "int64", inputs: [i64(-3, 4, 99), scalar(1), scalar(50)] },
  { op: "Clip", opset: 12, name: "uint8", inputs: [of("uint8", [3, 100, 200]), of("uint8", [5], []), of("uint8", [150], [])] },
];
