/** ConvTranspose in any number of spatial axes: strides, dilations, groups, output_padding, output_shape, auto_pad. */

import { int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import { add, type Dim, isKnown, mul, product, sub } from "../dim.js";
import { defineOp, type InferContext, type OpSpec } from "../op.js";
import { convolutionBlocks, freezeAxes, groupsLeft, spatial } from "./axis-rules.js";
import { expectRank, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";
import { groupsOf, readWindow, span } from "./window.js";

/** [N, M, …] for X [N, C, …] and W [C, M/group, kernel…]. */
function transposedShape(op: InferContext): Shape | undefined {
  const { node } = op;
  const X = op.shape(0);
  const W = op.shape(1);
  if (!X || !W) return undefined;
  if (X.length < 3) throw mismatch(node, `X should be [N, C, spatial…], but is [${X.join(", ")}].`);
  expectRank(node, W, "W", X.length);
  sameExtent(node, X[1] as Dim, W[0] as Dim, "channels of X and W's first axis");
  const B = op.shape(2);
  if (B) expectRank(node, B, "B", 1);
  const group = groupsOf(node);
  if (isKnown(W[0] as Dim) && (W[0] as number) % group !== 0)
    throw mismatch(node, `${W[0]} input channels do not divide into ${group} groups.`);
  const M = mul(W[1] as Dim, group);
  return [X[0] as Dim, M, ...spatialExtents(op, X.slice(2), W.slice(2))];
}

function spatialExtents(op: InferContext, extents: Shape, kernel: Shape): Shape {
  const { node } = op;
  const stated = node.ints("output_shape");
  if (stated && stated.length > 0) {
    if (stated.length !== extents.length)
      throw mismatch(node, `output_shape should have ${extents.length} entries, but has ${stated.length}.`);
    return stated;
  }
  const w = readWindow(node, kernel);
  const extra = node.ints("output_padding", []);
  return extents.map((extent, i) => {
    const stride = w.strides[i] as number;
    const reach = add(span(w, i), extra[i] ?? 0);
    if (w.autoPad.startsWith("SAME")) {
      // Where windows leave gaps, the specification says extent * stride and ONNX Runtime does not fill the last gap.
      return isKnown(reach) && reach >= stride ? mul(extent, stride) : op.fresh(0, i + 2);
    }
    const full = add(mul(sub(extent, 1), stride), reach);
    return sub(full, (w.begins[i] as number) + (w.ends[i] as number));
  });
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "ConvTranspose",
    since: [1, 11, 22],
    inputs: ["X", "W", "B?"],
    outputs: ["Y"],
    infer(op) {
      const dtype = op.type(0)?.dtype ?? op.type(1)?.dtype;
      return [dtype && tensorOf(dtype, transposedShape(op))];
    },
    axes(op) {
      const X = op.in(0);
      const W = op.in(1);
      const [own, inner] = W as [Axis, Axis];
      const group = op.node.int("group", 1);
      freezeAxes(op, W.slice(2), "it is a kernel extent");
      op.same(own, X[1] as Axis);
      const far = group === 1 ? inner : op.atom(op.outShape(0)[1] as Dim);
      const within = convolutionBlocks(op, group, own, inner, far);
      if (op.has(2)) op.same(op.in(2)[0] as Axis, far);
      if (group === 1) op.contract({ input: 0, axis: 1 }, { input: 1, axis: 0 });
      else if (within) op.contract({ input: 1, axis: 0, zero: true, over: within });
      op.out(0, [X[0] as Axis, far, ...spatial(op, X, 0)]);
    },
    resize(op) {
      const group = op.node.int("group", 1);
      const left = groupsLeft(op.sizeOut(0, 1), op.sizeIn(1, 1));
      if (left !== undefined && left !== group) op.setAttribute("group", int(left));
    },
    // Every input element meets M/group times the kernel's elements.
    macs(op) {
      const X = op.shape(0);
      const W = op.shape(1);
      return X && W ? mul(product(X), product(W.slice(1))) : unknownMacs(op.node);
    },
  }),
];
