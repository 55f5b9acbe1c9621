import { ints } from "../../src/graph/attribute.js";
import { i64, type OpCase, of, x } from "./case.js";

const indices = of("int64", [0, 3, 13, 10], [1, 1, 2, 2]);

export const cases: readonly OpCase[] = [
  {
    op: "MaxUnpool",
    opset: [9, 11],
    name: "the inverse of a pool",
    attributes: { kernel_shape: ints([2, 2]), strides: ints([2, 2]) },
    inputs: [x([1, 1, 2, 2]), indices],
    macs: 0,
  },
  {
    op: "MaxUnpool",
    opset: 11,
    name: "output_shape",
    attributes: { kernel_shape: ints([2, 2]), strides: ints([2, 2]) },
    inputs: [x([1, 1, 2, 2]), indices, i64(1, 1, 5, 5)],
  },
];
