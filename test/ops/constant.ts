import { float, floats, int, ints, string, tensor } from "../../src/graph/attribute.js";
import { type OpCase, of, x } from "./case.js";

export const cases: readonly OpCase[] = [
  { op: "Constant", opset: [1, 9, 11, 13, 19, 25], name: "a tensor", attributes: { value: tensor(x([2, 3])) }, inputs: [], macs: 0 },
  { op: "Constant", opset: 13, name: "an int8 tensor", attributes: { value: tensor(of("int8", [-1, 2])) }, inputs: [] },
  { op: "Constant", opset: [12, 13], name: "an int", attributes: { value_int: int(7) }, inputs: [] },
  { op: "Constant", opset: 13, name: "ints", attributes: { value_ints: ints([7, -8]) }, inputs: [] },
  { op: "Constant", opset: 13, name: "a float", attributes: { value_float: float(0.5) }, inputs: [] },
  { op: "Constant", opset: 13, name: "floats", attributes: { value_floats: floats([0.5, -2]) }, inputs: [] },
  { op: "Constant", opset: 13, name: "a string", attributes: { value_string: string("è") }, inputs: [] },
  { op: "Constant", opset: 13, name: "strings", attributes: { value_strings: { kind: "strings", value: ["a", ""] } }, inputs: [] },
];
