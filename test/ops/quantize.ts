import { int } from "../../src/graph/attribute.js";
import { between, f0, f32, type OpCase, of } from "./case.js";

const X = between(-3, 9, [2, 3, 4]);
const quantised = of(
  "uint8",
  Array.from({ length: 24 }, (_, i) => i * 10),
  [2, 3, 4],
);
const weights = of(
  "int8",
  Array.from({ length: 24 }, (_, i) => i * 10 - 120),
  [2, 3, 4],
);

export const cases: readonly OpCase[] = [
  { op: "QuantizeLinear", opset: [10, 13, 19, 21, 23, 24, 25], name: "one scale", inputs: [X, f0(0.03), of("uint8", [100], [])] },
  { op: "QuantizeLinear", opset: 13, name: "no zero point", inputs: [X, f0(0.05)] },
  {
    op: "QuantizeLinear",
    opset: [13, 19],
    name: "per channel, int8",
    attributes: { axis: int(1) },
    inputs: [X, f32(0.02, 0.05, 0.1), of("int8", [0, 5, -5])],
  },
  { op: "QuantizeLinear", opset: 21, name: "output_dtype int16", attributes: { output_dtype: int(5) }, inputs: [X, f0(0.001)] },
  { op: "QuantizeLinear", opset: 10, name: "halves to even", inputs: [f32(0.5, 1.5, 2.5, -0.5, 300), f0(1), of("int8", [0], [])] },
  { op: "DequantizeLinear", opset: [10, 13, 19, 21, 23, 24, 25], name: "one scale", inputs: [quantised, f0(0.03), of("uint8", [100], [])] },
  {
    op: "DequantizeLinear",
    opset: [13, 21],
    name: "per channel, no zero point",
    attributes: { axis: int(0) },
    inputs: [weights, f32(0.02, 0.05)],
  },
  {
    op: "DequantizeLinear",
    opset: 21,
    name: "blocks",
    attributes: { axis: int(2), block_size: int(2) },
    inputs: [weights, between(0.01, 0.1, [2, 3, 2])],
  },
  { op: "DequantizeLinear", opset: 21, name: "int4 weights", inputs: [of("int4", [-8, 7, 3, -1]), f0(0.5), of("int4", [1], [])] },
  { op: "DequantizeLinear", opset: 13, name: "int32 bias", inputs: [of("int32", [-800, 70000]), f0(0.5)] },
  { op: "DynamicQuantizeLinear", opset: 11, name: "three outputs", inputs: [X], outputs: 3 },
  {
    op: "QuantizeLinear",
    domain: "com.microsoft",
    opset: 17,
    name: "per channel, int16",
    attributes: { axis: int(1) },
    inputs: [X, f32(0.02, 0.05, 0.1), of("int16", [0, 5, -5])],
  },
  { op: "QuantizeLinear", domain: "com.microsoft", opset: 17, name: "no zero point", inputs: [X, f0(0.05)] },
  { op: "DequantizeLinear", domain: "com.microsoft", opset: 17, name: "one scale", inputs: [quantised, f0(0.03), of("uint8", [100], [])] },
  {
    op: "DequantizeLinear",
    domain: "com.microsoft",
    opset: 17,
    name: "per channel",
    attributes: { axis: int(0) },
    inputs: [weights, f32(0.02, 0.05), of("int8", [3, -3])],
  },
];
