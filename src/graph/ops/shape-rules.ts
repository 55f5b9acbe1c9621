/** Shape rules that many ops share: broadcasting, extents that must agree, axes counted from the end, and how a contradiction is told. */
import { ModelError } from "../../errors.js";
import { type Dim, isKnown, opaque } from "../dim.js";
import type { DType } from "../dtype.js";
import type { Node } from "../graph.js";
import type { InferContext, Inferred, OpContext } from "../op.js";

export type Shape = readonly Dim[];

/** Remark of ops that only combine elements one by one: their arithmetic is not counted. */
export const NO_MACS = "Counts no multiply-accumulates.";

/** The cost of an op without multiply-accumulates. */
export const noMacs = (): Dim => 0;

/** The cost of a node some of whose shapes are unknown: a symbol of its own. */
export const unknownMacs = (node: Node): Dim => opaque("macs", [node.label]);

/** The error for extents that contradict each other; `text` says what was expected and what came. */
export function mismatch(node: Node, text: string): ModelError {
  return new ModelError("MODEL_SHAPE_MISMATCH", `${node.qualifiedType} "${node.label}": ${text}`, {
    at: { node: node.label },
    hint: "The model contradicts itself, or an input shape given on the command line does not fit it; check it with onnx.checker (full_check).",
  });
}

export function tensorOf(dtype: DType, shape: Shape | undefined, content?: Shape): Inferred {
  const type = { kind: "tensor", dtype, shape } as const;
  // Content is kept for scalars and vectors only: that is what shapes are made of.
  return content && shape && shape.length <= 1 ? { type, content } : { type };
}

/** Tensors of more axes are taken to be of unknown rank: no runtime has kernels for them, and a rank can be any number a file claims. */
export const HIGHEST_RANK = 64;

/** A shape of which only the rank is known; undefined when that is not, or is absurd. */
export function shapeOfRank(op: InferContext, rank: Dim | undefined, output = 0): Dim[] | undefined {
  if (rank === undefined || !isKnown(rank) || rank > HIGHEST_RANK) return undefined;
  return Array.from({ length: rank }, (_, a) => op.fresh(output, a));
}

/** An output of the type of input `i`; undefined while that is unknown. */
export function likeInput(op: OpContext, i = 0, content?: Shape): Inferred | undefined {
  const type = op.type(i);
  return type && tensorOf(type.dtype, type.shape, content);
}

/** The common value of two extents that the op requires to be equal; a known one wins over a symbol. @throws ModelError */
export function sameExtent(node: Node, a: Dim, b: Dim, what: string): Dim {
  if (isKnown(a) && isKnown(b) && a !== b) throw mismatch(node, `${what} should be equal, but are ${a} and ${b}.`);
  return isKnown(b) ? b : a;
}

/** @throws ModelError when the rank of `shape` is not one of `ranks`. */
export function expectRank(node: Node, shape: Shape, what: string, ...ranks: readonly number[]): void {
  if (!ranks.includes(shape.length)) throw mismatch(node, `${what} should have rank ${ranks.join(" or ")}, but is [${shape.join(", ")}].`);
}

/**
 * Multidirectional (numpy) broadcast of `shapes`; undefined when a rank is unknown.
 * Two different symbols may each turn out to be 1, so their broadcast is a new opaque extent.
 *
 * @throws ModelError when two known extents differ and neither is 1.
 */
export function broadcast(node: Node, shapes: readonly (Shape | undefined)[]): Dim[] | undefined {
  let out: Dim[] = [];
  for (const shape of shapes) {
    if (!shape) return undefined;
    const rank = Math.max(out.length, shape.length);
    const at = (s: Shape, i: number): Dim => s[i - rank + s.length] ?? 1;
    const before = out;
    out = Array.from({ length: rank }, (_, i) => broadcastExtent(node, at(before, i), at(shape, i), shapes));
  }
  return out;
}

function broadcastExtent(node: Node, a: Dim, b: Dim, shapes: readonly (Shape | undefined)[]): Dim {
  if (a === b || b === 1) return a;
  if (a === 1) return b;
  if (isKnown(a) && isKnown(b)) {
    const list = shapes.map((s) => `[${s?.join(", ")}]`).join(" and ");
    throw mismatch(node, `shapes ${list} do not broadcast: ${a} against ${b}.`);
  }
  if (isKnown(a)) return a;
  if (isKnown(b)) return b;
  return opaque("broadcast", [a, b].sort());
}

/** `axis` counted from the front. @throws ModelError when it is outside [-rank, rank - 1]. */
export function frontAxis(node: Node, axis: number, rank: number): number {
  if (axis < -rank || axis >= rank || !Number.isInteger(axis)) {
    throw mismatch(node, `axis ${axis} is outside [${-rank}, ${rank - 1}].`);
  }
  return axis < 0 ? axis + rank : axis;
}

/** Plain numbers of a vector operand (axes, sizes, K), when all are known. */
export function knownContent(op: OpContext, i: number): number[] | undefined {
  const constant = op.constant(i);
  if (constant) return constant.ints();
  const content = op.content(i);
  return content?.every(isKnown) ? (content as number[]).slice() : undefined;
}

/** Whether the node has an input `i`. */
export function hasInput(op: OpContext, i: number): boolean {
  return op.node.inputs[i] !== undefined;
}
