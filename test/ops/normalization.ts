import { int, ints } from "../../src/graph/attribute.js";
import { type OpCase, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "LayerNormalization", opset: 17, name: "last axis", inputs: [x([2, 3, 4]), x([4]), x([4], 2)] },
  {
    op: "LayerNormalization",
    opset: 17,
    name: "axis 1, statistics",
    attributes: { axis: int(1) },
    inputs: [x([2, 3, 4]), x([3, 4])],
    outputs: 3,
  },
  { op: "RMSNormalization", opset: 23, name: "last axis", inputs: [x([2, 3, 4]), x([4])] },
  { op: "InstanceNormalization", opset: [7, 22], name: "images", inputs: [x([2, 3, 4, 5]), x([3]), x([3], 2)] },
  {
    op: "GroupNormalization",
    opset: 18,
    name: "scale per group",
    attributes: { num_groups: int(2) },
    inputs: [x([2, 4, 3, 3]), x([2]), x([2], 2)],
  },
  {
    op: "GroupNormalization",
    opset: 21,
    name: "scale per channel",
    attributes: { num_groups: int(2) },
    inputs: [x([2, 4, 3, 3]), x([4]), x([4], 2)],
  },
  { op: "LpNormalization", opset: [7, 22], name: "axis 1", attributes: { axis: int(1) }, inputs: [x([2, 3, 4])] },
  { op: "LRN", opset: [7, 13], name: "size 3", attributes: { size: int(3) }, inputs: [x([2, 5, 3, 3])] },
  { op: "MeanVarianceNormalization", opset: [9, 13], name: "axes 2, 3", attributes: { axes: ints([2, 3]) }, inputs: [x([2, 3, 4, 5])] },
  { op: "LayerNormalization", opset: [11, 16], name: "ONNX Runtime's own", inputs: [x([2, 3, 4]), x([4]), x([4])], outputs: 3, macs: 0 },
  { op: "SimplifiedLayerNormalization", opset: [13, 17], name: "last axis", inputs: [x([2, 3, 4]), x([4])], outputs: 2, macs: 0 },
  { op: "SimplifiedLayerNormalization", opset: 17, name: "two axes", attributes: { axis: int(1) }, inputs: [x([2, 3, 4]), x([3, 4])] },
];
