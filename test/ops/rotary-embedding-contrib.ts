import { int } from "../../src/graph/attribute.js";
import { i64, type OpCase, x } from "./case.js";

const domain = "com.microsoft";

export const cases: readonly OpCase[] = [
  { op: "RotaryEmbedding", domain, opset: 17, name: "hidden axis", inputs: [x([2, 3, 8]), i64(1), x([9, 2]), x([9, 2], 2)], macs: 0 },
  {
    op: "RotaryEmbedding",
    domain,
    opset: 17,
    name: "part of each head",
    attributes: { num_heads: int(2), rotary_embedding_dim: int(4) },
    inputs: [x([2, 3, 16]), i64(0), x([9, 2]), x([9, 2], 2)],
  },
  {
    op: "RotaryEmbedding",
    domain,
    opset: 17,
    name: "rank 4, interleaved",
    attributes: { interleaved: int(1) },
    inputs: [x([2, 2, 3, 4]), i64(0, 1, 2, 2, 3, 4).reshape([2, 3]), x([9, 2]), x([9, 2], 2)],
  },
];
