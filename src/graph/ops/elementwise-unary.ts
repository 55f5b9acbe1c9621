/** Ops of one tensor that act on each element by itself. Version 1 forms differ only by a hint about buffers (consumed_inputs). */
import { type Dim, isKnown, mul } from "../dim.js";
import { bitsOf, isFloat, isInteger } from "../dtype.js";
import type { Node } from "../graph.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { Tensor } from "../tensor.js";
import { elementwise, passThrough } from "./axis-rules.js";
import { elements, isNonNegative, zip } from "./content-algebra.js";
import { erf, exactNumbers, isNumeric, mapElements, roundEven } from "./numeric.js";
import { likeInput, NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

type Scalar = (x: number) => number;

interface Row {
  readonly type: string;
  readonly domain?: string;
  readonly since: readonly number[];
  readonly input?: string;
  readonly output?: string;
  /** The function, with the node's attributes bound. */
  readonly f: (node: Node) => Scalar;
  /** Also defined for integers, where the result is an integer. */
  readonly integers?: boolean;
  readonly bool?: boolean;
  /** On an integer that may be symbolic. */
  readonly content?: (d: Dim) => Dim | undefined;
}

const [SELU_ALPHA, SELU_GAMMA] = [1.6732631921768188, 1.0507010221481323];

/** Attribute values are float32, and so are the defaults of the specification. */
const attribute = (node: Node, name: string, fallback: number): number => Math.fround(node.float(name, fallback));

const plain =
  (f: Scalar): Row["f"] =>
  () =>
    f;
const sigmoid: Scalar = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
const softplus: Scalar = (x) => (x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x)));
const gelu: Scalar = (x) => 0.5 * x * (1 + erf(x / Math.SQRT2));
const geluTanh: Scalar = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

/** Integers are their own floor, ceiling and rounding. */
const same = (d: Dim): Dim => d;
const ifNonNegative = (d: Dim): Dim | undefined => (isNonNegative(d) ? d : undefined);

/** Since versions of the ops that lost consumed_inputs at 6 and gained bfloat16 at 13. */
const OLD = [1, 6, 13] as const;
const lower = { input: "input", output: "output" } as const;

const rows: readonly Row[] = [
  { type: "Abs", since: OLD, f: plain(Math.abs), integers: true, content: (d) => (isKnown(d) ? Math.abs(d) : ifNonNegative(d)) },
  { type: "Neg", since: OLD, f: plain((x) => -x), integers: true, content: (d) => mul(d, -1) },
  { type: "Ceil", since: OLD, f: plain(Math.ceil), content: same },
  { type: "Floor", since: OLD, f: plain(Math.floor), content: same },
  { type: "Round", since: [11, 22], f: plain(roundEven), content: same },
  { type: "Sign", since: [9, 13], ...lower, f: plain(Math.sign), integers: true },
  { type: "Exp", since: OLD, ...lower, f: plain(Math.exp) },
  { type: "Log", since: OLD, ...lower, f: plain(Math.log) },
  { type: "Sqrt", since: OLD, f: plain(Math.sqrt) },
  { type: "Reciprocal", since: OLD, f: plain((x) => 1 / x) },
  { type: "Erf", since: [9, 13], ...lower, f: plain(erf) },
  { type: "Sin", since: [7, 22], ...lower, f: plain(Math.sin) },
  { type: "Cos", since: [7, 22], ...lower, f: plain(Math.cos) },
  { type: "Tan", since: [7, 22], ...lower, f: plain(Math.tan) },
  { type: "Asin", since: [7, 22], ...lower, f: plain(Math.asin) },
  { type: "Acos", since: [7, 22], ...lower, f: plain(Math.acos) },
  { type: "Atan", since: [7, 22], ...lower, f: plain(Math.atan) },
  { type: "Sinh", since: [9, 22], ...lower, f: plain(Math.sinh) },
  { type: "Cosh", since: [9, 22], ...lower, f: plain(Math.cosh) },
  { type: "Tanh", since: OLD, ...lower, f: plain(Math.tanh) },
  { type: "Asinh", since: [9, 22], ...lower, f: plain(Math.asinh) },
  { type: "Acosh", since: [9, 22], ...lower, f: plain(Math.acosh) },
  { type: "Atanh", since: [9, 22], ...lower, f: plain(Math.atanh) },
  { type: "Sigmoid", since: OLD, f: plain(sigmoid) },
  { type: "Softplus", since: [1, 22], f: plain(softplus) },
  { type: "Softsign", since: [1, 22], ...lower, f: plain((x) => x / (1 + Math.abs(x))) },
  { type: "Mish", since: [18, 22], f: plain((x) => x * Math.tanh(softplus(x))) },
  { type: "HardSwish", since: [14, 22], f: plain((x) => x * Math.max(0, Math.min(1, x / 6 + 0.5))) },
  {
    type: "HardSigmoid",
    since: [1, 6, 22],
    f(node) {
      const [alpha, beta] = [attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)];
      return (x) => Math.max(0, Math.min(1, alpha * x + beta));
    },
  },
  {
    type: "Elu",
    since: [1, 6, 22],
    f(node) {
      const alpha = attribute(node, "alpha", 1);
      return (x) => (x >= 0 ? x : alpha * Math.expm1(x));
    },
  },
  {
    type: "Celu",
    since: [12],
    f(node) {
      const alpha = attribute(node, "alpha", 1);
      return (x) => Math.max(0, x) + Math.min(0, alpha * Math.expm1(x / alpha));
    },
  },
  {
    type: "Selu",
    since: [1, 6, 22],
    f(node) {
      // Version 1 rounded the constants differently.
      const [alpha, gamma] = [attribute(node, "alpha", SELU_ALPHA), attribute(node, "gamma", SELU_GAMMA)];
      return (x) => gamma * (x > 0 ? x : alpha * Math.expm1(x));
    },
  },
  { type: "Gelu", since: [20], f: (node) => (node.string("approximate", "none") === "tanh" ? geluTanh : gelu) },
  { type: "Gelu", domain: "com.microsoft", since: [1], f: plain(gelu) },
  {
    type: "QuickGelu",
    domain: "com.microsoft",
    since: [1],
    f(node) {
      const alpha = attribute(node, "alpha", 1.702);
      return (x) => x * sigmoid(alpha * x);
    },
  },
  {
    type: "Swish",
    since: [24],
    f(node) {
      const alpha = attribute(node, "alpha", 1);
      return (x) => x * sigmoid(alpha * x);
    },
  },
  {
    type: "LeakyRelu",
    since: [1, 6, 16],
    f(node) {
      const alpha = attribute(node, "alpha", 0.01);
      return (x) => (x >= 0 ? x : alpha * x);
    },
  },
  {
    type: "ThresholdedRelu",
    since: [10, 22],
    f(node) {
      const alpha = attribute(node, "alpha", 1);
      return (x) => (x > alpha ? x : 0);
    },
  },
  { type: "Relu", since: [1, 6, 13, 14], f: plain((x) => Math.max(x, 0)), integers: true, content: ifNonNegative },
  {
    type: "Shrink",
    since: [9],
    ...lower,
    f(node) {
      const [bias, lambd] = [attribute(node, "bias", 0), attribute(node, "lambd", 0.5)];
      return (x) => (x < -lambd ? x + bias : x > lambd ? x - bias : 0);
    },
  },
  { type: "IsNaN", since: [9, 13, 20], bool: true, f: plain((x) => Number(Number.isNaN(x))) },
  {
    type: "IsInf",
    since: [10, 20],
    bool: true,
    f(node) {
      const [positive, negative] = [node.int("detect_positive", 1) !== 0, node.int("detect_negative", 1) !== 0];
      return (x) => Number((positive && x === Number.POSITIVE_INFINITY) || (negative && x === Number.NEGATIVE_INFINITY));
    },
  },
];

/** Elements after `f`, where the input is made of integers that may be symbolic. */
function mapContent(op: OpContext, f: ((d: Dim) => Dim | undefined) | undefined): readonly Dim[] | undefined {
  return f && zip([elements(op, 0)], f);
}

function unary(row: Row): OpSpec {
  return defineOp({
    type: row.type,
    ...(row.domain === undefined ? {} : { domain: row.domain }),
    since: row.since,
    inputs: [row.input ?? "X"],
    outputs: [row.output ?? "Y"],
    remark: NO_MACS,
    infer(op) {
      const X = op.type(0);
      if (row.bool) return [tensorOf("bool", X?.shape)];
      return [likeInput(op, 0, mapContent(op, row.content))];
    },
    evaluate({ node }, [x]) {
      if (!x || (!isFloat(x.dtype) && !row.integers)) return undefined;
      const y = mapElements(x, row.bool ? "bool" : x.dtype, row.f(node));
      return y && [y];
    },
    axes: passThrough,
    macs: noMacs,
  });
}

/** A function of com.microsoft on the sum of a tensor and a vector along its last axis. */
function biased(type: string, inputs: readonly string[], f: Scalar, output = "Y"): OpSpec {
  return defineOp({
    type,
    domain: "com.microsoft",
    since: [1],
    inputs,
    outputs: [output],
    remark: NO_MACS,
    infer: (op) => [likeInput(op)],
    evaluate(_, [x, bias]) {
      const numbers = x && isFloat(x.dtype) && exactNumbers(x);
      const b = bias && exactNumbers(bias);
      if (!x || !numbers || !isNumeric(x.dtype) || (bias && !b)) return undefined;
      const sum = b ? numbers.map((v, i) => v + (b[i % b.length] as number)) : numbers;
      const y = mapElements(Tensor.fromNumbers(x.dtype, x.dims, sum), x.dtype, f);
      return y && [y];
    },
    axes: elementwise,
    macs: noMacs,
  });
}

/** Not of every bit, by bytes: complements do not care where elements begin. */
function complement(x: Tensor): Tensor {
  return Tensor.ofBytes(
    x.dtype,
    x.dims,
    x.bytes.map((b) => ~b),
  );
}

export const specs: readonly OpSpec[] = [
  ...rows.map(unary),
  defineOp({
    type: "Not",
    since: [1],
    inputs: ["X"],
    outputs: ["Y"],
    remark: NO_MACS,
    infer: (op) => [
      tensorOf(
        "bool",
        op.shape(0),
        mapContent(op, (d) => (isKnown(d) ? Number(d === 0) : undefined)),
      ),
    ],
    evaluate(_, [x]) {
      const y = x && mapElements(x, "bool", (v) => Number(v === 0));
      return y && [y];
    },
    axes: passThrough,
    macs: noMacs,
  }),
  defineOp({
    type: "BitwiseNot",
    since: [18],
    inputs: ["X"],
    outputs: ["Y"],
    remark: NO_MACS,
    infer: (op) => [likeInput(op)],
    evaluate: (_, [x]) => (x && isInteger(x.dtype) && bitsOf(x.dtype) >= 8 ? [complement(x)] : undefined),
    axes: passThrough,
    macs: noMacs,
  }),
  defineOp({
    type: "Identity",
    since: [1, 13, 14, 16, 19, 21, 23, 24, 25],
    inputs: ["input"],
    outputs: ["output"],
    remark: NO_MACS,
    infer(op) {
      const type = op.type(0);
      // Sequences and optionals pass through as they are.
      const other = op.node.inputs[0]?.type;
      return [type ? tensorOf(type.dtype, type.shape, op.content(0)) : other && { type: other }];
    },
    evaluate: (_, [x]) => x && [x],
    axes: passThrough,
    macs: noMacs,
  }),
  defineOp({
    type: "Dropout",
    since: [7, 10, 12, 13, 22],
    inputs: ["data", "ratio?", "training_mode?"],
    outputs: ["output", "mask?"],
    remark: `${NO_MACS} Random under training_mode: then never folded, and kept whole.`,
    infer(op) {
      const mask = op.opset < 10 ? op.type(0)?.dtype : "bool";
      return [likeInput(op), mask && tensorOf(mask, op.shape(0))];
    },
    evaluate({ node, opset }, [data, , training]) {
      if (!data || (node.inputs[2] && !training) || (training && training.scalar() !== 0)) return undefined;
      if (!node.outputs[1]) return [data];
      // What the mask holds outside training is defined since opset 12 only.
      return opset < 12 ? undefined : [data, Tensor.fromNumbers("bool", data.dims, new Uint8Array(data.size).fill(1))];
    },
    axes(op) {
      // The numbers drawn for the elements that stay depend on how many there are.
      if (op.has(2) && op.constant(2)?.scalar() !== 0) op.barrier("Dropout may draw a random number for each element (training_mode)");
      else passThrough(op);
    },
    macs: noMacs,
  }),
  biased("FastGelu", ["X", "bias?"], geluTanh),
  biased("BiasGelu", ["A", "B"], gelu, "C"),
];
