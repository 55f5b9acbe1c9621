/** Concat (onnx/docs/Operators.md#Concat). */
import type { Axis } from "../coupling/axis.js";
import { add, type Dim, isKnown } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { rearrange, sizeOf } from "../rearrange.js";
import { MOST_ROWS } from "./axis-rules.js";
import { frontAxis, mismatch, noMacs, sameExtent, tensorOf } from "./shape-rules.js";

const concat = defineOp({
  type: "Concat",
  since: [1, 4, 11, 13],
  inputs: ["inputs..."],
  outputs: ["concat_result"],

  infer(op) {
    const types = op.node.inputs.map((_, i) => op.type(i));
    const dtype = types.find((t) => t)?.dtype;
    const rank = types.find((t) => t?.shape)?.shape?.length;
    if (!dtype) return [undefined];
    if (rank === undefined) return [tensorOf(dtype, undefined)];
    const axis = frontAxis(op.node, op.node.int("axis", 1), rank);
    const out: (Dim | undefined)[] = new Array(rank).fill(undefined);
    for (const [i, t] of types.entries()) {
      if (t?.shape && t.shape.length !== rank)
        throw mismatch(op.node, `input ${i} should have rank ${rank}, but is [${t.shape.join(", ")}].`);
      for (let a = 0; a < rank; a++) {
        const d = t?.shape?.[a];
        const before = out[a];
        if (a !== axis && d !== undefined)
          out[a] = before === undefined ? d : sameExtent(op.node, before, d, `extents of the inputs along axis ${a}`);
      }
    }
    const isSumKnown = types.every((t) => t?.shape);
    out[axis] = isSumKnown ? types.reduce<Dim>((sum, t) => add(sum, t?.shape?.[axis] as Dim), 0) : op.fresh(0, axis);
    return [
      tensorOf(
        dtype,
        out.map((d, a) => d ?? op.fresh(0, a)),
      ),
    ];
  },

  moves: "all",
  evaluate(op, inputs) {
    const parts = inputs.filter((t) => t !== undefined);
    const first = parts[0];
    if (!first) return undefined;
    const axis = frontAxis(op.node, op.node.int("axis", 1), first.dims.length);
    const dims = first.dims.map((d, a) => (a === axis ? parts.reduce((n, t) => n + (t.dims[a] as number), 0) : d));
    const positions = new Float64Array(sizeOf(dims));
    const outer = sizeOf(dims.slice(0, axis));
    let at = 0;
    for (let o = 0; o < outer; o++) {
      let start = 0;
      for (const t of parts) {
        const run = sizeOf(t.dims.slice(axis));
        for (let k = 0; k < run; k++) positions[at++] = start + o * run + k;
        start += t.size;
      }
    }
    const out = rearrange(parts, dims, positions);
    return out && [out];
  },

  axes(op) {
    const inputs = op.node.inputs.flatMap((v, i) => (v ? [op.in(i)] : []));
    const first = inputs[0] as readonly Axis[];
    const axis = frontAxis(op.node, op.node.int("axis", 1), first.length);
    const parts = inputs.map((axes) => axes[axis] as Axis);
    let joined: Axis;
    if (parts.every((p) => isKnown(p.size))) joined = op.sum(parts);
    else {
      for (const p of parts) op.freeze(p, "it is concatenated with an extent known only at run time");
      joined = op.fixed(op.outShape(0)[axis] as Dim, "it is a concatenation of extents known only at run time");
    }
    op.out(
      0,
      first.map((a, k) => {
        if (k === axis) return joined;
        const here = inputs.map((axes) => axes[k] as Axis);
        // What depends on the rows that are concatenated has the members of all of them.
        if (isKnown(joined.size) && joined.size <= MOST_ROWS && here.some((x, i) => op.dependsOn(x, parts[i] as Axis)))
          return op.family(
            here.flatMap((x, i) => Array.from({ length: (parts[i] as Axis).size as number }, (_, b) => op.inRow(x, parts[i] as Axis, b))),
            joined,
          );
        for (const other of here.slice(1)) op.same(a, other);
        return a;
      }),
    );
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [concat];
