import { int, string } from "../../src/graph/attribute.js";
import { between, f0, f32, i64, type OpCase, of, scalar, x } from "./case.js";

const A = between(-3, 3, [2, 1, 4]);
const B = between(0.5, 3, [3, 1], 2);
const ints = of("int32", [-7, -6, 7, 6, 5, -9, 8, 0], [2, 4]);
const divisors = of("int32", [2, -4, 3, -5]);
const longs = i64(-7, 12, 7, 30);
const longDivisors = i64(2, 5, -3, 7);
const bools = of("bool", [0, 0, 1, 1], [2, 2]);
const others = of("bool", [0, 1, 0, 1], [2, 2]);
const bytes = of("uint8", [1, 77, 128, 255]);

type Row = readonly [
  op: string,
  opset: OpCase["opset"],
  ...operands: (readonly [OpCase["inputs"][number], OpCase["inputs"][number], OpCase["attributes"]?])[],
];

const arithmetic = (op: string): Row => [
  op,
  [7, 13, 14],
  [A, B],
  [x([2, 3]), f0(0.7)],
  [ints, divisors],
  [longs, longDivisors],
  [i64(8, 6, 40), scalar(2)],
  [scalar(12), scalar(4)],
  [of("float64", [1, 2]), of("float64", [3, 7])],
];
const comparison = (op: string, opset: OpCase["opset"]): Row => [
  op,
  opset,
  [A, B],
  [ints, divisors],
  [longs, longDivisors],
  [i64(3, 4, 5), i64(3, 5, 4)],
  [f32(1, Number.NaN, 3), f32(1, Number.NaN, 2)],
];
const logic = (op: string): Row => [op, 7, [bools, others], [of("bool", [1, 0]), of("bool", [1], [])]];
const bitwise = (op: string): Row => [
  op,
  18,
  [bytes, of("uint8", [7, 200, 129, 15])],
  [ints, divisors],
  [i64(-7, 2 ** 40 + 5), i64(12, 2 ** 40 + 3)],
];

const rows: readonly Row[] = [
  arithmetic("Add"),
  arithmetic("Sub"),
  arithmetic("Mul"),
  arithmetic("Div"),
  ["Add", 14, [of("uint8", [250, 3]), of("uint8", [10, 4])], [of("float16", [0.1, 2.5]), of("float16", [0.7, 1000])]],
  ["Mul", 14, [of("int8", [100, -3]), of("int8", [3, 4])]],
  ["Sub", 14, [of("uint8", [1, 9]), of("uint8", [2, 4])]],
  ["Div", 14, [f32(1, -1, 0), f32(0, 0, 0)], [of("uint8", [200, 7]), of("uint8", [3, 2])]],
  ["Pow", [7, 12, 13, 15], [between(0.2, 3, [2, 3]), f32(0.5, 2, 3)], [between(-2, 2, [4]), f0(2)], [x([4]), f0(3)]],
  [
    "Pow",
    [13, 15],
    [of("int64", [-3, 0, 2, 10]), i64(3, 0, 40, 15)],
    [of("int32", [3, 4]), f32(2, 0.5)],
    [x([3]), i64(2, 0, 3)],
    [f32(1, 1), f32(Number.NaN, Number.POSITIVE_INFINITY)],
  ],
  [
    "Mod",
    [10, 13],
    [ints, divisors],
    [longs, longDivisors],
    [longs, longDivisors, { fmod: int(1) }],
    [A, B, { fmod: int(1) }],
    [i64(8, 6, 40), scalar(2)],
    [bytes, of("uint8", [2, 10, 7, 100])],
  ],
  comparison("Equal", [11, 13, 19]),
  ["Equal", 7, [ints, divisors], [bools, others]],
  comparison("Less", [9, 13]),
  ["Less", 7, [A, B]],
  comparison("Greater", [9, 13]),
  ["Greater", 7, [A, B]],
  comparison("LessOrEqual", [12, 16]),
  comparison("GreaterOrEqual", [12, 16]),
  logic("And"),
  logic("Or"),
  logic("Xor"),
  [
    "BitShift",
    11,
    [bytes, of("uint8", [1, 2, 3, 4]), { direction: string("LEFT") }],
    [bytes, of("uint8", [1, 2, 3, 4]), { direction: string("RIGHT") }],
    [of("uint32", [1, 2 ** 31]), of("uint32", [31, 3]), { direction: string("LEFT") }],
  ],
  ["BitShift", 11, [of("uint64", [5, 2 ** 40]), of("uint64", [3, 2]), { direction: string("RIGHT") }]],
  bitwise("BitwiseAnd"),
  bitwise("BitwiseOr"),
  bitwise("BitwiseXor"),
];

export const cases: readonly OpCase[] = rows.flatMap(([op, opset, ...operands]) =>
  operands.map(([a, b, attributes = {}]): OpCase => {
    const settings = Object.entries(attributes).map(([k, v]) => `, ${k} ${String(v.value)}`);
    return {
      op,
      opset,
      name: `${a?.dtype} [${a?.dims}] and ${b?.dtype} [${b?.dims}]${settings.join("")}`,
      inputs: [a, b],
      attributes,
      macs: 0,
    };
  }),
);
