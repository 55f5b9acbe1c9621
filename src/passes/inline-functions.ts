/** inline-functions: a call of a local function becomes the nodes of its body. */
import { z } from "zod";
import { everyGraph, everyNode, type Graph, type LocalFunction, type Model, type Node, type Value } from "../graph/graph.js";
import { calledFunction, inline } from "../graph/inline.js";
import { isSameOperator } from "../graph/ops/index.js";
import { definePass } from "./pass.js";

/**
 * Calls are replaced until none is left, in subgraphs and within other functions' bodies too (onnx/docs/IR.md#functions).
 *
 * Attribute references take the call's attribute, else the function's default, else are dropped; an input that a call leaves
 * out is left out inside. Values and nodes are called after the call: "call/value". A call stays, with a note, where an
 * operator of the body is defined differently (or not known to be defined alike) at the model's opset and at the function's,
 * where the function calls itself, or where an output is an input that the call leaves out.
 */
export const inlineFunctions = definePass({
  name: "inline-functions",
  summary: "put the nodes of local functions where they are called",
  options: z.strictObject({}),
  effect: "exact",

  run(model: Model, { note }) {
    let changed = false;
    for (const graph of everyGraph(model.graph)) {
      /** Calls that stand in bodies put here -> the functions they came through. */
      const through = new Map<Node, readonly LocalFunction[]>();
      const pending = [...graph.nodes].reverse();
      for (let node = pending.pop(); node; node = pending.pop()) {
        const called = calledFunction(model, node);
        if (!called) continue;
        const path = through.get(node) ?? [];
        const why = path.includes(called) ? "it calls itself" : obstacle(model, node, called);
        if (why) {
          note({ code: "FUNCTION_KEPT", about: node.label, why: `the call of ${node.qualifiedType} stays: ${why}` });
          continue;
        }
        for (const [domain, version] of called.opsets) if (!model.opsets.has(domain)) model.opsets.set(domain, version);
        const made = inlineCall(node, called);
        for (const n of made) through.set(n, [...path, called]);
        pending.push(...[...made].reverse());
        changed = true;
      }
    }
    return dropUncalled(model) || changed;
  },
});

function inlineCall(node: Node, called: LocalFunction): readonly Node[] {
  const inputs = new Map<Value, Value | undefined>(called.body.inputs.map((v, i) => [v, node.inputs[i]]));
  const attributes = new Map(node.attributes);
  const prefix = node.label;
  return inline(node, called.body, {
    inputs,
    rename: (name) => `${prefix}/${name}`,
    attribute: (name) => attributes.get(name) ?? called.defaults.get(name),
    // A function's type annotations are its own: "N" there need not be "N" here.
    sharesSymbols: false,
  });
}

/** Why a call cannot be replaced. */
function obstacle(model: Model, node: Node, { body, opsets, name }: LocalFunction): string | undefined {
  if (node.inputs.length > body.inputs.length) return `it has ${node.inputs.length} inputs, ${name} takes ${body.inputs.length}`;
  if (node.outputs.length > body.outputs.length) return `it has ${node.outputs.length} outputs, ${name} gives ${body.outputs.length}`;
  for (const [i, o] of body.outputs.entries()) {
    const at = body.inputs.indexOf(o);
    if (node.outputs[i] && at >= 0 && !node.inputs[at]) return `output ${i} is input ${at}, which it leaves out`;
  }
  for (const inner of everyNode(body)) {
    if (calledFunction(model, inner)) continue;
    const here = model.opsets.get(inner.domain);
    const there = opsets.get(inner.domain);
    if (there === undefined) return `its body uses domain "${inner.domain}" without importing it`;
    if (here !== undefined && !isSameOperator(inner, here, there))
      return `${inner.qualifiedType} of opset ${there}, which it imports, may not be that of opset ${here}, which the model imports`;
  }
  return undefined;
}

/** Removes functions that nothing calls any more. */
function dropUncalled(model: Model): boolean {
  const called = new Set<LocalFunction>();
  const visit = (graph: Graph) => {
    for (const g of everyGraph(graph))
      for (const node of g.nodes) {
        const f = calledFunction(model, node);
        if (!f || called.has(f)) continue;
        called.add(f);
        visit(f.body);
      }
  };
  visit(model.graph);
  const kept = model.functions.filter((f) => called.has(f));
  const isFewer = kept.length < model.functions.length;
  model.functions.splice(0, model.functions.length, ...kept);
  return isFewer;
}
