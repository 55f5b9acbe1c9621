/** Nodes that hand on what they are given: the value that an output always equals. */
import { type Dim, isKnown } from "./dim.js";
import type { Node, Value } from "./graph.js";
import type { Types } from "./infer.js";
import type { OpContext } from "./op.js";

/**
 * The value that output 0 of `node` always equals, of the same type; undefined when there is none, or when another output of
 * the node is read. Extents known only at run time are equal when their symbols are.
 */
export function sameValue(node: Node, types: Types): Value | undefined {
  const X = node.inputs[0];
  if (!X || !node.isStandard || node.subgraphs().length > 0 || node.outputs.slice(1).some((o) => o && (o.useCount > 0 || o.isOutput)))
    return undefined;
  const op = types.context(node);
  switch (node.opType) {
    case "Identity":
      return X;
    case "Dropout":
      return isInference(node, op) ? X : undefined;
    case "Concat":
    case "Sum":
    case "Mean":
    case "Max":
    case "Min":
      return node.inputs.length === 1 ? X : undefined;
    case "Split":
      return node.outputs.length === 1 && sameShape(node, types, X) ? X : undefined;
    case "Cast":
    case "CastLike":
      return dtypeOf(types, X) !== undefined && dtypeOf(types, X) === dtypeOf(types, node.outputs[0]) ? X : undefined;
    case "Pad":
      return isAll(op.opset < 11 ? (node.ints("pads") ?? node.ints("paddings")) : op.content(1), 0) ? X : undefined;
    case "Tile":
      return op.opset >= 6 && isAll(op.content(1), 1) ? X : undefined;
    case "Slice":
      return slicesForward(node, op) && sameShape(node, types, X) ? X : undefined;
    case "Expand":
      return op.content(1) && sameShape(node, types, X) ? X : undefined;
    case "Transpose":
      return untransposed(node, types);
    default:
      return sameLayout(node, types);
  }
}

function isInference(node: Node, op: OpContext): boolean {
  if (op.opset >= 12) return !node.inputs[2] || op.constant(2)?.scalar() === 0;
  return op.opset >= 7 || node.int("is_test", 0) !== 0;
}

/** With forward steps only, a Slice that keeps every extent keeps everything. */
function slicesForward(node: Node, op: OpContext): boolean {
  if (op.opset < 10) return true;
  return op.content(1) !== undefined && op.content(2) !== undefined && (!node.inputs[4] || isAll(op.content(4), 1));
}

/**
 * Where `node` and the Transposes before it undo each other. Axes of extent 1 may change places among the others: what
 * counts is the order of those that have something to order, and that the shape is the old one.
 */
function untransposed(node: Node, types: Types): Value | undefined {
  let perm: readonly number[] | undefined;
  for (let at: Node | undefined = node; at?.isStandard && at.opType === "Transpose"; ) {
    const from: Value | undefined = at.inputs[0];
    const shape = from && types.shape(from);
    if (!from || !shape) return undefined;
    const step: readonly number[] = at.ints(
      "perm",
      shape.map((_, a) => shape.length - 1 - a),
    );
    const total: readonly number[] = perm ? perm.map((a) => step[a] as number) : step;
    perm = total;
    const moved = total.filter((a) => shape[a] !== 1);
    if (moved.every((a, i) => i === 0 || a > (moved[i - 1] as number)) && total.every((a, i) => shape[a] === shape[i])) return from;
    at = from.producer;
  }
  return undefined;
}

const LAYOUT_KEEPING: ReadonlySet<string> = new Set(["Reshape", "Flatten", "Squeeze", "Unsqueeze"]);

/** The nearest value before `node`, through nodes that keep the order of elements, that has the shape of its output. */
function sameLayout(node: Node, types: Types): Value | undefined {
  for (let at: Node | undefined = node; at && keepsLayout(at, types); ) {
    const from: Value | undefined = at.inputs[0];
    if (!from) return undefined;
    if (sameShape(node, types, from)) return from;
    at = from.producer;
  }
  return undefined;
}

/** Only with operands known here: a shape that is merely declared may be wrong. */
function keepsLayout(node: Node, types: Types): boolean {
  if (!node.isStandard || !LAYOUT_KEEPING.has(node.opType)) return false;
  const op = types.context(node);
  const operand = node.inputs[1] ? op.content(1) : [];
  return operand !== undefined;
}

function sameShape(node: Node, types: Types, value: Value): boolean {
  const out = node.outputs[0];
  const a = types.shape(value);
  const b = out && types.shape(out);
  return a !== undefined && b !== undefined && a.length === b.length && a.every((d, i) => d === b[i]);
}

function isAll(content: readonly Dim[] | undefined, what: number): boolean {
  return content?.every((d) => isKnown(d) && d === what) ?? false;
}

function dtypeOf(types: Types, value: Value | undefined) {
  const type = value && types.type(value);
  return type?.kind === "tensor" ? type.dtype : undefined;
}
