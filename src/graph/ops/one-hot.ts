/** OneHot (onnx/docs/Operators.md#OneHot). Exporters compute repeat counts with it: one symbolic count among ones. */
import type { Dim } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { rearrange, sizeOf } from "../rearrange.js";
import { elements } from "./content-algebra.js";
import { frontAxis, noMacs, tensorOf } from "./shape-rules.js";

const oneHot = defineOp({
  type: "OneHot",
  since: [9, 11],
  inputs: ["indices", "depth", "values"],
  outputs: ["output"],
  moves: [2],

  evaluate(op, [indices, depth, values]) {
    const size = depth?.numbers()[0];
    if (!indices || !values || size === undefined || !Number.isInteger(size) || size < 1) return undefined;
    const axis = frontAxis(op.node, op.node.int("axis", -1), indices.dims.length + 1);
    const dims = [...indices.dims.slice(0, axis), size, ...indices.dims.slice(axis)];
    const at = indices.numbers();
    const inner = sizeOf(indices.dims.slice(axis));
    const positions = Float64Array.from({ length: sizeOf(dims) }, (_, k) => {
      const index = at[Math.floor(k / (inner * size)) * inner + (k % inner)] as number;
      // Counted from the back where negative; what lies outside is nowhere.
      return (index < 0 ? index + size : index) === Math.floor(k / inner) % size ? 1 : 0;
    });
    const out = rearrange([values], dims, positions);
    return out && [out];
  },

  infer(op) {
    const values = op.type(2);
    const indices = op.shape(0);
    if (!values) return [undefined];
    if (!indices) return [tensorOf(values.dtype, undefined)];
    const axis = frontAxis(op.node, op.node.int("axis", -1), indices.length + 1);
    const depth = elements(op, 1)?.[0] ?? op.fresh(0, axis);
    return [tensorOf(values.dtype, [...indices.slice(0, axis), depth, ...indices.slice(axis)])];
  },

  sizeOperands: [1],
  axes(op) {
    const I = op.in(0);
    const axis = frontAxis(op.node, op.node.int("axis", -1), I.length + 1);
    const depth = op.fixed(op.outShape(0)[axis] as Dim, "OneHot numbers it");
    op.out(0, [...I.slice(0, axis), depth, ...I.slice(axis)]);
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [oneHot];
