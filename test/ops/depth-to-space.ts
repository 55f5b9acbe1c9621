import { int, string } from "../../src/graph/attribute.js";
import { type OpCase, x } from "./case.js";

const deep = x([2, 12, 2, 3]);

export const cases: readonly OpCase[] = [
  {
    op: "DepthToSpace",
    opset: [1, 11, 13],
    name: "depth, column, row by default",
    attributes: { blocksize: int(2) },
    inputs: [deep],
    macs: 0,
  },
  {
    op: "DepthToSpace",
    opset: [11, 13],
    name: "column, row, depth",
    attributes: { blocksize: int(2), mode: string("CRD") },
    inputs: [deep],
  },
  { op: "SpaceToDepth", opset: [1, 13], name: "blocks of 2", attributes: { blocksize: int(2) }, inputs: [x([2, 3, 4, 6])], macs: 0 },
];
