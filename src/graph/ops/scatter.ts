/** Scatter, ScatterElements and ScatterND (onnx/docs/Operators.md#ScatterElements). Reductions are not evaluated. */
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { isKnown } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { rearrange, sizeOf } from "../rearrange.js";
import type { Tensor } from "../tensor.js";
import { freezeAxes } from "./axis-rules.js";
import { blockPositions, elementPositions, tieColumns } from "./gather.js";
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
  axes: scatterAxes,
  macs: noMacs,
});

const scatter = defineOp({ ...scatterElements, type: "Scatter", since: [9], until: 11 });

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

  axes(op) {
    const [X, I, U] = [op.in(0), op.in(1), op.in(2)];
    const coordinates = I.at(-1) as Axis;
    if (!isKnown(coordinates.size)) return op.barrier("how many axes its indices point into is known only at run time");
    freezeAxes(op, [...I, ...U.slice(0, I.length - 1)], "ScatterND writes by it");
    freezeAxes(op, X.slice(0, coordinates.size), "ScatterND writes into it by indices");
    X.slice(coordinates.size).forEach((x, k) => {
      op.same(x, U[I.length - 1 + k] as Axis);
    });
    return op.out(0, X);
  },
  macs: noMacs,
});

/** Writing less is no removal: along `axis` all stays. The other axes of data, indices and updates are one. */
function scatterAxes(op: AxisContext): void {
  const [X, I, U] = [op.in(0), op.in(1), op.in(2)];
  const axis = frontAxis(op.node, op.node.int("axis", 0), X.length);
  freezeAxes(op, [X[axis], I[axis], U[axis]] as Axis[], `${op.node.opType} writes along it`);
  tieColumns(op, X, I, axis);
  I.forEach((i, a) => {
    if (a !== axis) op.same(i, U[a] as Axis);
  });
  op.out(0, X);
}

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
