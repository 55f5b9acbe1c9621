/** Scatter, ScatterElements and ScatterND (onnx/docs/Operators.md#ScatterElements). Reductions are not evaluated. */
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { rearrange, sizeOf } from "../rearrange.js";
import type { Tensor } from "../tensor.js";
import { blockPositions, elementPositions } from "./gather.js";
import { frontAxis, likeInput, noMacs } from "./shape-rules.js";

const scatterElements = defineOp({
  type: "ScatterElements",
  since: [11, 13, 16, 18],
  inputs: ["data", "indices", "updates"],
  outputs: ["output"],
  remark: "Evaluated without reduction only.",
  infer: (op) => [likeInput(op)],
  moves: [0, 2],
  evaluate: scatterAlongAxis,
  macs: noMacs,
});

const scatter = defineOp({ ...scatterElements, type: "Scatter", since: [9, 11] });

const scatterND = defineOp({
  type: "ScatterND",
  since: [11, 13, 16, 18],
  inputs: ["data", "indices", "updates"],
  outputs: ["output"],
  remark: "Evaluated without reduction only.",
  infer: (op) => [likeInput(op)],
  moves: [0, 2],

  evaluate(op, [data, indices, updates]) {
    if (!data || !indices || !updates) return undefined;
    const blocks = blockPositions(data.dims, indices.dims, indices.ints(), 0);
    const run = sizeOf(data.dims.slice(indices.dims.at(-1)));
    return written(
      op,
      data,
      updates,
      blocks?.flatMap((start) => Array.from({ length: run }, (_, k) => start + k)),
    );
  },

  macs: noMacs,
});

function scatterAlongAxis(op: OpContext, [data, indices, updates]: readonly (Tensor | undefined)[]): readonly Tensor[] | undefined {
  if (!data || !indices || !updates) return undefined;
  const axis = frontAxis(op.node, op.node.int("axis", 0), data.dims.length);
  return written(op, data, updates, elementPositions(data.dims, indices.dims, indices.ints(), axis));
}

/** `data` with update k at position targets[k]; a later update wins, as the runtime has it. */
function written(op: OpContext, data: Tensor, updates: Tensor, targets: readonly number[] | undefined): readonly Tensor[] | undefined {
  if (!targets || op.node.string("reduction", "none") !== "none") return undefined;
  const positions = Float64Array.from({ length: data.size }, (_, k) => k);
  targets.forEach((at, k) => {
    positions[at] = data.size + k;
  });
  const out = rearrange([data, updates], data.dims, positions);
  return out && [out];
}

export const specs: readonly OpSpec[] = [scatter, scatterElements, scatterND];
