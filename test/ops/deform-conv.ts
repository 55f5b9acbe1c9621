import { int, ints } from "../../src/graph/attribute.js";
import { type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  {
    op: "DeformConv",
    opset: [19, 22],
    name: "offsets",
    inputs: [x([2, 3, 6, 5]), x([4, 3, 3, 3], 2), x([2, 18, 4, 3], 3)],
    macs: 2 * 4 * 4 * 3 * 3 * 9,
  },
  {
    op: "DeformConv",
    opset: 22,
    name: "groups, offset groups, strides, pads, bias and mask",
    attributes: { group: int(2), offset_group: int(2), strides: ints([2, 1]), pads: ints([1, 0, 1, 0]) },
    inputs: [x([1, 4, 6, 5]), x([6, 2, 3, 2], 2), x([1, 24, 3, 4], 3), x([6], 4), x([1, 12, 3, 4], 5)],
    macs: 6 * 3 * 4 * 2 * 6,
  },
];
