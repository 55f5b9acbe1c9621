/** Gather, GatherElements and GatherND (onnx/docs/Operators.md#Gather). An index out of range is left to the runtime to refuse. */
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, isKnown } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { rearrange, sizeOf, stridesOf, unravel } from "../rearrange.js";
import { Tensor } from "../tensor.js";
import { followPick, freezeAxes } from "./axis-rules.js";
import { expectRank, frontAxis, knownContent, mismatch, noMacs, tensorOf } from "./shape-rules.js";

const gather = defineOp({
  type: "Gather",
  since: [1, 11, 13],
  inputs: ["data", "indices"],
  outputs: ["output"],

  infer(op) {
    const data = op.type(0);
    const indices = op.shape(1);
    if (!data) return [undefined];
    if (!data.shape || !indices) return [tensorOf(data.dtype, undefined)];
    const axis = frontAxis(op.node, op.node.int("axis", 0), data.shape.length);
    return [tensorOf(data.dtype, [...data.shape.slice(0, axis), ...indices, ...data.shape.slice(axis + 1)])];
  },

  moves: [0],
  evaluate(op, [data, indices]) {
    if (!data || !indices) return undefined;
    const axis = frontAxis(op.node, op.node.int("axis", 0), data.dims.length);
    const at = fromFront(indices.ints(), data.dims[axis] as number);
    return at && [data.take(axis, at).reshape([...data.dims.slice(0, axis), ...indices.dims, ...data.dims.slice(axis + 1)])];
  },

  sizeOperands: [1],
  axes(op) {
    const X = op.in(0);
    const axis = frontAxis(op.node, op.node.int("axis", 0), X.length);
    const from = X[axis] as Axis;
    const shape = op.shape(1) as readonly Dim[];
    const at = isKnown(from.size) ? chosen(op, from.size) : undefined;
    let made: readonly Axis[];
    let others: readonly Axis[] = X;
    if (at && shape.length === 1 && at.length > 0) {
      made = [op.pick(from, at)];
      others = followPick(op, X, axis, at, made[0]);
    } else if (at) {
      // The chosen indices become places of other axes: they stay, the unread ones are free.
      for (const i of new Set(at)) op.freeze(op.pick(from, [i]), "Gather reads this index");
      made = shape.map((d) => op.fixed(d, "Gather makes it from indices"));
      if (shape.length === 0) others = followPick(op, X, axis, at, undefined);
    } else {
      op.freeze(from, "Gather reads it by indices computed at run time");
      made = op.in(1);
    }
    op.out(0, [...others.slice(0, axis), ...made, ...others.slice(axis + 1)]);
  },
  resize(op) {
    const rank = (op.shape(0) as readonly Dim[]).length;
    const axis = frontAxis(op.node, op.node.int("axis", 0), rank);
    const extent = (op.shape(0) as readonly Dim[])[axis] as Dim;
    const kept = op.keptIn(0, axis);
    const indices = op.shape(1) as readonly number[];
    const out = indices.length === 1 ? op.keptOut(0, axis) : undefined;
    const at = isKnown(extent) ? chosen(op, extent) : undefined;
    if (!at || (!kept && !out)) return;
    const position = new Map(kept?.map((index, p) => [index, p]) ?? []);
    const next = (out ?? at.map((_, i) => i)).map((o) => (kept ? position.get(at[o] as number) : at[o]) as number);
    op.setTensor(
      1,
      Tensor.fromNumbers(op.type(1)?.dtype === "int32" ? "int32" : "int64", indices.length === 1 ? [next.length] : indices, next),
    );
  },
  macs: noMacs,
});

const gatherElements = defineOp({
  type: "GatherElements",
  since: [11, 13],
  inputs: ["data", "indices"],
  outputs: ["output"],

  infer(op) {
    const data = op.type(0);
    const indices = op.shape(1);
    if (data?.shape && indices) expectRank(op.node, indices, "indices", data.shape.length);
    return [data && tensorOf(data.dtype, indices)];
  },

  moves: [0],
  evaluate(op, [data, indices]) {
    if (!data || !indices) return undefined;
    const positions = elementPositions(
      data.dims,
      indices.dims,
      indices.ints(),
      frontAxis(op.node, op.node.int("axis", 0), data.dims.length),
    );
    const out = positions && rearrange([data], indices.dims, positions);
    return out && [out];
  },

  axes(op) {
    const [X, I] = [op.in(0), op.in(1)];
    const axis = frontAxis(op.node, op.node.int("axis", 0), X.length);
    op.freeze(X[axis] as Axis, "GatherElements reads it by indices");
    // Element (i, j, …) reads row indices(i, j, …) of column (j, …).
    tieColumns(op, X, I, axis);
    op.out(0, I);
  },
  macs: noMacs,
});

const gatherND = defineOp({
  type: "GatherND",
  since: [11, 12, 13],
  inputs: ["data", "indices"],
  outputs: ["output"],

  infer(op) {
    const data = op.type(0);
    const indices = op.shape(1);
    if (!data) return [undefined];
    const depth = indices?.at(-1);
    if (!data.shape || !indices || depth === undefined || !isKnown(depth)) return [tensorOf(data.dtype, undefined)];
    const batch = op.node.int("batch_dims", 0);
    if (batch + depth > data.shape.length) {
      throw mismatch(op.node, `indices of ${depth} coordinates after ${batch} batch axes do not fit data [${data.shape.join(", ")}].`);
    }
    return [tensorOf(data.dtype, [...indices.slice(0, -1), ...data.shape.slice(batch + depth)])];
  },

  moves: [0],
  evaluate(op, [data, indices]) {
    if (!data || !indices) return undefined;
    const batch = op.node.int("batch_dims", 0);
    const blocks = blockPositions(data.dims, indices.dims, indices.ints(), batch);
    if (!blocks) return undefined;
    const rest = data.dims.slice(batch + (indices.dims.at(-1) as number));
    const run = sizeOf(rest);
    const positions = blocks.flatMap((start) => Array.from({ length: run }, (_, k) => start + k));
    const out = rearrange([data], [...indices.dims.slice(0, -1), ...rest], positions);
    return out && [out];
  },

  axes(op) {
    const [X, I] = [op.in(0), op.in(1)];
    const batch = op.node.int("batch_dims", 0);
    const coordinates = I.at(-1) as Axis;
    if (!isKnown(coordinates.size)) return op.barrier("how many axes its indices point into is known only at run time");
    const rest = batch + coordinates.size;
    op.freeze(coordinates, "GatherND reads coordinates from it");
    freezeAxes(op, X.slice(batch, rest), "GatherND reads it by indices");
    for (let a = 0; a < batch; a++) op.same(X[a] as Axis, I[a] as Axis);
    return op.out(0, [...I.slice(0, -1), ...X.slice(rest)]);
  },
  macs: noMacs,
});

/** Constant indices of a Gather along an axis of `extent`, counted from the front. */
function chosen(op: OpContext, extent: number): number[] | undefined {
  const indices = op.constant(1)?.ints() ?? knownContent(op, 1);
  return indices && fromFront(indices, extent);
}

/** Indices counted from the front; undefined when one is outside [-extent, extent). */
function fromFront(indices: readonly number[], extent: number): number[] | undefined {
  const at = indices.map((i) => (i < 0 ? i + extent : i));
  return at.every((i) => i >= 0 && i < extent) ? at : undefined;
}

/**
 * The axes of data [.., d, ..] and of indices [.., i ≤ d, ..] other than `axis` are one: index (i, j, …) stands in column
 * (j, …) of data. Indices may cover the first columns only.
 */
export function tieColumns(op: AxisContext, data: readonly Axis[], indices: readonly Axis[], axis: number): void {
  data.forEach((d, a) => {
    const i = indices[a] as Axis;
    if (a === axis || d === i) return;
    if (isKnown(d.size) && isKnown(i.size) && i.size > 0 && i.size < d.size) op.same(op.cut(d, [i.size])[0] as Axis, i);
    else op.same(d, i);
  });
}

/** Flat positions in data of the elements that GatherElements reads and ScatterElements writes, one per index. */
export function elementPositions(
  data: readonly number[],
  dims: readonly number[],
  indices: readonly number[],
  axis: number,
): number[] | undefined {
  const at = fromFront(indices, data[axis] as number);
  const steps = stridesOf(data);
  return at?.map((i, k) => unravel(k, dims).reduce((sum, x, a) => sum + (a === axis ? i : x) * (steps[a] as number), 0));
}

/** Flat positions in data of the first element of each block that GatherND reads and ScatterND writes, one per index tuple. */
export function blockPositions(
  data: readonly number[],
  dims: readonly number[],
  indices: readonly number[],
  batch: number,
): number[] | undefined {
  const depth = dims.at(-1) as number;
  const steps = stridesOf(data);
  const tuples = sizeOf(dims.slice(0, -1));
  const perBatch = sizeOf(dims.slice(batch, -1));
  const out: number[] = [];
  for (let t = 0; t < tuples; t++) {
    let at = Math.floor(t / perBatch) * sizeOf(data.slice(batch));
    for (let c = 0; c < depth; c++) {
      const i = fromFront([indices[t * depth + c] as number], data[batch + c] as number);
      if (!i) return undefined;
      at += (i[0] as number) * (steps[batch + c] as number);
    }
    out.push(at);
  }
  return out;
}

export const specs: readonly OpSpec[] = [gather, gatherElements, gatherND];
