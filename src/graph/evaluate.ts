/** Computes nodes whose inputs are constants. Drives OpSpec.evaluate. */
import { type Dim, isKnown, product } from "./dim.js";
import type { DType } from "./dtype.js";
import type { Node } from "./graph.js";
import type { Types } from "./infer.js";
import type { OpContext, OpSpec } from "./op.js";
import type { Tensor } from "./tensor.js";

export interface EvaluateOptions {
  /** Most elements an output may have. Default 2^20: a folded constant is stored in the file. */
  readonly maxElements?: number;
}

/**
 * The outputs of `node`, one tensor per output, when all of its inputs are constants; undefined when they are not,
 * when the op has no `evaluate` for this case, holds subgraphs or is random, or when an output is too large.
 */
export function evaluateConstants(node: Node, types: Types, options: EvaluateOptions = {}): readonly Tensor[] | undefined {
  const spec = types.spec(node);
  if (!spec) return undefined;
  const op = types.context(node);
  const inputs = node.inputs.map((v, i) => v && op.constant(i));
  if (node.inputs.some((v, i) => v && !inputs[i])) return undefined;
  return evaluateNode(
    spec,
    op,
    inputs,
    node.outputs.map((v) => v && types.shape(v)),
    options.maxElements ?? 2 ** 20,
  );
}

/** The outputs of the node of `op` for `inputs`, unless one is larger than `limit` elements. `shapes` are those of the outputs. */
export function evaluateNode(
  spec: OpSpec,
  op: OpContext,
  inputs: readonly (Tensor | undefined)[],
  shapes: readonly (readonly Dim[] | undefined)[],
  limit: number,
): readonly Tensor[] | undefined {
  if (!spec.evaluate || spec.nondeterministic || op.node.subgraphs().length > 0) return undefined;
  if (op.node.outputs.every((o) => o === undefined)) return undefined;
  // Ops that only move elements take any dtype; the others compute with numbers.
  if (spec.moves === undefined && inputs.some((t) => t && !isReadable(t.dtype))) return undefined;
  if (shapes.some((s) => s && exceeds(s, limit))) return undefined;
  // Of what is sized by numbers that inference could not read, nothing says how large it would be.
  if (!shapes.every((s) => s?.every(isKnown)) && spec.sizeOperands?.some((i) => inputs[i] && !op.content(i))) return undefined;
  const outputs = spec.evaluate(op, inputs);
  // More outputs than the operator has: a broken graph, of which nothing must be computed away.
  if (op.node.outputs.some((o, i) => o && outputs && !outputs[i])) return undefined;
  return outputs?.some((t) => t.size > limit) ? undefined : outputs;
}

function exceeds(shape: readonly Dim[], limit: number): boolean {
  const size = product(shape);
  return isKnown(size) && size > limit;
}

/** Whether elements of this dtype can be read as numbers. */
export function isReadable(dtype: DType): boolean {
  return !/^(undefined|string|complex|float4|float8)/.test(dtype);
}
