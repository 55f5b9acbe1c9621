import { int, ints, string } from "../../src/graph/attribute.js";
import { f0, type OpCase, of, x } from "./case.js";

const all = [7, 11, 22] as const;

export const cases: readonly OpCase[] = [
  {
    op: "Conv",
    opset: all,
    name: "3x3, same pads, bias",
    attributes: { pads: ints([1, 1, 1, 1]) },
    inputs: [x([2, 3, 7, 6]), x([4, 3, 3, 3]), x([4])],
    macs: 2 * 4 * 42 * 27,
  },
  {
    op: "Conv",
    opset: 11,
    name: "stride with remainder, dilation, kernel_shape",
    attributes: { kernel_shape: ints([3, 2]), strides: ints([2, 3]), dilations: ints([2, 1]), pads: ints([0, 1, 2, 0]) },
    inputs: [x([1, 2, 9, 11]), x([3, 2, 3, 2])],
  },
  {
    op: "Conv",
    opset: 11,
    name: "groups",
    attributes: { group: int(2) },
    inputs: [x([1, 4, 5, 5]), x([6, 2, 3, 3]), x([6])],
    macs: 6 * 9 * 2 * 9,
  },
  { op: "Conv", opset: 11, name: "depthwise", attributes: { group: int(4) }, inputs: [x([1, 4, 5, 5]), x([4, 1, 3, 3])], macs: 4 * 9 * 9 },
  {
    op: "Conv",
    opset: 11,
    name: "SAME_UPPER with stride",
    attributes: { auto_pad: string("SAME_UPPER"), strides: ints([2, 2]) },
    inputs: [x([1, 2, 7, 8]), x([3, 2, 3, 3])],
  },
  {
    op: "Conv",
    opset: 11,
    name: "SAME_LOWER with stride",
    attributes: { auto_pad: string("SAME_LOWER"), strides: ints([3, 2]) },
    inputs: [x([1, 2, 7, 8]), x([3, 2, 3, 3])],
  },
  {
    op: "Conv",
    opset: 11,
    name: "VALID",
    attributes: { auto_pad: string("VALID"), strides: ints([2, 2]) },
    inputs: [x([1, 2, 7, 8]), x([3, 2, 3, 3])],
  },
  { op: "Conv", opset: 22, name: "one spatial axis", attributes: { strides: ints([2]) }, inputs: [x([2, 3, 10]), x([5, 3, 4])] },
  {
    op: "Conv",
    opset: 22,
    name: "three spatial axes",
    attributes: { pads: ints([1, 0, 1, 1, 0, 1]) },
    inputs: [x([1, 2, 4, 5, 6]), x([3, 2, 2, 3, 2])],
  },
  {
    op: "ConvInteger",
    opset: 10,
    name: "zero points",
    attributes: { pads: ints([1, 1, 1, 1]) },
    inputs: [
      of(
        "uint8",
        Array.from({ length: 32 }, (_, i) => i * 7),
        [1, 2, 4, 4],
      ),
      of(
        "uint8",
        Array.from({ length: 54 }, (_, i) => i),
        [3, 2, 3, 3],
      ),
      of("uint8", [3], []),
      of("uint8", [5], []),
    ],
    macs: 3 * 16 * 18,
  },
  {
    op: "QLinearConv",
    opset: [10, 13],
    name: "stride",
    attributes: { strides: ints([2, 2]) },
    inputs: [
      of(
        "uint8",
        Array.from({ length: 50 }, (_, i) => i * 5),
        [1, 2, 5, 5],
      ),
      f0(0.1),
      of("uint8", [10], []),
      of(
        "uint8",
        Array.from({ length: 54 }, (_, i) => i * 4),
        [3, 2, 3, 3],
      ),
      f0(0.05),
      of("uint8", [100], []),
      f0(0.3),
      of("uint8", [20], []),
      of("int32", [1, 2, 3]),
    ],
    macs: 3 * 4 * 18,
  },
];
