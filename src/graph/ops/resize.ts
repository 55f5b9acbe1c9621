/**
 * Resize and its predecessor Upsample: each extent becomes floor(extent * scale), or what `sizes` says.
 *
 * Operands by opset: Upsample 7 has scales as an attribute, Upsample 9 and Resize 10 as input 1; since Resize 11 they are
 * roi 1, scales 2, sizes 3. Since 18 they may speak of some axes only, and sizes may be bounds that keep the aspect ratio.
 */
import type { AxisContext } from "../coupling/context.js";
import { type Dim, floorDiv, isKnown, mul, opaque } from "../dim.js";
import { defineOp, type InferContext, type OpContext, type OpSpec } from "../op.js";
import { frontAxis, mismatch, NO_MACS, noMacs, type Shape, tensorOf } from "./shape-rules.js";

/** The extent floor(d * scale), in float32 as the runtime computes it. */
export function scaledExtent(d: Dim, scale: number): Dim {
  const s = Math.fround(scale);
  if (isKnown(d)) return Math.floor(Math.fround(s * d));
  // A scale that is p / 2^q stays within the algebra of extents.
  for (let denominator = 1; denominator <= 1024; denominator *= 2) {
    if (Number.isInteger(s * denominator)) return floorDiv(mul(d, s * denominator), denominator);
  }
  return opaque("scaled", [d, s]);
}

/** The axes that scales or sizes speak of. */
function resizedAxes(op: OpContext, rank: number): number[] {
  const axes = op.opset >= 18 ? op.node.ints("axes") : undefined;
  return axes ? axes.map((a) => frontAxis(op.node, a, rank)) : Array.from({ length: rank }, (_, a) => a);
}

function place(op: OpContext, X: Shape, extents: readonly Dim[], what: string): Shape {
  const axes = resizedAxes(op, X.length);
  if (extents.length !== axes.length) {
    throw mismatch(op.node, `${what} should have ${axes.length} entries for X [${X.join(", ")}], but has ${extents.length}.`);
  }
  return X.map((d, a) => (axes.includes(a) ? (extents[axes.indexOf(a)] as Dim) : d));
}

function byScales(op: OpContext, X: Shape, scales: ArrayLike<number>): Shape {
  const axes = resizedAxes(op, X.length);
  const extents = Array.from(scales, (s, i) => scaledExtent(X[axes[i] ?? 0] ?? 1, s));
  return place(op, X, extents, "scales");
}

const policyOf = (op: OpContext): string => (op.opset >= 18 ? op.node.string("keep_aspect_ratio_policy", "stretch") : "stretch");

/** Sizes of a Resize that has them; before opset 13 an absent operand is written as an empty tensor. */
function sizesOf(op: OpContext): readonly Dim[] | undefined {
  const sizes = op.node.opType === "Resize" && op.opset >= 11 ? op.content(3) : undefined;
  return sizes && sizes.length > 0 ? sizes : undefined;
}

/** Constant scales, one per resized axis. */
function scalesOf(op: OpContext): ArrayLike<number> | undefined {
  const attribute = op.node.attributes.get("scales");
  if (op.node.opType === "Upsample" && op.opset < 9) return attribute?.kind === "floats" ? attribute.value : undefined;
  return op.constant(op.node.opType === "Resize" && op.opset >= 11 ? 2 : 1)?.numbers();
}

function bySizes(op: InferContext, X: Shape, sizes: readonly Dim[]): Shape {
  const policy = policyOf(op);
  if (policy === "stretch") return place(op, X, sizes, "sizes");
  const axes = resizedAxes(op, X.length);
  const extents = axes.map((a) => X[a] as Dim);
  if (!extents.every(isKnown) || !sizes.every(isKnown)) return X.map((d, a) => (axes.includes(a) ? op.fresh(0, a) : d));
  const ratios = sizes.map((s, i) => Math.fround((s as number) / (extents[i] as number)));
  const scale = policy === "not_larger" ? Math.min(...ratios) : Math.max(...ratios);
  return place(
    op,
    X,
    extents.map((d) => Math.round(Math.fround(scale * (d as number)))),
    "sizes",
  );
}

function resizedShape(op: InferContext): Shape | undefined {
  const X = op.shape(0);
  if (!X) return undefined;
  const unknown = () => X.map((_, a) => op.fresh(0, a));
  const sizesAt = op.opset >= 11 ? 3 : -1;
  const isGiven = (i: number) => {
    const shape = op.shape(i);
    // Before opset 13 an absent operand is written as an empty tensor.
    return op.node.inputs[i] !== undefined && !(shape?.length === 1 && shape[0] === 0);
  };
  if (sizesAt >= 0 && isGiven(sizesAt)) {
    const sizes = op.content(sizesAt);
    return sizes ? bySizes(op, X, sizes) : unknown();
  }
  const scales = scalesOf(op);
  return scales ? byScales(op, X, scales) : unknown();
}

/** Axes scaled by 1 pass; resampled ones mix neighbours, also where a scale of 1.2 leaves 4 of 4. */
function resizeAxes(op: AxisContext): void {
  const X = op.in(0);
  if (op.node.string("coordinate_transformation_mode", "half_pixel") === "tf_crop_and_resize") return op.barrier("it crops by roi");
  const named = resizedAxes(op, X.length);
  const scales = sizesOf(op) ? undefined : scalesOf(op);
  const keepsScale = (k: number): boolean => {
    const at = named.indexOf(k);
    if (at < 0) return true;
    return sizesOf(op) ? policyOf(op) === "stretch" : scales?.[at] === 1;
  };
  return op.out(
    0,
    X.map((a, k) => {
      const size = op.outShape(0)[k] as Dim;
      if (size === a.size && keepsScale(k)) return a;
      op.freeze(a, `${op.node.opType} resamples it`);
      return op.fixed(size, `${op.node.opType} resamples it`);
    }),
  );
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "Resize",
    since: [10, 11, 13, 18, 19],
    inputs: ["X", "roi?", "scales?", "sizes?"],
    outputs: ["Y"],
    sizeOperands: [3],
    remark: `${NO_MACS} Operands of version 10 are X and scales. roi does not take part in the shape.`,
    infer(op) {
      const X = op.type(0);
      return [X && tensorOf(X.dtype, resizedShape(op))];
    },
    axes: resizeAxes,
    resize(op) {
      // Scales stay; sizes name extents. As bounds that keep the aspect ratio they speak of axes that stay whole.
      if (!sizesOf(op) || policyOf(op) !== "stretch") return;
      const axes = resizedAxes(op, (op.shape(0) as Shape).length);
      op.setOperand(
        3,
        axes.map((a) => op.sizeOut(0, a)),
      );
    },
    macs: noMacs,
  }),
  defineOp({
    type: "Upsample",
    since: [7, 9],
    until: 10,
    inputs: ["X", "scales"],
    outputs: ["Y"],
    remark: `${NO_MACS} scales is an attribute before opset 9.`,
    infer(op) {
      const X = op.type(0);
      if (!X?.shape) return [X && tensorOf(X.dtype, undefined)];
      const scales = scalesOf(op);
      return [tensorOf(X.dtype, scales ? byScales(op, X.shape, scales) : X.shape.map((_, a) => op.fresh(0, a)))];
    },
    axes: resizeAxes,
    macs: noMacs,
  }),
];
