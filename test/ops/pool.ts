import { int, ints, string } from "../../src/graph/attribute.js";
import { type OpCase, x } from "./case.js";

const X = x([2, 3, 8, 7]);
/** Every rounding, padding and stride on which window counts depend. */
const grid: OpCase[] = [];
for (const ceil of [0, 1])
  for (const [k, s, p] of [
    [2, 2, 0],
    [3, 2, 1],
    [3, 2, 0],
    [3, 3, 1],
    [2, 3, 1],
    [2, 5, 1],
    [3, 4, 2],
  ] as const)
    grid.push({
      op: "MaxPool",
      opset: 12,
      name: `kernel ${k}, stride ${s}, pads ${p}, ceil_mode ${ceil}`,
      attributes: { kernel_shape: ints([k, k]), strides: ints([s, s]), pads: ints([p, p, p, p]), ceil_mode: int(ceil) },
      inputs: [X],
    });

const kernel = { kernel_shape: ints([3, 2]), strides: ints([2, 2]) };

export const cases: readonly OpCase[] = [
  ...grid,
  { op: "MaxPool", opset: [7, 8, 10, 11, 12, 22], name: "stride", attributes: kernel, inputs: [X], macs: 0 },
  { op: "MaxPool", opset: [8, 22], name: "indices", attributes: kernel, inputs: [X], outputs: 2 },
  {
    op: "MaxPool",
    opset: 12,
    name: "dilations with ceil_mode",
    attributes: { ...kernel, dilations: ints([2, 3]), ceil_mode: int(1) },
    inputs: [X],
  },
  { op: "MaxPool", opset: 12, name: "SAME_UPPER", attributes: { ...kernel, auto_pad: string("SAME_UPPER") }, inputs: [X] },
  { op: "MaxPool", opset: 12, name: "SAME_LOWER", attributes: { ...kernel, auto_pad: string("SAME_LOWER") }, inputs: [X] },
  {
    op: "MaxPool",
    opset: 12,
    name: "VALID with ceil_mode",
    attributes: { ...kernel, auto_pad: string("VALID"), ceil_mode: int(1) },
    inputs: [X],
  },
  { op: "MaxPool", opset: 12, name: "one spatial axis", attributes: { kernel_shape: ints([3]) }, inputs: [x([1, 2, 9])] },
  { op: "AveragePool", opset: [7, 10, 11, 19, 22], name: "stride", attributes: kernel, inputs: [X], macs: 0 },
  {
    op: "AveragePool",
    opset: 11,
    name: "ceil_mode, pads",
    attributes: { ...kernel, ceil_mode: int(1), pads: ints([1, 0, 1, 1]), count_include_pad: int(1) },
    inputs: [X],
  },
  {
    op: "AveragePool",
    opset: 19,
    name: "dilations, three spatial axes",
    attributes: { kernel_shape: ints([2, 2, 2]), dilations: ints([2, 1, 2]) },
    inputs: [x([1, 2, 5, 4, 6])],
  },
  { op: "LpPool", opset: [7, 11, 18, 22], name: "stride", attributes: kernel, inputs: [X] },
  {
    op: "AveragePool",
    opset: 19,
    name: "SAME_UPPER with dilation, where runtime and specification differ",
    attributes: { ...kernel, dilations: ints([1, 2]), auto_pad: string("SAME_UPPER") },
    inputs: [X],
    hidden: [],
  },
  { op: "LpPool", opset: 18, name: "ceil_mode", attributes: { ...kernel, ceil_mode: int(1) }, inputs: [X] },
];
