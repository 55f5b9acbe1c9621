/** The axis rule of the operators that work element by element or reduce: between two layers, against the oracle. */
import { describe, expect, test } from "vitest";
import { allSpecs } from "../../../src/graph/ops/index.js";
import { matrices, type OpRow, proveRow } from "../../support/op-rows.js";

/** An operator between h and u. `a` is h brought into its domain; `out` turns its result into floats. */
function unary(op: string, { opset = 22, before = "a = Identity (h)", attributes = "", after = "" } = {}): OpRow {
  const node = `${op}${attributes && ` <${attributes}>`} (r)`;
  const body = after ? `o = ${node} f = ${after} g = Mul (f, h) u = Add (g, h)` : `u = ${node}`;
  return { name: op, opset, ir: 10, graph: matrices("", `${before.replace("a =", "r =")} ${body}`), groups: ["a:1 6"] };
}

const FLOAT = "Cast <to = 1> (o)";
const INTEGER = "t = Abs (h) t10 = Add (t, t) a = Cast <to = 6> (t10)";
const UNIT = "a = Sigmoid (h)";
const TRUTH = "z = Sub (h, h) a = Greater (h, z)";

const elements: readonly OpRow[] = [
  ...["Abs", "Neg", "Ceil", "Floor", "Round", "Sign", "Exp", "Sigmoid", "Tanh", "Erf", "Relu", "Softplus", "Softsign", "Sin", "Cos"].map(
    (op) => unary(op),
  ),
  ...["Atan", "Sinh", "Cosh", "Asinh", "Elu", "LeakyRelu", "Selu", "Celu", "Gelu", "Mish", "HardSwish", "HardSigmoid"].map((op) =>
    unary(op),
  ),
  ...["Identity", "Dropout"].map((op) => unary(op)),
  unary("ThresholdedRelu", { attributes: "alpha = 0.1" }),
  unary("Shrink", { attributes: "bias = 0.5" }),
  unary("Swish", { opset: 24, attributes: "alpha = 0.7" }),
  ...["Log", "Sqrt", "Reciprocal", "Tan", "Asin", "Acos", "Atanh"].map((op) => unary(op, { before: UNIT })),
  unary("Acosh", { before: "s = Sigmoid (h) a = Exp (s)" }),
  ...["IsNaN", "IsInf"].map((op) => unary(op, { before: "l = Log (h) a = Identity (l)", after: FLOAT })),
  unary("Not", { before: TRUTH, after: FLOAT }),
  unary("BitwiseNot", { before: INTEGER, after: FLOAT }),
  unary("Cast", { attributes: "to = 6", after: FLOAT }),
];

interface Operands {
  /** Brings a value into the operator's type. */
  readonly before?: (v: string) => string;
  /** Constants of that type: of the channels, and one for all. */
  readonly constants?: readonly [string, string];
  readonly after?: string;
  readonly attributes?: string;
  readonly groups?: readonly string[];
}

/** An operator of two operands: two layers' outputs, one of them and a vector of the channels, one of them and a scalar. */
function binary(op: string, { before = (v) => `Identity (${v})`, constants, after = "", attributes = "", groups }: Operands = {}): OpRow[] {
  const [vector, scalar] = constants ?? ["float[6] q = {...}", "float q = {0.7}"];
  const forms = [
    { name: "of two layers", constant: "float[3,6] c = {...}", other: `k = MatMul (x, c) q = ${before("k")}`, coupled: groups },
    { name: "and a vector", constant: vector, other: "" },
    { name: "and a scalar", constant: scalar, other: "" },
  ];
  return forms.map(({ name, constant, other, coupled = ["a:1 6"] }) => {
    const call = `${op}${attributes && ` <${attributes}>`} (p, q)`;
    const body = `${other} p = ${before("h")} ${after ? `o = ${call} f = ${after} g = Mul (f, h) u = Add (g, h)` : `u = ${call}`}`;
    return { name: `${op} ${name}`, opset: 22, ir: 10, graph: matrices(constant, body), groups: coupled };
  });
}

const booleans: Operands = {
  before: (v) => `Cast <to = 9> (${v})`,
  constants: ["bool[6] q = {1, 0, 1, 1, 0, 0}", "bool q = {1}"],
  after: FLOAT,
};
const integers: Operands = {
  before: (v) => `Cast <to = 12> (${v})`,
  constants: ["uint32[6] q = {1, 2, 3, 0, 1, 2}", "uint32 q = {3}"],
  after: FLOAT,
};

const operands: readonly OpRow[] = [
  ...["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum", "PRelu"].flatMap((op) => binary(op)),
  ...binary("Pow", { before: (v) => `Sigmoid (${v})` }),
  ...binary("Mod", { attributes: "fmod = 1" }),
  ...["Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal"].flatMap((op) => binary(op, { after: FLOAT })),
  ...["And", "Or", "Xor"].flatMap((op) => binary(op, booleans)),
  ...["BitwiseAnd", "BitwiseOr", "BitwiseXor"].flatMap((op) => binary(op, integers)),
  ...binary("BitShift", { ...integers, attributes: 'direction = "LEFT"' }),
  // Of its second operand only the type matters.
  ...binary("CastLike", { groups: ["a:1 6", "c:1 6"] }),
];

const sums = [
  "ReduceSum",
  "ReduceMean",
  "ReduceMax",
  "ReduceMin",
  "ReduceProd",
  "ReduceL1",
  "ReduceL2",
  "ReduceSumSquare",
  "ReduceLogSum",
  "ReduceLogSumExp",
];

/** Over another axis than the channels' the channels pass; over theirs only a sum lets them leave. */
const reductions: readonly OpRow[] = sums.flatMap((op): OpRow[] => {
  const before = op === "ReduceLogSum" ? "s = Exp (h)" : "s = Identity (h)";
  const isSum = ["ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum"].includes(op);
  return [
    {
      name: `${op} over another axis`,
      opset: 18,
      graph: matrices("int64[1] over = {1}", `${before} u = ${op} (s, over)`),
      groups: ["a:1 6"],
    },
    {
      name: `${op} over the channels`,
      opset: 18,
      graph: `g (float[2,4,3] x) => (float[] y) <float[3,6] a = {...}, int64[1] over = {2}> { h = MatMul (x, a) ${before} y = ${op} (s, over) }`,
      groups: isSum ? ["a:1 6"] : [],
    },
  ];
});

describe("elements, one by one", () => {
  for (const row of elements) test(row.name, () => proveRow(row));
});

describe("operands that broadcast", () => {
  for (const row of operands) test(row.name, () => proveRow(row));
});

describe("reductions", () => {
  for (const row of reductions) test(row.name, () => proveRow(row));
});

test("no operator that works element by element is left out", () => {
  const here = [...elements, ...operands].map((r) => r.name.split(" ")[0]);
  // Their rows are in op-axes.test.ts, or they are no such operators.
  const others = ["BitCast", "MatMul", "ArgMax", "ArgMin", "Softmax", "LogSoftmax", "Hardmax"];
  const specs = allSpecs.filter((s) => !s.domain && s.axes && s.evaluate && !s.moves && !s.barrier && !s.resize && !s.sizeOperands);
  expect(specs.filter((s) => s.inputs.length <= 2 && !here.includes(s.type) && !others.includes(s.type)).map((s) => s.type)).toEqual([]);
});
