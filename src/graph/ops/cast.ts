/** Cast, CastLike and BitCast. Values are converted between numeric types; strings, 8-bit and 4-bit floats are left to the runtime. */

import { type Dim, isKnown } from "../dim.js";
import { bitsOf, type DType, dtypeOfWire, isFloat, isInteger } from "../dtype.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { Tensor } from "../tensor.js";
import { passThrough } from "./axis-rules.js";
import { elements, fitting } from "./content-algebra.js";
import { isNumeric, store } from "./numeric.js";
import { mismatch, NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

/**
 * `x` as elements of `to`: floats lose their fraction on the way to integers, integers wrap, everything but 0 is true.
 * Undefined where C++ leaves the result open: a float that the integer type cannot hold.
 */
export function convert(x: Tensor, to: DType): Tensor | undefined {
  if (x.dtype === to) return x;
  if (!isNumeric(x.dtype) || !isNumeric(to)) return undefined;
  if (isWide(x.dtype)) return convertWide(x, to);
  const numbers = x.numbers();
  if (to === "bool")
    return store(
      to,
      x.dims,
      Float64Array.from(numbers, (v) => Number(v !== 0)),
    );
  if (isInteger(to)) {
    if (isWide(to) && !isFloat(x.dtype))
      return wide(
        to,
        x.dims,
        Array.from(numbers, (v) => BigInt(v)),
      );
    const whole = Float64Array.from(numbers, Math.trunc);
    if (isFloat(x.dtype) && !whole.every((v) => isWithin(v, to))) return undefined;
    return store(to, x.dims, whole);
  }
  return store(to, x.dims, Float64Array.from(numbers));
}

const isWide = (dtype: DType): boolean => dtype === "int64" || dtype === "uint64";

/** From 64-bit integers, which numbers() would saturate. */
function convertWide(x: Tensor, to: DType): Tensor | undefined {
  const values = Array.from(x.data as BigInt64Array | BigUint64Array);
  if (to === "bool")
    return store(
      to,
      x.dims,
      Float64Array.from(values, (v) => Number(v !== 0n)),
    );
  if (isWide(to)) return wide(to, x.dims, values);
  if (isInteger(to))
    return store(
      to,
      x.dims,
      Float64Array.from(values, (v) => Number(BigInt.asIntN(bitsOf(to), v))),
    );
  const numbers = Float64Array.from(values, Number);
  // Beyond 2^53 a second rounding would follow the one to double.
  return numbers.every(Number.isSafeInteger) ? store(to, x.dims, numbers) : undefined;
}

function wide(to: DType, dims: readonly number[], values: readonly bigint[]): Tensor {
  const data = to === "int64" ? BigInt64Array.from(values) : BigUint64Array.from(values);
  return Tensor.ofBytes(to, dims, new Uint8Array(data.buffer));
}

function isWithin(v: number, to: DType): boolean {
  const bits = bitsOf(to);
  return to.startsWith("u") ? v >= 0 && v < 2 ** bits : v >= -(2 ** (bits - 1)) && v < 2 ** (bits - 1);
}

/** Elements after the conversion, where it changes none of them. */
function convertedContent(op: OpContext, to: DType): readonly Dim[] | undefined {
  const from = elements(op, 0);
  if (op.type(0)?.dtype === "bool" || to !== "bool") return fitting(to, from);
  return from?.every(isKnown) ? from.map((d) => Number(d !== 0)) : undefined;
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "Cast",
    since: [6, 9, 13, 19, 21, 23, 24, 25],
    inputs: ["input"],
    outputs: ["output"],
    remark: `${NO_MACS} Version 1, where the type was a string, is left out.`,
    infer(op) {
      const to = dtypeOfWire(op.node.int("to", 0));
      return [to && to !== "undefined" ? tensorOf(to, op.shape(0), convertedContent(op, to)) : undefined];
    },
    evaluate({ node }, [x]) {
      const to = dtypeOfWire(node.int("to", 0));
      const y = x && to && convert(x, to);
      return y && [y];
    },
    axes: passThrough,
    macs: noMacs,
  }),
  defineOp({
    type: "CastLike",
    since: [15, 19, 21, 23, 24, 25],
    inputs: ["input", "target_type"],
    outputs: ["output"],
    remark: NO_MACS,
    infer(op) {
      const to = op.type(1)?.dtype;
      return [to && tensorOf(to, op.shape(0), convertedContent(op, to))];
    },
    evaluate(_, [x, like]) {
      const y = x && like && convert(x, like.dtype);
      return y && [y];
    },
    axes(op) {
      // Only the type of the second input matters.
      op.in(1);
      passThrough(op);
    },
    macs: noMacs,
  }),
  defineOp({
    type: "BitCast",
    since: [26],
    inputs: ["input"],
    outputs: ["output"],
    remark: `${NO_MACS} Not evaluated below 8 bits.`,
    infer(op) {
      const to = dtypeOfWire(op.node.int("to", 0));
      const from = op.type(0)?.dtype;
      if (to && from && bitsOf(from) !== bitsOf(to)) throw mismatch(op.node, `${from} and ${to} differ in width.`);
      return [to && tensorOf(to, op.shape(0))];
    },
    evaluate({ node }, [x]) {
      const to = dtypeOfWire(node.int("to", 0));
      return x && to && x.dtype !== "string" && bitsOf(to) >= 8 ? [Tensor.ofBytes(to, x.dims, x.bytes)] : undefined;
    },
    axes: passThrough,
    macs: noMacs,
  }),
];
