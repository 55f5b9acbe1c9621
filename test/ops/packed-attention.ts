import { float, int, ints } from "../../src/graph/attribute.js";
import { bytes, f0, type OpCase, of, x } from "./case.js";

const domain = "com.microsoft";
const heads = { num_heads: int(2) };

export const cases: readonly OpCase[] = [
  {
    op: "Attention",
    domain,
    opset: 17,
    name: "no bias, mask of lengths",
    attributes: heads,
    inputs: [x([2, 3, 4]), x([4, 24]), x([24]), of("int32", [3, 2])],
    macs: 2 * 3 * 4 * 24 + 2 * 3 * 3 * 16,
  },
  {
    op: "Attention",
    domain,
    opset: 17,
    name: "V of another size, scale, a present",
    attributes: { ...heads, qkv_hidden_sizes: ints([4, 4, 6]), scale: float(0.3), unidirectional: int(1) },
    inputs: [x([2, 3, 5]), x([5, 14]), x([14])],
    macs: 2 * 3 * 5 * 14 + 2 * 3 * 3 * 10,
  },
  {
    op: "Attention",
    domain,
    opset: 17,
    name: "attention_bias",
    attributes: heads,
    inputs: [x([2, 3, 5]), x([5, 24]), x([24]), undefined, undefined, x([1, 2, 3, 3])],
  },
  {
    op: "Attention",
    domain,
    opset: 17,
    name: "past and present",
    attributes: heads,
    inputs: [x([2, 3, 5]), x([5, 24]), x([24]), undefined, x([2, 2, 2, 6, 4])],
    outputs: 2,
    macs: 2 * 3 * 5 * 24 + 2 * 3 * 9 * 16,
  },
  {
    op: "QAttention",
    domain,
    opset: 17,
    name: "one scale",
    attributes: heads,
    inputs: [bytes([2, 3, 4]), bytes([4, 24]), x([24]), f0(0.01), f0(0.02), undefined, of("uint8", [7], []), of("uint8", [100], [])],
    macs: 2 * 3 * 4 * 24 + 2 * 3 * 3 * 16,
  },
  {
    op: "QAttention",
    domain,
    opset: 17,
    name: "a scale per column, a past",
    attributes: { ...heads, unidirectional: int(1) },
    inputs: [
      bytes([2, 3, 4]),
      of(
        "int8",
        Array.from({ length: 96 }, (_, i) => ((i * 7) % 200) - 100),
        [4, 24],
      ),
      x([24]),
      f0(0.01),
      x([24], 2),
      undefined,
      of("uint8", [7], []),
      undefined,
      x([2, 2, 2, 5, 4]),
    ],
    outputs: 2,
  },
];
