/** Conversions between real and quantised numbers: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear. */

import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { bitsOf, type DType, dtypeOfWire } from "../dtype.js";
import type { Node } from "../graph.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import type { Tensor } from "../tensor.js";
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

/** Elements keep their place; a scale per index of `axis` belongs to that axis. */
function quantizeAxes(op: AxisContext): void {
  const X = op.in(0);
  if (op.node.int("block_size", 0) !== 0) return op.barrier("it is quantised in blocks");
  for (const i of [1, 2]) {
    if (!op.has(i)) continue;
    const [s] = op.in(i);
    if (!s || s.size === 1) continue;
    op.same(s, X[frontAxis(op.node, op.node.int("axis", 1), X.length)] as Axis);
  }
  return op.out(0, X);
}

export const specs: readonly OpSpec[] = [
  defineOp({
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
  }),
  defineOp({
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
  }),
  defineOp({
    type: "DynamicQuantizeLinear",
    since: [11],
    inputs: ["x"],
    outputs: ["y", "y_scale", "y_zero_point"],
    remark: NO_MACS,
    infer: (op) => [tensorOf("uint8", op.shape(0)), tensorOf("float32", []), tensorOf("uint8", [])],
    macs: noMacs,
  }),
];
