/** Conversions between real and quantised numbers: QuantizeLinear, DequantizeLinear (also of com.microsoft), DynamicQuantizeLinear. */

import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { isKnown } from "../dim.js";
import { bitsOf, type DType, dtypeOfWire } from "../dtype.js";
import type { Node } from "../graph.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import type { Tensor } from "../tensor.js";
import { freezeAxes } from "./axis-rules.js";
import { exactNumbers, roundEven, store } from "./numeric.js";
import { frontAxis, NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

/** The output type stated by attribute output_dtype, where there is one. */
function stated(op: OpContext): DType | undefined {
  const wire = op.node.int("output_dtype", 0);
  return wire === 0 ? undefined : dtypeOfWire(wire);
}

/** For element i of `x`, the element of scale and zero point that belongs to it: one, one per index of axis, or one per block. */
function scaleIndex(node: Node, x: Tensor, scale: Tensor): ((i: number) => number) | undefined {
  const block = node.int("block_size", 0);
  if (scale.size === 1 && block === 0) return () => 0;
  const axis = frontAxis(node, node.int("axis", 1), x.dims.length);
  const inner = x.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const extent = x.dims[axis] as number;
  if (block === 0) return scale.size === extent ? (i) => Math.floor(i / inner) % extent : undefined;
  const blocks = scale.dims[axis] as number;
  if (blocks !== Math.ceil(extent / block)) return undefined;
  return (i) => {
    const along = Math.floor(i / inner) % extent;
    return (Math.floor(i / (inner * extent)) * blocks + Math.floor(along / block)) * inner + (i % inner);
  };
}

/** Why what DynamicQuantizeLinear reads is kept whole; also in ops that quantise their input on the way. */
export const WHOLE_TENSOR_SCALE = "its scale comes from the least and the largest element of the whole tensor";

/**
 * Elements keep their place; a scale per index of `axis` belongs to that axis. Blocks of `axis` share a scale: there a
 * whole block leaves with it, and the other axes of the scales are those of the tensor.
 */
function quantizeAxes(op: AxisContext): void {
  const X = op.in(0);
  op.out(0, X);
  const block = op.node.int("block_size", 0);
  const axis = (): number => frontAxis(op.node, op.node.int("axis", 1), X.length);
  for (const i of [1, 2]) {
    if (!op.has(i)) continue;
    const S = op.in(i);
    if (block === 0 || S.length !== X.length) {
      const [s] = S;
      if (s && s.size !== 1) op.same(s, X[axis()] as Axis);
      continue;
    }
    S.forEach((s, k) => {
      const x = X[k] as Axis;
      if (k !== axis()) op.same(s, x);
      else if (block === 1) op.same(s, x);
      else blocksOf(op, x, s, block);
    });
  }
}

/** Ties the blocks of `x` to the indices of `s`; where the last block is short, nothing leaves. */
function blocksOf(op: AxisContext, x: Axis, s: Axis, block: number): void {
  if (!isKnown(x.size) || !isKnown(s.size) || s.size * block !== x.size) {
    freezeAxes(op, [x, s], `it does not divide into blocks of ${block}`);
    return;
  }
  const [blocks, within] = op.split(x, [s.size, block]) as [Axis, Axis];
  op.freeze(within, `blocks of ${block} share a scale`);
  op.same(blocks, s);
}

const quantizeLinear: OpSpec = {
  type: "QuantizeLinear",
  since: [10, 13, 19, 21, 23, 24, 25],
  inputs: ["x", "y_scale", "y_zero_point?"],
  outputs: ["y"],
  remark: `${NO_MACS} Constants are converted to 8-bit and 16-bit integers only.`,
  infer: (op) => [tensorOf(op.type(2)?.dtype ?? stated(op) ?? "uint8", op.shape(0))],
  evaluate(op, [x, scale, zero]) {
    const to = zero?.dtype ?? stated(op) ?? "uint8";
    if (x?.dtype !== "float32" || scale?.dtype !== "float32" || !/^u?int(8|16)$/.test(to)) return undefined;
    const of = scaleIndex(op.node, x, scale);
    const [numbers, scales, zeros] = [exactNumbers(x), exactNumbers(scale), zero && exactNumbers(zero)];
    if (!of || !numbers || !scales || numbers.some((v) => Number.isNaN(v))) return undefined;
    const [low, high] = to.startsWith("u") ? [0, 2 ** bitsOf(to) - 1] : [-(2 ** (bitsOf(to) - 1)), 2 ** (bitsOf(to) - 1) - 1];
    const values = Float64Array.from(numbers, (v, i) => {
      const k = of(i);
      return Math.min(high, Math.max(low, roundEven(Math.fround(v / (scales[k] as number))) + (zeros?.[k] ?? 0)));
    });
    const y = store(to, x.dims, values);
    return y && [y];
  },
  axes: quantizeAxes,
  macs: noMacs,
};

const dequantizeLinear: OpSpec = {
  type: "DequantizeLinear",
  since: [10, 13, 19, 21, 23, 24, 25],
  inputs: ["x", "x_scale", "x_zero_point?"],
  outputs: ["y"],
  remark: NO_MACS,
  infer(op) {
    const dtype = stated(op) ?? op.type(1)?.dtype;
    return [dtype && tensorOf(dtype, op.shape(0))];
  },
  evaluate(op, [x, scale, zero]) {
    if (!x || scale?.dtype !== "float32" || (stated(op) ?? "float32") !== "float32" || /^float/.test(x.dtype)) return undefined;
    const of = scaleIndex(op.node, x, scale);
    const scales = exactNumbers(scale);
    if (!of || !scales) return undefined;
    // numbers() also reads the 4-bit integers that weights come in.
    const [numbers, zeros] = [x.numbers(), zero?.numbers()];
    const y = store(
      "float32",
      x.dims,
      Float64Array.from(numbers, (v, i) => (v - (zeros?.[of(i)] ?? 0)) * (scales[of(i)] as number)),
    );
    return y && [y];
  },
  axes: quantizeAxes,
  macs: noMacs,
};

export const specs: readonly OpSpec[] = [
  ...[quantizeLinear, dequantizeLinear].flatMap((spec) => [
    defineOp(spec),
    // Of one opset, with 16-bit types from the start; an axis is stated where there is one.
    defineOp({ ...spec, domain: "com.microsoft", since: [1] }),
  ]),
  defineOp({
    type: "DynamicQuantizeLinear",
    since: [11],
    inputs: ["x"],
    outputs: ["y", "y_scale", "y_zero_point"],
    remark: `${NO_MACS} All of x is kept: ${WHOLE_TENSOR_SCALE}.`,
    infer: (op) => [tensorOf("uint8", op.shape(0)), tensorOf("float32", []), tensorOf("uint8", [])],
    axes(op) {
      const X = op.in(0);
      freezeAxes(op, X, WHOLE_TENSOR_SCALE);
      op.out(0, X);
      for (const i of [1, 2]) op.out(i, []);
    },
    macs: noMacs,
  }),
];
