import { int } from "../../src/graph/attribute.js";
import { i64, type OpCase, of, scalar, x } from "./case.js";

const data = x([3, 4, 5]);
const grid = of("int64", [0, 3, -1, 1, 1, 2], [2, 3]);

export const cases: readonly OpCase[] = [
  { op: "Gather", opset: [1, 11, 13], name: "rows", inputs: [data, i64(2, 0, 2)], macs: 0 },
  { op: "Gather", opset: 13, name: "a matrix of indices, some negative", attributes: { axis: int(1) }, inputs: [data, grid] },
  { op: "Gather", opset: 13, name: "a scalar index drops the axis", attributes: { axis: int(-1) }, inputs: [data, scalar(-2)] },
  { op: "Gather", opset: 13, name: "an extent of a shape", inputs: [i64(7, 8, 9), scalar(1)] },
  { op: "Gather", opset: 13, name: "int32 indices", inputs: [data, of("int32", [1, 0])] },
  { op: "GatherElements", opset: [11, 13], name: "axis 1", attributes: { axis: int(1) }, inputs: [x([2, 4]), grid], macs: 0 },
  { op: "GatherElements", opset: 13, name: "axis 0", inputs: [x([3, 2]), of("int64", [2, -1, 0, 1], [2, 2])] },
  { op: "GatherND", opset: [11, 12, 13], name: "elements", inputs: [data, of("int64", [0, 1, 2, 2, -1, -1], [2, 3])], macs: 0 },
  { op: "GatherND", opset: 13, name: "blocks", inputs: [data, of("int64", [0, 1, 2, 3], [2, 1, 2])] },
  {
    op: "GatherND",
    opset: 13,
    name: "one batch axis",
    attributes: { batch_dims: int(1) },
    inputs: [data, of("int64", [0, 1, -1], [3, 1])],
  },
  {
    op: "GatherND",
    opset: 13,
    name: "two batch axes",
    attributes: { batch_dims: int(2) },
    inputs: [x([2, 2, 3, 2]), of("int64", [0, 1, 2, 0], [2, 2, 1])],
  },
];
