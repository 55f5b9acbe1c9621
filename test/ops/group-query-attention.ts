import { float, int } from "../../src/graph/attribute.js";
import { type OpCase, of, x } from "./case.js";

const domain = "com.microsoft";
const heads = { num_heads: int(4), kv_num_heads: int(2) };
const lengths = [of("int32", [2, 2]), of("int32", [3], [])] as const;

export const cases: readonly OpCase[] = [
  {
    op: "GroupQueryAttention",
    domain,
    opset: 17,
    name: "no past",
    attributes: heads,
    inputs: [x([2, 3, 32]), x([2, 3, 16]), x([2, 3, 16], 2), undefined, undefined, ...lengths],
    outputs: 3,
    macs: 2 * 4 * 3 * 3 * 16,
  },
  {
    op: "GroupQueryAttention",
    domain,
    opset: 17,
    name: "packed, turned, scale",
    attributes: { ...heads, do_rotary: int(1), scale: float(0.2) },
    inputs: [x([2, 3, 128]), undefined, undefined, undefined, undefined, ...lengths, x([5, 8]), x([5, 8], 2)],
    outputs: 3,
  },
  {
    op: "GroupQueryAttention",
    domain,
    opset: 17,
    name: "past shorter than the total",
    attributes: heads,
    inputs: [
      x([2, 1, 32]),
      x([2, 1, 16]),
      x([2, 1, 16], 2),
      x([2, 2, 4, 8]),
      x([2, 2, 4, 8], 2),
      of("int32", [4, 4]),
      of("int32", [5], []),
    ],
    outputs: 3,
  },
  {
    op: "GroupQueryAttention",
    domain,
    opset: 17,
    name: "past in a longer buffer, a total that is not known",
    attributes: heads,
    inputs: [
      x([2, 1, 32]),
      x([2, 1, 16]),
      x([2, 1, 16], 2),
      x([2, 2, 9, 8]),
      x([2, 2, 9, 8], 2),
      of("int32", [4, 4]),
      of("int32", [5], []),
    ],
    outputs: 3,
    hidden: [6],
  },
];
