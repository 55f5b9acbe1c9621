import { type OpCase, of, x } from "./case.js";

const domain = "com.microsoft";
const ids = of("int32", [0, 3, 1, 2, 4, 4], [2, 3]);

export const cases: readonly OpCase[] = [
  {
    op: "SkipLayerNormalization",
    domain,
    opset: 17,
    name: "beta, bias and the sum",
    inputs: [x([2, 3, 4]), x([2, 3, 4], 2), x([4]), x([4], 2), x([4], 3)],
    macs: 0,
  },
  { op: "SkipLayerNormalization", domain, opset: 17, name: "a skip for the whole batch", inputs: [x([2, 3, 4]), x([1, 3, 4], 2), x([4])] },
  { op: "SkipLayerNormalization", domain, opset: 17, name: "a skip of rank 2", inputs: [x([2, 3, 4]), x([3, 4], 2), x([4])] },
  { op: "SkipSimplifiedLayerNormalization", domain, opset: 17, name: "bias", inputs: [x([2, 3, 4]), x([2, 3, 4], 2), x([4]), x([4], 2)] },
  {
    op: "EmbedLayerNormalization",
    domain,
    opset: 17,
    name: "segments, mask and the sum",
    inputs: [
      ids,
      of("int32", [0, 1, 1, 0, 0, 1], [2, 3]),
      x([5, 8]),
      x([4, 8]),
      x([2, 8]),
      x([8]),
      x([8], 2),
      of("int32", [1, 1, 0, 1, 1, 1], [2, 3]),
    ],
    outputs: 3,
    macs: 0,
  },
  {
    op: "EmbedLayerNormalization",
    domain,
    opset: 17,
    name: "positions",
    inputs: [ids, undefined, x([5, 8]), x([4, 8]), undefined, x([8]), x([8], 2), undefined, of("int32", [3, 1, 0], [1, 3])],
    outputs: 2,
  },
];
