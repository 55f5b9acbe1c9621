/** Copies of a model in which channels are replaced by what those that stay tell of them: the model as if its readers had been fitted anew. */
import { cloneModel } from "../graph/clone.js";
import type { DType } from "../graph/dtype.js";
import type { Model, Value } from "../graph/graph.js";
import { Tensor } from "../graph/tensor.js";
import type { Tap } from "./statistics/request.js";

/** What all readers of a value see in its place: matrix·x + constant along an axis. */
export interface StandIn extends Tap {
  readonly rank: number;
  readonly dtype: DType;
  /** Row-major C × C; undefined: 1 where `isGone` is 0, else 0. */
  readonly matrix?: Float64Array | undefined;
  readonly constant: Float64Array;
  /** 1: the channel leaves. */
  readonly isGone: Uint8Array;
}

/** Whether a matrix can be multiplied along this axis: by a convolution with kernels of one, or MatMul. */
export function takesMatrix(axis: number, rank: number): boolean {
  return (axis === 1 && rank >= 3) || axis === rank - 1;
}

/**
 * A copy of `model` with a linear map between each of these values and all its readers. Values keep their shapes; channels that stay are
 * multiplied by 1 and summed with zeros, which leaves finite numbers as they are.
 */
export function withStandIns(model: Model, standIns: readonly StandIn[]): Model {
  const next = cloneModel(model);
  const { graph } = next;
  for (const s of standIns) {
    const value = graph.value(s.value) as Value;
    const uses = value.uses();
    const { dtype } = s;
    const C = s.constant.length;
    const constant = (dims: readonly number[], numbers: ArrayLike<number>) =>
      graph.addInitializer(graph.freshName("stand_in"), Tensor.fromNumbers(dtype, dims, numbers));
    const node = (type: string, inputs: readonly Value[]) => graph.insertNode(type, inputs, { outputs: ["stood_in"] }).outputs[0] as Value;
    const along = Array.from({ length: s.rank }, (_, a) => (a === s.axis ? C : 1));
    const isConv = s.axis === 1 && s.rank >= 3;
    let out: Value;
    if (!s.matrix)
      out = node("Add", [
        node("Mul", [
          value,
          constant(
            along,
            s.isGone.map((g) => 1 - g),
          ),
        ]),
        constant(along, s.constant),
      ]);
    else if (isConv) {
      const kernel = [C, C, ...new Array<number>(s.rank - 2).fill(1)];
      out = node("Conv", [value, constant(kernel, s.matrix), constant([C], s.constant)]);
    } else out = node("Add", [node("MatMul", [value, constant([C, C], transposed(s.matrix, C))]), constant(along, s.constant)]);
    for (const { node: reader, index } of uses) reader.setInput(index, out);
  }
  graph.sort();
  next.sha256 = undefined;
  return next;
}

function transposed(A: Float64Array, n: number): Float64Array {
  return Float64Array.from(A, (_, i) => A[(i % n) * n + Math.floor(i / n)] as number);
}

/** A copy of `model` in which one operand of a node is a constant along an axis, whatever made it. */
export function withConstantOperand(
  model: Model,
  operand: {
    /** Output of the node. */
    readonly output: string;
    readonly input: number;
    readonly axis: number;
    readonly rank: number;
    readonly dtype: DType;
    readonly numbers: Float64Array;
  },
): Model {
  const { output, input, axis, rank, dtype, numbers } = operand;
  const next = cloneModel(model);
  const { graph } = next;
  const node = (graph.value(output) as Value).producer;
  const dims = Array.from({ length: rank }, (_, a) => (a === axis ? numbers.length : 1));
  node?.setInput(input, graph.addInitializer(graph.freshName("stand_in"), Tensor.fromNumbers(dtype, dims, numbers)));
  next.sha256 = undefined;
  return next;
}
