import { int, ints, string } from "../../src/graph/attribute.js";
import { type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  {
    op: "ConvTranspose",
    opset: [7, 11, 22],
    name: "stride 2",
    attributes: { strides: ints([2, 2]) },
    inputs: [x([1, 3, 4, 5]), x([3, 2, 3, 3]), x([2])],
    macs: 3 * 20 * 2 * 9,
  },
  {
    op: "ConvTranspose",
    opset: 11,
    name: "pads, dilation, output_padding",
    attributes: { strides: ints([2, 3]), dilations: ints([2, 1]), pads: ints([1, 0, 2, 1]), output_padding: ints([1, 2]) },
    inputs: [x([1, 3, 4, 5]), x([3, 2, 3, 3])],
  },
  {
    op: "ConvTranspose",
    opset: 11,
    name: "groups",
    attributes: { group: int(2) },
    inputs: [x([2, 4, 3, 3]), x([4, 3, 2, 2])],
    macs: 2 * 4 * 9 * 3 * 4,
  },
  {
    op: "ConvTranspose",
    opset: 11,
    name: "output_shape",
    attributes: { strides: ints([2, 2]), output_shape: ints([10, 8]) },
    inputs: [x([1, 3, 5, 4]), x([3, 2, 3, 3])],
  },
  {
    op: "ConvTranspose",
    opset: 11,
    name: "SAME_UPPER",
    attributes: { strides: ints([2, 2]), auto_pad: string("SAME_UPPER") },
    inputs: [x([1, 3, 5, 4]), x([3, 2, 3, 3])],
  },
  {
    op: "ConvTranspose",
    opset: 11,
    name: "SAME_LOWER",
    attributes: { strides: ints([3, 3]), auto_pad: string("SAME_LOWER") },
    inputs: [x([1, 3, 5, 4]), x([3, 2, 4, 4])],
  },
  {
    op: "ConvTranspose",
    opset: 11,
    name: "SAME_UPPER with gaps, where runtime and specification differ",
    attributes: { strides: ints([3, 2]), auto_pad: string("SAME_UPPER") },
    inputs: [x([1, 3, 5, 4]), x([3, 2, 2, 2])],
    hidden: [],
  },
  {
    op: "ConvTranspose",
    opset: 11,
    name: "VALID",
    attributes: { strides: ints([2, 2]), auto_pad: string("VALID") },
    inputs: [x([1, 3, 5, 4]), x([3, 2, 3, 3])],
  },
  { op: "ConvTranspose", opset: 11, name: "one spatial axis", attributes: { strides: ints([4]) }, inputs: [x([1, 3, 5]), x([3, 2, 8])] },
  {
    op: "ConvTranspose",
    opset: 22,
    name: "three spatial axes",
    attributes: { strides: ints([2, 1, 2]) },
    inputs: [x([1, 2, 3, 3, 2]), x([2, 3, 2, 2, 3])],
  },
];
