import { float, int } from "../../src/graph/attribute.js";
import { type OpCase, of, x } from "./case.js";

const domain = "com.microsoft";
const heads = { num_heads: int(2) };

export const cases: readonly OpCase[] = [
  {
    op: "MultiHeadAttention",
    domain,
    opset: 17,
    name: "cross attention, V of another size, a mask",
    attributes: heads,
    inputs: [x([2, 3, 8]), x([2, 5, 8]), x([2, 5, 12]), undefined, of("int32", [1, 1, 1, 0, 0, 1, 1, 1, 1, 1], [2, 5])],
    macs: 2 * 3 * 5 * 20,
  },
  {
    op: "MultiHeadAttention",
    domain,
    opset: 17,
    name: "bias, attention_bias, scale, causal",
    attributes: { ...heads, scale: float(0.2), unidirectional: int(1) },
    inputs: [x([2, 3, 8]), x([2, 3, 8], 2), x([2, 3, 8], 3), x([24]), undefined, x([1, 2, 3, 3])],
  },
  {
    op: "MultiHeadAttention",
    domain,
    opset: 17,
    name: "past and present",
    attributes: heads,
    inputs: [x([2, 3, 8]), x([2, 3, 8], 2), x([2, 3, 8], 3), undefined, undefined, undefined, x([2, 2, 6, 4]), x([2, 2, 6, 4], 2)],
    outputs: 3,
    macs: 2 * 3 * 9 * 16,
  },
  {
    op: "MultiHeadAttention",
    domain,
    opset: 17,
    name: "K and V out of a cache",
    attributes: heads,
    inputs: [x([2, 3, 8]), x([2, 2, 5, 4], 2), x([2, 2, 5, 4], 3)],
    macs: 2 * 3 * 5 * 16,
  },
];
