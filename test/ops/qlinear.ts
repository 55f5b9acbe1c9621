import { int } from "../../src/graph/attribute.js";
import { f0, type OpCase, of } from "./case.js";

const domain = "com.microsoft";
const bytes = (dims: readonly number[], step = 11) =>
  of(
    "uint8",
    Array.from({ length: dims.reduce((a, b) => a * b) }, (_, i) => (i * step) % 256),
    dims,
  );
const zero = (z: number) => of("uint8", [z], []);

export const cases: readonly OpCase[] = [
  ...["QLinearAdd", "QLinearMul"].flatMap((op): OpCase[] => [
    {
      op,
      domain,
      opset: 17,
      name: "one shape",
      inputs: [bytes([2, 3, 4]), f0(0.1), zero(100), bytes([2, 3, 4], 7), f0(0.2), zero(3), f0(0.3), zero(50)],
      macs: 0,
    },
    {
      op,
      domain,
      opset: 17,
      name: "broadcast",
      inputs: [bytes([2, 3, 4]), f0(0.1), zero(9), bytes([3, 1], 7), f0(0.2), zero(3), f0(0.3), zero(50)],
    },
  ]),
  { op: "QLinearLeakyRelu", domain, opset: 17, name: "uint8", inputs: [bytes([2, 3]), f0(0.1), zero(100), f0(0.2), zero(7)], macs: 0 },
  { op: "QLinearSigmoid", domain, opset: 17, name: "uint8", inputs: [bytes([2, 3]), f0(0.1), zero(100), f0(1 / 256), zero(0)] },
  {
    op: "QLinearSoftmax",
    domain,
    opset: 17,
    name: "one axis",
    attributes: { opset: int(13), axis: int(1) },
    inputs: [bytes([2, 3, 4]), f0(0.05), zero(100), f0(1 / 256), zero(0)],
  },
  {
    op: "QLinearSoftmax",
    domain,
    opset: 12,
    name: "all axes from 1 on",
    attributes: { opset: int(12), axis: int(1) },
    inputs: [bytes([2, 3, 4]), f0(0.05), zero(100), f0(1 / 256), zero(0)],
  },
  {
    op: "QLinearWhere",
    domain,
    opset: 17,
    name: "broadcast",
    inputs: [of("bool", [1, 0, 1], [3, 1]), bytes([2, 3, 4]), f0(0.1), zero(1), bytes([4], 5), f0(0.2), zero(2), f0(0.3), zero(3)],
  },
  {
    op: "QLinearConcat",
    domain,
    opset: 17,
    name: "three inputs",
    attributes: { axis: int(1) },
    inputs: [f0(0.3), zero(50), bytes([2, 3]), f0(0.1), zero(100), bytes([2, 1]), f0(0.2), zero(3), bytes([2, 4]), f0(0.3), zero(50)],
    macs: 0,
  },
];
