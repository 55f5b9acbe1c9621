import { float, int, string } from "../../src/graph/attribute.js";
import { between, f0, f32, type OpCase, of, scalar, x } from "./case.js";

const wide = between(-4, 4, [2, 3, 4]);
const edges = f32(-3, -0.5, -0, 0, 0.5, 2.5, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN);
const positive = between(0.1, 5, [2, 3]);
const unit = between(-0.9, 0.9, [2, 3]);
const half = of("float16", [-2.5, -0.1, 0, 0.3, 1.7, 100]);
const double = of("float64", [-2.5, -0.1, 0, 0.3, 1.7, 100]);
const integers = of("int32", [-7, -1, 0, 3, 8]);

/** The runtime's rational approximations and float32 cancellation near 0; largest seen: 1.3e-7 (FastGelu). */
const approximated = { absolute: 5e-7 } as const;

type Opsets = OpCase["opset"];
const rows: readonly (readonly [op: string, opset: Opsets, ...rest: Partial<OpCase>[]])[] = [
  ["Abs", [7, 13], { inputs: [edges] }, { inputs: [integers] }, { inputs: [of("int64", [-5, 6])] }, { inputs: [half], opset: 13 }],
  ["Neg", [7, 13], { inputs: [wide] }, { inputs: [integers] }, { inputs: [of("int64", [5, 6])] }],
  ["Ceil", [7, 13], { inputs: [edges] }],
  ["Floor", [7, 13], { inputs: [edges] }, { inputs: [double] }],
  ["Round", [11, 22], { inputs: [f32(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4, -2.6)] }],
  ["Sign", [9, 13], { inputs: [wide] }, { inputs: [integers] }],
  ["Exp", [7, 13], { inputs: [wide] }, { inputs: [double] }],
  ["Log", [7, 13], { inputs: [positive] }],
  ["Sqrt", [7, 13], { inputs: [positive] }, { inputs: [of("float64", [2, 3])] }],
  ["Reciprocal", [7, 13], { inputs: [edges] }],
  ["Erf", [9, 13], { inputs: [wide] }],
  ["Sin", [7, 22], { inputs: [wide] }],
  ["Cos", [7, 22], { inputs: [wide] }],
  ["Tan", [7, 22], { inputs: [unit] }],
  ["Asin", [7, 22], { inputs: [unit] }],
  ["Acos", [7, 22], { inputs: [unit] }],
  ["Atan", [7, 22], { inputs: [wide] }],
  ["Sinh", [9, 22], { inputs: [wide] }],
  ["Cosh", [9, 22], { inputs: [wide] }],
  ["Tanh", [7, 13], { inputs: [wide] }],
  ["Asinh", [9, 22], { inputs: [wide] }],
  ["Acosh", [9, 22], { inputs: [between(1.1, 5, [2, 3])] }],
  ["Atanh", [9, 22], { inputs: [unit] }],
  ["Sigmoid", [7, 13], { inputs: [wide], ...approximated }, { inputs: [f32(-80, 80, 0)], ...approximated }],
  ["Softplus", [7, 22], { inputs: [wide] }, { inputs: [f32(-30, 30, 90)] }],
  ["Softsign", [7, 22], { inputs: [wide] }],
  ["Mish", [18, 22], { inputs: [wide] }],
  ["HardSwish", [14, 22], { inputs: [wide], ...approximated }],
  ["HardSigmoid", [7, 22], { inputs: [wide] }, { inputs: [wide], attributes: { alpha: float(0.3), beta: float(0.4) } }],
  ["Elu", [7, 22], { inputs: [wide] }, { inputs: [wide], attributes: { alpha: float(0.7) } }],
  ["Celu", 12, { inputs: [wide], attributes: { alpha: float(1.3) } }],
  ["Selu", [7, 22], { inputs: [wide] }],
  ["Gelu", 20, { inputs: [wide], ...approximated }, { inputs: [wide], attributes: { approximate: string("tanh") }, ...approximated }],
  ["Swish", 24, { inputs: [wide], attributes: { alpha: float(1.5) }, ...approximated }],
  ["LeakyRelu", [7, 16], { inputs: [wide] }, { inputs: [wide], attributes: { alpha: float(0.3) } }],
  ["ThresholdedRelu", [10, 22], { inputs: [wide] }, { inputs: [wide], attributes: { alpha: float(0.3) } }],
  ["Relu", [7, 13, 14], { inputs: [edges] }, { inputs: [integers], opset: 14 }],
  ["Shrink", 9, { inputs: [wide] }, { inputs: [wide], attributes: { bias: float(0.3), lambd: float(0.4) } }],
  ["IsNaN", [9, 13, 20], { inputs: [edges] }],
  [
    "IsInf",
    [10, 20],
    { inputs: [edges] },
    { inputs: [edges], attributes: { detect_negative: int(0) } },
    { inputs: [edges], attributes: { detect_positive: int(0) } },
  ],
  ["Not", 7, { inputs: [of("bool", [1, 0, 1])] }, { inputs: [of("bool", [1, 0, 1, 1], [2, 2])] }],
  ["BitwiseNot", 18, { inputs: [integers] }, { inputs: [of("uint8", [0, 1, 255])] }, { inputs: [of("int64", [-5, 6])] }],
  ["Identity", [7, 13, 14, 16, 19, 21, 23, 24, 25], { inputs: [wide] }, { inputs: [of("int64", [3, 4])] }],
  ["Dropout", [7, 10, 12, 13, 22], { inputs: [wide] }],
  ["Dropout", [12, 13, 22], { inputs: [wide], outputs: 2 }],
  ["Dropout", [7, 10], { inputs: [wide], outputs: 2, evaluates: false }],
  ["Dropout", 13, { inputs: [wide, f0(0.3), of("bool", [0], [])] }],
];

const name = (c: Partial<OpCase>): string => {
  const [t] = c.inputs ?? [];
  const attributes = Object.entries(c.attributes ?? {}).map(([k, a]) => `${k} ${String(a.value)}`);
  return [`${t?.dtype} [${t?.dims}]`, ...attributes, ...(c.outputs ? [`${c.outputs} outputs`] : [])].join(", ");
};

export const cases: readonly OpCase[] = [
  ...rows.flatMap(([op, opset, ...rest]) => rest.map((c): OpCase => ({ op, opset, inputs: [], name: name(c), ...c }))),
  { op: "Gelu", domain: "com.microsoft", opset: 17, name: "float32", inputs: [wide], ...approximated },
  { op: "FastGelu", domain: "com.microsoft", opset: 17, name: "no bias", inputs: [wide], ...approximated },
  { op: "FastGelu", domain: "com.microsoft", opset: 17, name: "bias", inputs: [wide, x([4])], ...approximated },
  { op: "Identity", opset: 21, name: "content of a scalar", inputs: [scalar(7)] },
  {
    op: "QuickGelu",
    domain: "com.microsoft",
    opset: 17,
    name: "default alpha",
    inputs: [between(-4, 4, [2, 3, 5])],
    macs: 0,
    absolute: 1e-6,
  },
  {
    op: "QuickGelu",
    domain: "com.microsoft",
    opset: 17,
    name: "alpha",
    attributes: { alpha: float(0.5) },
    inputs: [between(-4, 4, [2, 3])],
    absolute: 1e-6,
  },
  { op: "BiasGelu", domain: "com.microsoft", opset: 17, name: "bias", inputs: [between(-4, 4, [2, 3, 5]), x([5])], absolute: 1e-6 },
];
