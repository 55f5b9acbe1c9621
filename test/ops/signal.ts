import { int } from "../../src/graph/attribute.js";
import { f0, type OpCase, scalar, x } from "./case.js";

const on = int(1);
const mel = [scalar(8), scalar(32), scalar(8000), f0(0), f0(4000)];

export const cases: readonly OpCase[] = [
  { op: "DFT", opset: 17, name: "axis 1 by default", inputs: [x([2, 5, 3, 1])], macs: 0 },
  { op: "DFT", opset: 20, name: "the last signal axis by default", inputs: [x([2, 5, 3, 1])], macs: 0 },
  { op: "DFT", opset: 17, name: "one side, a length", attributes: { onesided: on, axis: int(2) }, inputs: [x([2, 5, 7, 1]), scalar(8)] },
  { op: "DFT", opset: 20, name: "one side, an axis", attributes: { onesided: on }, inputs: [x([2, 6, 7, 1]), undefined, scalar(1)] },
  { op: "DFT", opset: 20, name: "inverse of one side", attributes: { inverse: on, onesided: on }, inputs: [x([2, 6, 2])] },
  { op: "DFT", opset: 20, name: "inverse", attributes: { inverse: on }, inputs: [x([2, 6, 2]), scalar(4)] },
  { op: "DFT", opset: 20, name: "along an axis known at run time", inputs: [x([2, 5, 5, 1]), undefined, scalar(1)], hidden: [2] },
  { op: "STFT", opset: 17, name: "frames of a length", inputs: [x([2, 17, 1]), scalar(4), undefined, scalar(8)], macs: 0 },
  { op: "STFT", opset: 17, name: "both sides, a window", attributes: { onesided: int(0) }, inputs: [x([1, 16, 1]), scalar(4), x([6], 2)] },
  { op: "STFT", opset: 17, name: "of a step known at run time", inputs: [x([2, 16, 1]), scalar(4), undefined, scalar(8)], hidden: [1, 3] },
  { op: "MelWeightMatrix", opset: 17, name: "of scalars", inputs: mel, macs: 0 },
  { op: "MelWeightMatrix", opset: 17, name: "as double", attributes: { output_datatype: int(11) }, inputs: mel },
  ...["HannWindow", "HammingWindow", "BlackmanWindow"].flatMap((op): OpCase[] => [
    // float32 cosines of the runtime.
    { op, opset: 17, name: "periodic", inputs: [scalar(10)], absolute: 1e-6, macs: 0 },
    { op, opset: 17, name: "symmetric", attributes: { periodic: int(0) }, inputs: [scalar(7)], absolute: 1e-6 },
  ]),
  { op: "HannWindow", opset: 17, name: "of integers", attributes: { output_datatype: int(6) }, inputs: [scalar(8)], evaluates: false },
];
