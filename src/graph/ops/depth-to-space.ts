/** DepthToSpace and SpaceToDepth (onnx/docs/Operators.md#DepthToSpace). */
import type { Axis } from "../coupling/axis.js";
import { type Dim, exactDiv, isKnown, mul } from "../dim.js";
import type { Node } from "../graph.js";
import { defineOp, type InferContext, type OpSpec } from "../op.js";
import { rearrange, strided, stridesOf } from "../rearrange.js";
import type { Tensor } from "../tensor.js";
import { freezeAxes } from "./axis-rules.js";
import { expectRank, mismatch, noMacs, tensorOf } from "./shape-rules.js";

const depthToSpace = defineOp({
  type: "DepthToSpace",
  since: [1, 11, 13],
  inputs: ["input"],
  outputs: ["output"],

  infer(op) {
    const input = op.type(0);
    if (!input?.shape)
      return [
        input &&
          tensorOf(
            input.dtype,
            [0, 1, 2, 3].map((a) => op.fresh(0, a)),
          ),
      ];
    expectRank(op.node, input.shape, "input", 4);
    const [n, c, h, w] = input.shape as [Dim, Dim, Dim, Dim];
    const b = blockOf(op.node);
    return [tensorOf(input.dtype, [n, divided(op, c, b * b, 1), mul(h, b), mul(w, b)])];
  },

  moves: [0],
  evaluate(op, [input]) {
    const b = blockOf(op.node);
    const [n, c, h, w] = (input?.dims ?? []) as [number, number, number, number];
    const depth = c / (b * b);
    const dims = [n, depth, h * b, w * b];
    return op.node.string("mode", "DCR") === "CRD"
      ? permuted(input, [n, depth, b, b, h, w], [0, 1, 4, 2, 5, 3], dims)
      : permuted(input, [n, b, b, depth, h, w], [0, 3, 4, 1, 5, 2], dims);
  },

  axes(op) {
    const X = op.in(0) as readonly [Axis, Axis, Axis, Axis];
    const b = blockOf(op.node);
    const depth = op.outShape(0)[1] as Dim;
    const sizes = op.node.string("mode", "DCR") === "CRD" ? [depth, b, b] : [b, b, depth];
    const parts = op.split(X[1], sizes);
    const [d, ...blocks] =
      sizes[0] === depth && op.node.string("mode", "DCR") === "CRD" ? parts : [parts[2] as Axis, parts[0] as Axis, parts[1] as Axis];
    freezeAxes(op, [...blocks, X[2], X[3]], "DepthToSpace moves it into space");
    op.out(0, [
      X[0],
      d as Axis,
      ...op
        .outShape(0)
        .slice(2)
        .map((n) => op.fixed(n, "DepthToSpace makes it from space")),
    ]);
  },
  macs: noMacs,
});

const spaceToDepth = defineOp({
  type: "SpaceToDepth",
  since: [1, 13],
  inputs: ["input"],
  outputs: ["output"],

  infer(op) {
    const input = op.type(0);
    if (!input?.shape)
      return [
        input &&
          tensorOf(
            input.dtype,
            [0, 1, 2, 3].map((a) => op.fresh(0, a)),
          ),
      ];
    expectRank(op.node, input.shape, "input", 4);
    const [n, c, h, w] = input.shape as [Dim, Dim, Dim, Dim];
    const b = blockOf(op.node);
    return [tensorOf(input.dtype, [n, mul(c, b * b), divided(op, h, b, 2), divided(op, w, b, 3)])];
  },

  moves: [0],
  evaluate(op, [input]) {
    const b = blockOf(op.node);
    const [n, c, h, w] = (input?.dims ?? []) as [number, number, number, number];
    return permuted(input, [n, c, h / b, b, w / b, b], [0, 3, 5, 1, 2, 4], [n, c * b * b, h / b, w / b]);
  },

  axes(op) {
    const X = op.in(0) as readonly [Axis, Axis, Axis, Axis];
    const b = blockOf(op.node);
    freezeAxes(op, [X[2], X[3]], "SpaceToDepth moves it into channels");
    const block = () => op.fixed(b, "SpaceToDepth makes it from space");
    op.out(0, [
      X[0],
      op.prod([block(), block(), X[1]]),
      ...op
        .outShape(0)
        .slice(2)
        .map((n) => op.fixed(n, "SpaceToDepth moves it into channels")),
    ]);
  },
  macs: noMacs,
});

function blockOf(node: Node): number {
  const b = node.int("blocksize", 0);
  if (b < 1) throw mismatch(node, `blocksize should be at least 1, but is ${b}.`);
  return b;
}

function divided(op: InferContext, extent: Dim, by: number, axis: number): Dim {
  const quotient = exactDiv(extent, by);
  if (quotient === undefined && isKnown(extent)) throw mismatch(op.node, `extent ${extent} of axis ${axis} should be a multiple of ${by}.`);
  return quotient ?? op.fresh(0, axis);
}

/** Reshape to `seen`, Transpose by `perm`, Reshape to `dims`. */
function permuted(
  input: Tensor | undefined,
  seen: readonly number[],
  perm: readonly number[],
  dims: readonly number[],
): readonly Tensor[] | undefined {
  if (!input) return undefined;
  const steps = stridesOf(seen);
  const out = rearrange(
    [input],
    dims,
    strided(
      perm.map((a) => seen[a] as number),
      perm.map((a) => steps[a] as number),
    ),
  );
  return out && [out];
}

export const specs: readonly OpSpec[] = [depthToSpace, spaceToDepth];
