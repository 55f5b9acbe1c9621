import { int } from "../../src/graph/attribute.js";
import { type DType, wireOfDtype } from "../../src/graph/dtype.js";
import { i64, type OpCase, of, scalar, x } from "./case.js";

const cast = (
  name: string,
  input: OpCase["inputs"][number],
  to: DType,
  opset: OpCase["opset"] = 13,
  rest: Partial<OpCase> = {},
): OpCase => ({
  op: "Cast",
  opset,
  name: `${name} to ${to}`,
  attributes: { to: int(wireOfDtype(to)) },
  inputs: [input],
  ...rest,
});

const floats = of("float32", [-2.9, -0.5, -0, 0.5, 2.9, 1e4]);
const half = of("float16", [-2.5, 0, 0.1, 1000]);
const longs = i64(-3, 0, 7, 300, 2 ** 40 + 5);
const every: readonly DType[] = ["float32", "float64", "float16", "int32", "int64", "int16", "uint16", "bool"];

export const cases: readonly OpCase[] = [
  ...every.map((to) => cast("float32", floats, to, 13, to === "uint16" ? { inputs: [of("float32", [0.7, 3.9])] } : {})),
  ...every.map((to) => cast("int64", longs, to)),
  ...every.map((to) => cast("bool", of("bool", [1, 0]), to)),
  cast("float16", half, "float32"),
  cast("float16", half, "int64"),
  cast("float16", half, "bool"),
  cast("int32", of("int32", [-1, 300, 2 ** 31 - 1]), "uint8"),
  cast("int32", of("int32", [-1, 300, 2 ** 31 - 1]), "int8"),
  cast("int32", of("int32", [-1, 300]), "int64"),
  cast("int32", of("int32", [-1, 300]), "uint64"),
  cast("uint8", of("uint8", [0, 255]), "float32"),
  cast("float64", of("float64", [1 / 3, 2049.0000001, -1e-9]), "float16"),
  cast("NaN, infinity", of("float32", [Number.NaN, Number.POSITIVE_INFINITY, 0]), "bool"),
  cast("too large for the type, left to the runtime: float32", of("float32", [1e20, 2]), "int32", 13, { evaluates: false }),
  ...[7, 9, 13, 19, 21, 23, 24, 25].map((opset) => cast("shape", i64(2, 3, 4), "float32", opset)),
  ...[7, 13, 25].map((opset) => cast("float sizes", of("float32", [2, 3, 64]), "int64", opset)),
  cast("scalar", scalar(5), "int32"),
  { op: "CastLike", opset: [15, 19, 21, 23, 24, 25], name: "int64 as float32", inputs: [i64(1, 2, 3), x([2])] },
  { op: "CastLike", opset: 19, name: "float32 as bool", inputs: [floats, of("bool", [1])] },
  { op: "BitCast", opset: 26, name: "float32 as int32", attributes: { to: int(6) }, inputs: [floats], macs: 0 },
  { op: "BitCast", opset: 26, name: "int64 as double", attributes: { to: int(11) }, inputs: [i64(1, -2)] },
];
