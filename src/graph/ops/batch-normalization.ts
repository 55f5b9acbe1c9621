/** BatchNormalization: Y like X; the statistics outputs of training forms are vectors of channels. */

import type { Axis } from "../coupling/axis.js";
import type { Dim } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import type { Tensor } from "../tensor.js";
import { freezeAxes } from "./axis-rules.js";
import { exactNumbers, reduceElements, store } from "./numeric.js";
import { expectRank, likeInput, mismatch, NO_MACS, noMacs, sameExtent, tensorOf } from "./shape-rules.js";

function isTraining(op: OpContext): boolean {
  return op.node.int("training_mode", 0) !== 0;
}

/** Mean and population variance of each channel, over all other axes. */
function statistics(x: Tensor): readonly [Float64Array, Float64Array] | undefined {
  const others = x.dims.flatMap((_, a) => (a === 1 ? [] : [a]));
  const mean = (v: Float64Array) => v.reduce((a, b) => a + b, 0) / v.length;
  const variance = (v: Float64Array) => {
    const m = mean(v);
    return v.reduce((a, b) => a + (b - m) ** 2, 0) / v.length;
  };
  const means = reduceElements(x, others, mean);
  const variances = reduceElements(x, others, variance);
  return means && variances && [means, variances];
}

/**
 * Y = (X − mean) / √(var + ε) · scale + B. Exporters write weight standardisation as this op in training mode on a
 * constant weight, whose rows are its channels. Before opset 14, training is told by outputs and is not evaluated.
 */
function evaluate(op: OpContext, inputs: readonly (Tensor | undefined)[]): Tensor[] | undefined {
  const [X, ...vectors] = inputs;
  const numbers = vectors.map((t) => t && exactNumbers(t));
  const x = X && exactNumbers(X);
  const [scale, B, givenMean, givenVar] = numbers;
  if (!X || !x || !scale || !B || !givenMean || !givenVar || X.dims.length < 2 || op.node.int("spatial", 1) !== 1) return undefined;
  if (op.opset < 14 && op.node.outputs.length > 1) return undefined;
  const found = isTraining(op) ? statistics(X) : undefined;
  if (isTraining(op) && !found) return undefined;
  const [mean, variance] = found ?? [givenMean, givenVar];
  const epsilon = op.node.float("epsilon", 1e-5);
  const channels = X.dims[1] as number;
  const each = X.dims.slice(2).reduce((a, b) => a * b, 1);
  const y = Float64Array.from(x, (value, i) => {
    const c = Math.floor(i / each) % channels;
    const deviation = Math.sqrt((variance[c] as number) + epsilon);
    return ((value - (mean[c] as number)) / deviation) * (scale[c] as number) + (B[c] as number);
  });
  const momentum = op.node.float("momentum", 0.9);
  const running = (given: Float32Array | Float64Array, now: Float64Array) =>
    Float64Array.from(now, (v, c) => momentum * (given[c] as number) + (1 - momentum) * v);
  const outputs = [
    store(X.dtype, X.dims, y),
    ...(found
      ? [givenMean, givenVar].map((given, k) =>
          store((vectors[2 + k] as Tensor).dtype, [channels], running(given, found[k] as Float64Array)),
        )
      : []),
  ];
  const present = outputs.slice(0, op.node.outputs.length);
  return present.every((t) => t !== undefined) ? present : undefined;
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "BatchNormalization",
    since: [7, 9, 14, 15],
    inputs: ["X", "scale", "B", "input_mean", "input_var"],
    outputs: ["Y", "running_mean?", "running_var?", "saved_mean?", "saved_var?"],
    remark: `${NO_MACS} It is affine per channel and folds into its neighbour. saved_mean and saved_var exist before opset 14 only.`,
    infer(op) {
      const X = op.shape(0);
      const vectors = [1, 2, 3, 4].map((i) => op.shape(i));
      // Before opset 9, spatial = 0 normalises every position by itself and the vectors have X's other axes.
      if (X && op.node.int("spatial", 1) === 1) {
        if (X.length === 0) throw mismatch(op.node, "X is a scalar and has no channels.");
        for (const v of vectors) if (v) expectRank(op.node, v, "each of scale, B, mean and var", 1);
      }
      if (X && X.length > 1 && op.node.int("spatial", 1) === 1) {
        for (const v of vectors) if (v) sameExtent(op.node, X[1] as Dim, v[0] as Dim, "channels of X and the statistics");
      }
      const statistics = [3, 4, 3, 4].map((i) => {
        const dtype = op.type(i)?.dtype;
        return dtype && tensorOf(dtype, op.shape(i));
      });
      return [likeInput(op), ...statistics];
    },
    axes(op) {
      const X = op.in(0);
      const channel = X.length > 1 ? 1 : 0;
      if (isTraining(op))
        freezeAxes(
          op,
          X.filter((_, a) => a !== channel),
          "training mode takes statistics over it",
        );
      if (op.node.int("spatial", 1) !== 1) op.barrier("it normalises every position by itself");
      else {
        for (const i of [1, 2, 3, 4]) op.same(op.in(i)[0] as Axis, X[channel] as Axis);
        op.out(0, X);
        for (const i of [1, 2, 3, 4]) op.out(i, [X[channel] as Axis]);
      }
    },
    evaluate,
    macs: noMacs,
  }),
];
