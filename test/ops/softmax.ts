import { int } from "../../src/graph/attribute.js";
import { between, type OpCase } from "./case.js";

/** log(sum) cancels in float32 where one element dominates; largest seen: 7.5e-8. */
const absolute = 2e-7;
const X = between(-4, 4, [2, 3, 4]);

export const cases: readonly OpCase[] = ["Softmax", "LogSoftmax", "Hardmax"].flatMap((op): OpCase[] => [
  { op, opset: [7, 11, 13], name: "default axis", inputs: [X], absolute },
  { op, opset: [7, 11, 13], name: "axis 1", attributes: { axis: int(1) }, inputs: [X], absolute },
  { op, opset: [11, 13], name: "axis 0", attributes: { axis: int(0) }, inputs: [X], absolute },
  { op, opset: [11, 13], name: "axis -2", attributes: { axis: int(-2) }, inputs: [X], absolute },
]);
