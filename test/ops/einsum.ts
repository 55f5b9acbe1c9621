import { string } from "../../src/graph/attribute.js";
import { type OpCase, x } from "./case.js";

const equation = (text: string) => ({ equation: string(text) });

export const cases: readonly OpCase[] = [
  {
    op: "Einsum",
    opset: [12, 13],
    name: "batched product",
    attributes: equation("bij, bjk -> bik"),
    inputs: [x([2, 3, 4]), x([2, 4, 5])],
    macs: 120,
  },
  { op: "Einsum", opset: 12, name: "implicit output", attributes: equation("ij,jk"), inputs: [x([2, 3]), x([3, 4])], macs: 24 },
  { op: "Einsum", opset: 12, name: "implicit output sorts labels", attributes: equation("ba"), inputs: [x([2, 3])], macs: 0 },
  {
    op: "Einsum",
    opset: 12,
    name: "ellipsis",
    attributes: equation("...ij,...jk->...ik"),
    inputs: [x([5, 2, 3]), x([5, 3, 4])],
    macs: 120,
  },
  {
    op: "Einsum",
    opset: 12,
    name: "attention scores",
    attributes: equation("bqhd,bkhd->bhqk"),
    inputs: [x([2, 3, 2, 4]), x([2, 5, 2, 4])],
    macs: 2 * 3 * 2 * 4 * 5,
  },
  { op: "Einsum", opset: 12, name: "diagonal", attributes: equation("ii->i"), inputs: [x([3, 3])] },
  {
    op: "Einsum",
    opset: 12,
    name: "bilinear",
    attributes: equation("bi,ijk,bj->bk"),
    inputs: [x([2, 3]), x([3, 4, 5]), x([2, 4])],
    macs: 2 * 2 * 3 * 4 * 5,
  },
];
