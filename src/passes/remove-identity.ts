/** remove-identity: nodes that hand on what they are given. */
import { z } from "zod";
import { type Dim, isKnown } from "../graph/dim.js";
import type { Graph, Model, Node, Value } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import type { OpContext } from "../graph/op.js";
import { capturedOutputs } from "./captured-outputs.js";
import { definePass } from "./pass.js";

/**
 * Lets readers of a node that changes nothing read its input: Identity, Dropout at inference, Cast to the same type,
 * Transpose, Reshape, Flatten, Squeeze, Unsqueeze and Expand that end in the shape they started from (alone, or as a chain
 * whose end is its beginning), Pad by nothing, Slice of everything, Tile by 1, Split into one part, and Concat, Sum, Mean, Max
 * and Min of one input. Graph outputs keep their names. Extents known only at run time are equal when their symbols are.
 */
export const removeIdentity = definePass({
  name: "remove-identity",
  summary: "take out nodes that change nothing",
  options: z.strictObject({}),
  effect: "exact",

  run(model: Model, { note }) {
    const graph = model.graph;
    const types = infer(model);
    const captured = capturedOutputs(graph);
    let changed = false;
    for (const node of [...graph.nodes]) {
      const same = node.isStandard && node.subgraphs().length === 0 ? sameValue(node, types) : undefined;
      const out = node.outputs[0];
      if (!same || !out) continue;
      const why = takeOut(graph, node, out, same, captured);
      if (why) note({ code: "IDENTITY_KEPT", about: node.label, why });
      else changed = true;
    }
    return changed;
  },
});

/** Bypasses `node`; a sentence when it must stay. */
function takeOut(graph: Graph, node: Node, out: Value, same: Value, captured: ReadonlySet<Value>): string | undefined {
  if (captured.has(out)) return `a subgraph returns its output "${out.name}"`;
  if (out.isOutput && captured.has(same))
    return `a subgraph returns its input "${same.name}", which cannot take the name of the graph output "${out.name}"`;
  if (!graph.bypass(out, same)) {
    return `its output "${out.name}" is a graph output, and "${same.name}" is an input, a constant or another output, which keeps its own name`;
  }
  graph.removeNode(node);
  return undefined;
}

/** The value that output 0 of `node` always equals; undefined when there is none. */
function sameValue(node: Node, types: Types): Value | undefined {
  const X = node.inputs[0];
  if (!X || node.outputs.slice(1).some((o) => o && (o.useCount > 0 || o.isOutput))) return undefined;
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
