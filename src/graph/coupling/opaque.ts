/** What keeps every axis of a node whole before its rule is asked. */
import type { Node } from "../graph.js";
import type { Types } from "../infer.js";
import type { OpSpec } from "../op.js";
import { operandError } from "../operands.js";
import { NEWEST_OPSETS } from "../ops/index.js";

/** Why no axis rule may speak of `node`, as a sentence without its period; undefined where the rule of `spec` may. */
export function whyOpaque(node: Node, spec: OpSpec | undefined, types: Types, opset: number): string | undefined {
  if (!spec) {
    const newest = NEWEST_OPSETS.get(node.domain);
    if (newest !== undefined && opset > newest)
      return `opset ${opset} is newer than ${newest}, the newest whose operators this version has read`;
    return `${node.qualifiedType} is not an operator this version knows`;
  }
  if (spec.barrier) return spec.barrier;
  if (!spec.axes) return `no axis rule is known for ${node.qualifiedType}`;
  // Rules of nodes with bodies look at every value by itself: one that is no tensor says nothing about the others.
  if (node.subgraphs().length > 0) return undefined;
  const { inputs } = spec;
  // A later version may have given them a meaning that changes what the others mean.
  if (!inputs.at(-1)?.endsWith("...") && node.inputs.slice(inputs.length).some((v) => v !== undefined))
    return `it has inputs beyond those of ${node.qualifiedType} that this version knows`;
  for (const v of [...node.inputs, ...node.outputs].filter((x) => x !== undefined)) {
    if (types.type(v)?.kind === "other") return `"${v.name}" is not a tensor`;
    if (!types.shape(v)) return `the rank of "${v.name}" is unknown`;
  }
  const error = operandError(spec, types.context(node));
  return error && `it is not a valid node: ${error.message.replace(/[.]$/, "")}`;
}
