import { float, int } from "../../src/graph/attribute.js";
import { i64, type OpCase, of, x } from "./case.js";

const heads = (q: number, kv: number) => ({ q_num_heads: int(q), kv_num_heads: int(kv) });

export const cases: readonly OpCase[] = [
  {
    op: "Attention",
    opset: [23, 24, 25],
    name: "packed heads",
    attributes: heads(3, 3),
    inputs: [x([2, 5, 12]), x([2, 7, 12], 2), x([2, 7, 18], 3)],
    // [2 images, 3 heads, 5 × 7 scores] of 4 dims, then of 6.
    macs: 2 * 3 * 5 * 7 * (4 + 6),
  },
  {
    op: "Attention",
    opset: [23, 25],
    name: "heads apart, four queries for each of two keys, a mask, all outputs",
    attributes: { scale: float(0.3), softcap: float(2) },
    inputs: [x([2, 8, 5, 4]), x([2, 2, 5, 4], 2), x([2, 2, 5, 4], 3), x([5, 5], 4)],
    outputs: 4,
    macs: 2 * 8 * 5 * 5 * 8,
  },
  {
    op: "Attention",
    opset: [23, 24],
    name: "a past",
    inputs: [x([1, 2, 3, 4]), x([1, 2, 3, 4], 2), x([1, 2, 3, 5], 3), undefined, x([1, 2, 6, 4], 4), x([1, 2, 6, 5], 5)],
    outputs: 3,
  },
  {
    op: "Attention",
    opset: 24,
    name: "a cache that is not full",
    attributes: { is_causal: int(1) },
    inputs: [x([2, 2, 1, 4]), x([2, 2, 6, 4], 2), x([2, 2, 6, 4], 3), undefined, undefined, undefined, i64(3, 5)],
  },
  {
    op: "Attention",
    opset: 23,
    name: "a mask of booleans",
    inputs: [x([1, 2, 2, 4]), x([1, 2, 3, 4], 2), x([1, 2, 3, 4], 3), of("bool", [1, 0, 1, 1, 1, 1], [1, 1, 2, 3])],
  },
];
