import { int, ints } from "../../src/graph/attribute.js";
import { f0, type OpCase, of } from "./case.js";

const domain = "com.microsoft";
const bytes = (dims: readonly number[]) =>
  of(
    "uint8",
    Array.from({ length: dims.reduce((a, b) => a * b) }, (_, i) => (i * 11) % 256),
    dims,
  );
const scales = [f0(0.1), of("uint8", [100], []), f0(0.2), of("uint8", [7], [])] as const;

export const cases: readonly OpCase[] = [
  {
    op: "QLinearAveragePool",
    domain,
    opset: 17,
    name: "strides and pads",
    attributes: { kernel_shape: ints([3, 2]), strides: ints([2, 2]), pads: ints([1, 0, 1, 1]) },
    inputs: [bytes([1, 3, 5, 6]), ...scales],
    macs: 0,
  },
  {
    op: "QLinearAveragePool",
    domain,
    opset: 17,
    name: "channels last, ceil_mode",
    attributes: { kernel_shape: ints([2, 2]), strides: ints([2, 2]), ceil_mode: int(1), channels_last: int(1) },
    inputs: [bytes([1, 5, 7, 3]), ...scales],
  },
  { op: "QLinearGlobalAveragePool", domain, opset: 17, name: "channels first", inputs: [bytes([2, 3, 4, 5]), ...scales] },
  {
    op: "QLinearGlobalAveragePool",
    domain,
    opset: 17,
    name: "channels last",
    attributes: { channels_last: int(1) },
    inputs: [bytes([2, 4, 5, 3]), ...scales],
  },
  {
    op: "NhwcMaxPool",
    domain,
    opset: 17,
    name: "strides and pads",
    attributes: { kernel_shape: ints([3, 3]), strides: ints([2, 1]), pads: ints([1, 1, 0, 0]) },
    inputs: [bytes([1, 5, 6, 3])],
  },
];
