/** Ops of two tensors broadcast together: arithmetic, comparison, logic, bits. The forms before opset 7 (axis, broadcast) are left out. */

import { add, type Dim, exactDiv, isKnown, mul, sub } from "../dim.js";
import { bitsOf, type DType, isInteger } from "../dtype.js";
import type { Node } from "../graph.js";
import { defineOp, type OpSpec } from "../op.js";
import { elementwise } from "./axis-rules.js";
import { elements, equals, fitting, isLess, isLessOrEqual, quotient, remainder, zip } from "./content-algebra.js";
import { mapBroadcast } from "./numeric.js";
import { broadcast, NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

type Scalar = (a: number, b: number) => number;

interface Row {
  readonly type: string;
  readonly since: readonly number[];
  readonly inputs?: readonly [string, string];
  readonly output?: string;
  /** The function for elements of `dtype`; NaN refuses an integer result that the runtime leaves undefined. */
  readonly f: (dtype: DType, node: Node) => Scalar;
  /** The result is a truth value. */
  readonly bool?: boolean;
  /** The first input alone decides the type of the result. */
  readonly ofFirst?: boolean;
  /** On integers that may be symbolic. */
  readonly content?: (dtype: DType, node: Node) => (a: Dim, b: Dim) => Dim | undefined;
}

const plain = (f: Scalar) => () => f;
const test = (f: (a: number, b: number) => boolean) => () => (a: number, b: number) => Number(f(a, b));
const symbolic = (f: (a: Dim, b: Dim) => Dim | undefined) => () => f;

function divide(dtype: DType): Scalar {
  if (!isInteger(dtype)) return (a, b) => a / b;
  return (a, b) => (b === 0 ? Number.NaN : Math.trunc(a / b));
}

function modulo(_: DType, node: Node): Scalar {
  // The remainder of C keeps the sign of a, the default that of b.
  if (node.int("fmod", 0) !== 0) return (a, b) => a % b;
  return (a, b) => a - b * Math.floor(a / b);
}

function power(dtype: DType): Scalar {
  if (!isInteger(dtype)) return floatPower;
  return (x, y) => (Number.isInteger(y) && y >= 0 ? integerPower(x, y) : Math.trunc(floatPower(x, y)));
}

/** As in C, and unlike Math.pow, 1 to any power and -1 to an infinite power are 1. */
function floatPower(x: number, y: number): number {
  if (x === 1 || (x === -1 && Math.abs(y) === Number.POSITIVE_INFINITY)) return 1;
  return x ** y;
}

/** Exact as long as it stays below 2^53, which Math.pow does not promise. */
function integerPower(x: number, y: number): number {
  if (Math.abs(x) <= 1) return x === -1 && y % 2 === 0 ? 1 : y === 0 ? 1 : x;
  let out = 1;
  for (let i = 0; i < y && Math.abs(out) < Number.MAX_SAFE_INTEGER; i++) out *= x;
  return out;
}

const bits = (f: (a: bigint, b: bigint, width: number) => bigint) => (dtype: DType) => (a: number, b: number) =>
  Number.isInteger(a) && Number.isInteger(b) ? Number(f(BigInt(a), BigInt(b), bitsOf(dtype))) : Number.NaN;

function shift(dtype: DType, node: Node): Scalar {
  const isLeft = node.string("direction") === "LEFT";
  // A shift by the width or more moves everything out, and has no other limit than memory in BigInt.
  return bits((x, y, width) => (y < 0n || y >= width ? 0n : isLeft ? BigInt.asUintN(width, x << y) : x >> y))(dtype);
}

const SINCE_ARITHMETIC = [7, 13, 14] as const;

const rows: readonly Row[] = [
  { type: "Add", since: SINCE_ARITHMETIC, f: plain((a, b) => a + b), content: symbolic(add) },
  { type: "Sub", since: SINCE_ARITHMETIC, f: plain((a, b) => a - b), content: symbolic(sub) },
  { type: "Mul", since: SINCE_ARITHMETIC, f: plain((a, b) => a * b), content: symbolic(mul) },
  { type: "Div", since: SINCE_ARITHMETIC, f: divide, content: (dtype) => (isInteger(dtype) ? quotient : exactQuotient) },
  { type: "Pow", since: [7, 12, 13, 15], inputs: ["X", "Y"], output: "Z", f: power, ofFirst: true, content: symbolic(smallPower) },
  { type: "Mod", since: [10, 13], f: modulo, content: (_, node) => (node.int("fmod", 0) === 0 ? remainder : nonNegativeRemainder) },
  { type: "Equal", since: [7, 11, 13, 19], bool: true, f: test((a, b) => a === b), content: symbolic(equals) },
  { type: "Less", since: [7, 9, 13], bool: true, f: test((a, b) => a < b), content: symbolic(isLess) },
  { type: "Greater", since: [7, 9, 13], bool: true, f: test((a, b) => a > b), content: symbolic((a, b) => isLess(b, a)) },
  { type: "LessOrEqual", since: [12, 16], bool: true, f: test((a, b) => a <= b), content: symbolic(isLessOrEqual) },
  { type: "GreaterOrEqual", since: [12, 16], bool: true, f: test((a, b) => a >= b), content: symbolic((a, b) => isLessOrEqual(b, a)) },
  { type: "And", since: [7], bool: true, f: test((a, b) => a !== 0 && b !== 0), content: symbolic(both) },
  { type: "Or", since: [7], bool: true, f: test((a, b) => a !== 0 || b !== 0), content: symbolic(either) },
  { type: "Xor", since: [7], bool: true, f: test((a, b) => (a !== 0) !== (b !== 0)) },
  { type: "BitShift", since: [11], inputs: ["X", "Y"], output: "Z", f: shift },
  { type: "BitwiseAnd", since: [18], f: bits((a, b) => a & b) },
  { type: "BitwiseOr", since: [18], f: bits((a, b) => a | b) },
  { type: "BitwiseXor", since: [18], f: bits((a, b) => a ^ b) },
];

/** Division of integers held in floats: only where it leaves no remainder. */
function exactQuotient(a: Dim, b: Dim): Dim | undefined {
  return exactDiv(a, b);
}

function nonNegativeRemainder(a: Dim, b: Dim): Dim | undefined {
  return isKnown(a) && isKnown(b) && a >= 0 && b > 0 ? a % b : undefined;
}

function smallPower(x: Dim, y: Dim): Dim | undefined {
  if (y === 1) return x;
  return y === 2 ? mul(x, x) : undefined;
}

function both(a: Dim, b: Dim): Dim | undefined {
  if (a === 0 || b === 0) return 0;
  return isKnown(a) ? b : isKnown(b) || a === b ? a : undefined;
}

function either(a: Dim, b: Dim): Dim | undefined {
  if ((isKnown(a) && a !== 0) || (isKnown(b) && b !== 0)) return 1;
  return isKnown(a) ? b : isKnown(b) || a === b ? a : undefined;
}

function binary(row: Row): OpSpec {
  return defineOp({
    type: row.type,
    since: row.since,
    inputs: row.inputs ?? ["A", "B"],
    outputs: [row.output ?? "C"],
    remark: NO_MACS,
    infer(op) {
      const operand = op.type(0)?.dtype ?? (row.ofFirst ? undefined : op.type(1)?.dtype);
      const dtype = row.bool ? "bool" : operand;
      const shape = broadcast(op.node, [op.shape(0), op.shape(1)]);
      if (!dtype) return [undefined];
      const f = operand && row.content?.(operand, op.node);
      const content = f && shape && shape.length <= 1 ? zip([elements(op, 0), elements(op, 1)], f) : undefined;
      return [tensorOf(dtype, shape, fitting(dtype, content))];
    },
    evaluate({ node }, [a, b]) {
      if (!a || !b) return undefined;
      const y = mapBroadcast([a, b], row.bool ? "bool" : a.dtype, row.f(a.dtype, node) as (...v: number[]) => number);
      return y && [y];
    },
    axes: elementwise,
    macs: noMacs,
  });
}

export const specs: readonly OpSpec[] = rows.map(binary);
