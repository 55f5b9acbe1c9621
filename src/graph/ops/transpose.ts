/** Transpose (onnx/docs/Operators.md#Transpose). */

import type { Axis } from "../coupling/axis.js";
import type { Node } from "../graph.js";
import { defineOp, type OpSpec } from "../op.js";
import { rearrange, strided, stridesOf } from "../rearrange.js";
import { mismatch, noMacs, tensorOf } from "./shape-rules.js";

const transpose = defineOp({
  type: "Transpose",
  since: [1, 13, 21, 23, 24, 25],
  inputs: ["data"],
  outputs: ["transposed"],

  infer(op) {
    const data = op.type(0);
    if (!data) return [undefined];
    if (data.shape) {
      const { shape } = data;
      return [
        tensorOf(
          data.dtype,
          permutation(op.node, shape.length).map((a) => shape[a] ?? 1),
        ),
      ];
    }
    const perm = op.node.ints("perm");
    return [
      tensorOf(
        data.dtype,
        perm?.map((_, a) => op.fresh(0, a)),
      ),
    ];
  },

  moves: [0],
  evaluate(op, [data]) {
    if (!data) return undefined;
    const perm = permutation(op.node, data.dims.length);
    const steps = stridesOf(data.dims);
    const dims = perm.map((a) => data.dims[a] as number);
    const out = rearrange(
      [data],
      dims,
      strided(
        dims,
        perm.map((a) => steps[a] as number),
      ),
    );
    return out && [out];
  },

  axes(op) {
    const X = op.in(0);
    op.out(
      0,
      permutation(op.node, X.length).map((a) => X[a] as Axis),
    );
  },
  macs: noMacs,
});

/** `perm`: output axis i is input axis perm[i]; reverses by default. @throws ModelError when it is not a permutation of the axes. */
export function permutation(node: Node, rank: number): readonly number[] {
  const perm = node.ints("perm") ?? Array.from({ length: rank }, (_, a) => rank - 1 - a);
  const sorted = [...perm].sort((a, b) => a - b);
  if (perm.length !== rank || sorted.some((p, a) => p !== a)) {
    throw mismatch(node, `perm [${perm.join(", ")}] should be a permutation of the ${rank} axes of data.`);
  }
  return perm;
}

export const specs: readonly OpSpec[] = [transpose];
