import { int, ints } from "../../src/graph/attribute.js";
import { between, f32, i64, type OpCase, of } from "./case.js";

const X = between(0.5, 3, [2, 3, 4]);
const keepdims = int(0);
/** [op, opsets with axes as attribute, opsets with axes as input] */
const rows: readonly (readonly [string, readonly number[], readonly number[]])[] = [
  ["ReduceSum", [7, 11], [13]],
  ["ReduceMean", [7, 11, 13], [18]],
  ["ReduceProd", [7, 11, 13], [18]],
  ["ReduceMax", [7, 11, 12, 13], [18, 20]],
  ["ReduceMin", [7, 11, 12, 13], [18, 20]],
  ["ReduceL1", [7, 11, 13], [18]],
  ["ReduceL2", [7, 11, 13], [18]],
  ["ReduceSumSquare", [7, 11, 13], [18]],
  ["ReduceLogSum", [7, 11, 13], [18]],
  ["ReduceLogSumExp", [7, 11, 13], [18]],
];
const whole = ["ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin"];

export const cases: readonly OpCase[] = [
  ...rows.flatMap(([op, before, since]): OpCase[] => [
    { op, opset: before, name: "axes attribute, keepdims", attributes: { axes: ints([0, 2]) }, inputs: [X] },
    { op, opset: since, name: "axes input", inputs: [X, i64(0, 2)] },
    { op, opset: [...before, ...since], name: "all axes, no keepdims", attributes: { keepdims }, inputs: [X] },
    { op, opset: since, name: "negative axis, no keepdims", attributes: { keepdims }, inputs: [X, i64(-2)] },
    { op, opset: since, name: "empty axes reduce all", inputs: [X, i64()] },
    { op, opset: since, name: "axes only a run knows", inputs: [X, i64(1)], hidden: [1] },
  ]),
  ...rows
    .filter(([op]) => whole.includes(op))
    .flatMap(([op, , since]): OpCase[] => [
      { op, opset: since, name: "noop_with_empty_axes", attributes: { noop_with_empty_axes: int(1) }, inputs: [X] },
      { op, opset: since, name: "int64 vector to a scalar", attributes: { keepdims }, inputs: [i64(3, 5, 2), i64(0)] },
      { op, opset: since, name: "int64 vector, keepdims", inputs: [i64(3, 5, 2)] },
      { op, opset: since, name: "int32 matrix", inputs: [of("int32", [1, -2, 3, 4], [2, 2]), i64(1)] },
    ]),
  { op: "ReduceSumSquare", opset: 18, name: "int32", inputs: [of("int32", [1, -2, 3, 4], [2, 2]), i64(1)] },
  { op: "ReduceL1", opset: 18, name: "int32", inputs: [of("int32", [1, -2, 3, 4], [2, 2]), i64(1)] },
  {
    op: "ReduceMean",
    opset: 18,
    name: "int32 is left to the runtime",
    inputs: [of("int32", [1, -2, 3, 4], [2, 2]), i64(1)],
    evaluates: false,
  },
  ...["ArgMax", "ArgMin"].flatMap((op): OpCase[] => [
    { op, opset: [7, 11, 12, 13], name: "default axis", inputs: [X] },
    { op, opset: [7, 11, 12, 13], name: "axis 2, no keepdims", attributes: { axis: int(2), keepdims }, inputs: [X] },
    { op, opset: 13, name: "ties: first", attributes: { axis: int(0) }, inputs: [f32(1, 3, 1, 3)] },
    { op, opset: [12, 13], name: "ties: last", attributes: { axis: int(-1), select_last_index: int(1) }, inputs: [f32(1, 3, 1, 3)] },
  ]),
];
