/** TensorScatter (onnx/docs/Operators.md#TensorScatter): writes an update into a cache, from a step of its own for each sample of the batch. */
import type { Axis } from "../coupling/axis.js";
import type { Dim } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { rearrange, stridesOf, unravel } from "../rearrange.js";
import { expectRank, frontAxis, likeInput, noMacs, sameExtent } from "./shape-rules.js";

const tensorScatter = defineOp({
  type: "TensorScatter",
  since: [24],
  inputs: ["past_cache", "update", "write_indices?"],
  outputs: ["present_cache"],
  infer(op) {
    const [cache, update] = [op.shape(0), op.shape(1)];
    if (cache && update) {
      expectRank(op.node, update, "update", cache.length);
      const axis = frontAxis(op.node, op.node.int("axis", -2), cache.length);
      cache.forEach((d, a) => {
        if (a !== axis) sameExtent(op.node, d, update[a] as Dim, `axis ${a} of past_cache and update`);
      });
    }
    return [likeInput(op)];
  },

  moves: [0, 1],
  evaluate({ node }, [cache, update, writes]) {
    if (!cache || !update || (node.inputs[2] && !writes)) return undefined;
    const axis = frontAxis(node, node.int("axis", -2), cache.dims.length);
    const longest = cache.dims[axis] as number;
    const first = writes?.ints();
    const steps = stridesOf(cache.dims);
    const positions = Float64Array.from({ length: cache.size }, (_, k) => k);
    for (let k = 0; k < update.size; k++) {
      const at = unravel(k, update.dims);
      const step = (at[axis] as number) + (first?.[at[0] as number] ?? 0);
      const to = node.string("mode", "linear") === "circular" ? step % longest : step;
      if (to < 0 || to >= longest) return undefined;
      positions[at.reduce((sum, x, a) => sum + (a === axis ? to : x) * (steps[a] as number), 0)] = cache.size + k;
    }
    const out = rearrange([cache, update], cache.dims, positions);
    return out && [out];
  },

  axes(op) {
    const [cache, update] = [op.in(0), op.in(1)];
    const axis = frontAxis(op.node, op.node.int("axis", -2), cache.length);
    cache.forEach((c, a) => {
      const u = update[a] as Axis;
      if (a === axis) for (const x of [c, u]) op.freeze(x, "TensorScatter writes along it");
      else op.same(c, u);
    });
    if (op.has(2)) op.same(op.in(2)[0] as Axis, cache[0] as Axis);
    op.out(0, cache);
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [tensorScatter];
