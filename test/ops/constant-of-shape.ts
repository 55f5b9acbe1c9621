import { tensor } from "../../src/graph/attribute.js";
import { i64, type OpCase, of } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "ConstantOfShape", opset: [9, 20, 21], name: "zeros by default", inputs: [i64(2, 3)], macs: 0 },
  { op: "ConstantOfShape", opset: 13, name: "an int64 value", attributes: { value: tensor(of("int64", [-5])) }, inputs: [i64(4)] },
  { op: "ConstantOfShape", opset: 13, name: "a scalar", attributes: { value: tensor(of("bool", [1])) }, inputs: [i64()] },
];
