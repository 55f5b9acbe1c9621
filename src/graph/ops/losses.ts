/** NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss (onnx/docs/Operators.md#NegativeLogLikelihoodLoss). Not evaluated: they end training graphs. */
import type { Axis } from "../coupling/axis.js";
import { defineOp, type InferContext, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { likeInput, NO_MACS, noMacs, type Shape, tensorOf } from "./shape-rules.js";

/** Shape of the loss of input [N, C, d…]: [N, d…], or a scalar when it is reduced. */
function lossShape(op: InferContext): Shape | undefined {
  if (op.node.string("reduction", "mean") !== "none") return [];
  const X = op.shape(0);
  return X ? [...X.slice(0, 1), ...X.slice(2)] : op.shape(1);
}

/** Input [N, C, d…], target [N, d…] of class numbers, weight [C]. Classes are numbered; a reduced loss mixes all else. */
function loss(type: string, since: readonly number[], inputs: readonly string[], outputs: readonly string[]): OpSpec {
  return defineOp({
    type,
    since,
    inputs,
    outputs,
    remark: NO_MACS,
    infer(op) {
      const X = op.type(0);
      return [X && tensorOf(X.dtype, lossShape(op)), likeInput(op)].slice(0, outputs.length);
    },
    axes(op) {
      const [N, C, ...space] = op.in(0) as [Axis, Axis, ...Axis[]];
      const target = op.in(1);
      freezeAxes(op, [C, ...(op.has(2) ? op.in(2) : [])], `${type} reads classes from it by number`);
      [N, ...space].forEach((a, k) => {
        op.same(a, target[k] as Axis);
      });
      const isReduced = op.node.string("reduction", "mean") !== "none";
      if (isReduced) freezeAxes(op, target, `${type} sums over it`);
      op.out(0, isReduced ? [] : [N, ...space]);
      op.out(1, op.in(0));
    },
    macs: noMacs,
  });
}

export const specs: readonly OpSpec[] = [
  loss("NegativeLogLikelihoodLoss", [12, 13, 22], ["input", "target", "weight?"], ["loss"]),
  loss("SoftmaxCrossEntropyLoss", [12, 13], ["scores", "labels", "weights?"], ["output", "log_prob?"]),
];
