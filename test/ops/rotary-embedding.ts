import { int } from "../../src/graph/attribute.js";
import { type OpCase, of, x } from "./case.js";

const positions = of("int64", [0, 1, 2, 5, 4, 3], [2, 3]);

export const cases: readonly OpCase[] = [
  { op: "RotaryEmbedding", opset: 23, name: "a table per step", inputs: [x([2, 4, 3, 8]), x([2, 3, 4], 2), x([2, 3, 4], 3)], macs: 0 },
  {
    op: "RotaryEmbedding",
    opset: 23,
    name: "packed heads, interleaved pairs, positions",
    attributes: { num_heads: int(4), interleaved: int(1) },
    inputs: [x([2, 3, 32]), x([6, 4], 2), x([6, 4], 3), positions],
  },
  {
    op: "RotaryEmbedding",
    opset: 23,
    name: "half of each head",
    attributes: { rotary_embedding_dim: int(4), num_heads: int(4) },
    inputs: [x([2, 3, 32]), x([6, 2], 2), x([6, 2], 3), positions],
  },
];
