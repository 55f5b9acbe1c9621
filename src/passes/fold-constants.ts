/** fold-constants: what the file can say once is not computed at every run. */
import { z } from "zod";
import { capturedOutputs } from "../graph/captured-outputs.js";
import { isKnown, product } from "../graph/dim.js";
import { byteLengthOf } from "../graph/dtype.js";
import { evaluateConstants } from "../graph/evaluate.js";
import type { Graph, Model, Node, Value } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import { Tensor } from "../graph/tensor.js";
import { definePass } from "./pass.js";

/** Bytes by which the outputs of a folded node may exceed its inputs: a folded constant is stored in the file. */
const LARGEST_GROWTH = 16 * 2 ** 20;

/**
 * Replaces nodes by initializers: those whose inputs are all constants, and the arithmetic on shapes whose result is a
 * number whatever the input. Dequantisation stays (the file would hold the wide weights), as do random nodes, nodes with
 * subgraphs, and results that would grow the file. Initializers that lose their readers are left to remove-dead.
 *
 * Sums and transcendental functions are computed in double precision and rounded once, which may differ in the last bit
 * from what a runtime computes: hence "equal", though most of what is folded is exact.
 */
export const foldConstants = definePass({
  name: "fold-constants",
  summary: "replace nodes that always compute the same by their result",
  options: z.strictObject({
    initializers: z.boolean().default(false).describe("also turn Constant nodes into initializers"),
  }),
  effect: "equal",

  run(model: Model, { options, note }) {
    const graph = model.graph;
    const types = infer(model);
    const captured = capturedOutputs(graph);
    let changed = false;
    for (const node of [...graph.nodes]) {
      if (node.outputs.some((o) => o && (o.isOutput || captured.has(o)))) continue;
      const tensors = isConstant(node) ? (options.initializers ? constantOf(node) : undefined) : resultsOf(node, types);
      if (typeof tensors === "string") note({ code: "CONSTANT_KEPT", about: node.label, why: tensors });
      else if (tensors) {
        becomeInitializers(graph, node, tensors);
        changed = true;
      }
    }
    return changed;
  },
});

function isConstant(node: Node): boolean {
  return node.isStandard && node.opType === "Constant";
}

function constantOf(node: Node): readonly Tensor[] | string {
  const tensor = node.constantTensor();
  return tensor ? [tensor] : "its value is sparse, a string or a reference, which stays as it is";
}

/** The outputs of `node`, when they are always the same; a sentence when they are, but too large to store. */
function resultsOf(node: Node, types: Types): readonly (Tensor | undefined)[] | string | undefined {
  if (node.opType === "DequantizeLinear" || types.spec(node)?.nondeterministic || node.subgraphs().length > 0) return undefined;
  const contents = node.outputs.map((o) => o && contentOf(o, types));
  if (contents.length > 0 && contents.every((t, i) => t || !node.outputs[i])) return contents;
  const op = types.context(node);
  const inputs = node.inputs.map((v, i) => v && op.constant(i));
  if (inputs.some((t, i) => !t && node.inputs[i])) return undefined;
  const budget = LARGEST_GROWTH + inputs.reduce((n, t) => n + (t?.byteLength ?? 0), 0);
  const expected = node.outputs.reduce((n, o) => n + (o ? bytesOf(o, types) : 0), 0);
  const results = expected > budget ? undefined : evaluateConstants(node, types, { maxElements: budget });
  const size = results?.reduce((n, t) => n + t.byteLength, 0) ?? expected;
  return size > budget ? `its outputs have ${size} bytes, over ${LARGEST_GROWTH} more than its inputs` : results;
}

/** Bytes of a value of known shape; 0 where it is unknown. */
function bytesOf(value: Value, types: Types): number {
  const type = types.type(value);
  const size = type?.kind === "tensor" && type.shape ? product(type.shape) : 0;
  return type?.kind === "tensor" && isKnown(size) ? byteLengthOf(type.dtype, size) : 0;
}

/** A small integer tensor whose elements are all known numbers. */
function contentOf(value: Value, types: Types): Tensor | undefined {
  const content = types.content(value);
  const type = types.type(value);
  if (!content?.every(isKnown) || type?.kind !== "tensor") return undefined;
  return Tensor.fromNumbers(type.dtype, type.shape?.length === 0 ? [] : [content.length], content);
}

/** The outputs keep their names and readers; what computed them is gone. */
function becomeInitializers(graph: Graph, node: Node, tensors: readonly (Tensor | undefined)[]): void {
  const outputs = node.outputs.map((_, i) => node.releaseOutput(i));
  graph.removeNodes([node]);
  outputs.forEach((value, i) => {
    const tensor = tensors[i];
    if (!value || !tensor) return;
    value.type = { kind: "tensor", dtype: tensor.dtype, shape: tensor.dims };
    graph.attachInitializer(value, tensor);
  });
}
