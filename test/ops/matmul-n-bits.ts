import { int } from "../../src/graph/attribute.js";
import { bytes, type OpCase, x } from "./case.js";

const domain = "com.microsoft";

export const cases: readonly OpCase[] = [
  {
    op: "MatMulNBits",
    domain,
    opset: 17,
    name: "4 bits",
    attributes: { K: int(32), N: int(5), block_size: int(16), bits: int(4) },
    inputs: [x([2, 3, 32]), bytes([5, 2, 8]), x([5, 2])],
    macs: 6 * 32 * 5,
  },
  {
    op: "MatMulNBits",
    domain,
    opset: 17,
    name: "flat scales, packed zero points, a short block, a bias",
    attributes: { K: int(40), N: int(5), block_size: int(16), bits: int(4) },
    inputs: [x([3, 40]), bytes([5, 3, 8]), x([15]), bytes([10]), undefined, x([5])],
    macs: 3 * 40 * 5,
  },
  {
    op: "MatMulNBits",
    domain,
    opset: 17,
    name: "8 bits",
    attributes: { K: int(32), N: int(3), block_size: int(32), bits: int(8) },
    inputs: [x([3, 32]), bytes([3, 1, 32]), x([3, 1]), bytes([3, 1])],
  },
];
