import { ints } from "../../src/graph/attribute.js";
import { i64, type OpCase, of, x } from "./case.js";

const data = x([4, 6, 5]);
const MAX = Number.MAX_SAFE_INTEGER;
const cut = (name: string, start: number, end: number, step = 1): OpCase => ({
  op: "Slice",
  opset: 13,
  name,
  inputs: [data, i64(start), i64(end), i64(1), i64(step)],
});

export const cases: readonly OpCase[] = [
  {
    op: "Slice",
    opset: 1,
    name: "attributes",
    attributes: { starts: ints([1, -3]), ends: ints([3, 1000]), axes: ints([0, 2]) },
    inputs: [data],
    macs: 0,
  },
  { op: "Slice", opset: 1, name: "attributes without axes", attributes: { starts: ints([1]), ends: ints([3]) }, inputs: [data] },
  { op: "Slice", opset: [10, 11, 13], name: "inputs", inputs: [data, i64(1, 0), i64(3, 2), i64(0, 2)] },
  { op: "Slice", opset: 13, name: "without axes", inputs: [data, i64(1, 2), i64(4, 5)] },
  { op: "Slice", opset: 13, name: "negative axes", inputs: [data, i64(1, 2), i64(4, 5), i64(-1, -2)] },
  cut("to the end", 2, MAX),
  cut("to an end beyond", 1, 100),
  cut("up to the last", 0, -1),
  cut("the last two", -2, MAX),
  cut("every second", 0, MAX, 2),
  cut("every fourth of the rest", 1, 6, 4),
  { ...cut("a start before the beginning", -100, 3), symbolic: false },
  { ...cut("nothing", 4, 2), symbolic: false },
  cut("reversed", -1, -MAX, -1),
  cut("reversed from INT64_MAX", MAX, -MAX, -1),
  cut("reversed, every second", 5, -MAX, -2),
  { ...cut("reversed between", 4, 1, -1), symbolic: false },
  { op: "Slice", opset: 13, name: "int32 indices", inputs: [data, of("int32", [1]), of("int32", [2147483647]), of("int32", [0])] },
  { op: "Slice", opset: 13, name: "part of a shape", inputs: [i64(4, 5, 6, 7), i64(1), i64(3)] },
];
