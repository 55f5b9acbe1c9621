/** What every rule of an operator relies on: its required inputs are there, with as many axes as the rules read. */
import { ModelError } from "../errors.js";
import type { OpContext, OpSpec } from "./op.js";
import { mismatch } from "./ops/shape-rules.js";

/** Why the node of `op` is none that `spec` can describe; undefined when it may be one. Unknown ranks are no contradiction. */
export function operandError(spec: OpSpec, op: OpContext): ModelError | undefined {
  return missingInput(spec, op) ?? wrongRank(spec, op);
}

function missingInput({ inputs }: OpSpec, { node }: OpContext): ModelError | undefined {
  const isAttribute = (name: string) => node.attributes.has(name) || node.attributes.has(name.toLowerCase());
  const at = inputs.findIndex((name, i) => !/[?]|[.]{3}/.test(name) && !node.inputs[i] && !isAttribute(name));
  if (at < 0) return undefined;
  return new ModelError(
    "MODEL_INPUT_MISSING",
    `${node.qualifiedType} "${node.label}" has no input ${at} ("${inputs[at]}"), which it needs.`,
    {
      at: { node: node.label },
      hint: "The graph is invalid: check it with onnx.checker, and export it again.",
    },
  );
}

function wrongRank({ inputs, ranks = {} }: OpSpec, op: OpContext): ModelError | undefined {
  for (const [input, rank] of Object.entries(ranks)) {
    const i = Number(input);
    const shape = op.shape(i);
    const [least, most] = typeof rank === "number" ? [rank, rank] : rank;
    if (!shape || (shape.length >= least && shape.length <= most)) continue;
    const expected = least === most ? `${least}` : `${least} to ${most}`;
    const name = inputs[i]?.replace("?", "") ?? `input ${i}`;
    return mismatch(op.node, `${name} should have rank ${expected}, but is [${shape.join(", ")}].`);
  }
  return undefined;
}
