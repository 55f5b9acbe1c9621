/** remove-dead: what reaches no output is not computed and not stored. */
import { z } from "zod";
import { captures, type Graph, type Model, type Node, type Value } from "../graph/graph.js";
import { definePass } from "./pass.js";

/**
 * Removes nodes none of whose outputs reach a graph output, and initializers nobody reads, in subgraphs too.
 *
 * Graph inputs stay, read or not: they are the interface. So does an initializer that is the default of an input, which
 * without it callers would have to feed; under IR < 4, where initializers had to be listed as inputs, both go.
 */
export const removeDead = definePass({
  name: "remove-dead",
  summary: "remove nodes and initializers that reach no output",
  options: z.strictObject({}),
  effect: "exact",

  run(model: Model) {
    return removeDeadFrom(model.graph);
  },
});

function removeDeadFrom(graph: Graph): boolean {
  let changed = false;
  // Inside first: what a body does not need, it does not capture.
  for (const node of graph.nodes) for (const body of node.subgraphs()) changed = removeDeadFrom(body) || changed;

  const needed = new Set<Value>(graph.outputs);
  const dead: Node[] = [];
  for (const node of [...graph.nodes].reverse()) {
    if (!node.outputs.some((o) => o && needed.has(o))) {
      dead.push(node);
      continue;
    }
    for (const v of node.inputs) if (v) needed.add(v);
    for (const v of captures(node)) needed.add(v);
  }
  graph.removeNodes(dead);

  for (const value of graph.initializers) {
    if (needed.has(value) || (value.isInput && !graph.initializersAreConstant)) continue;
    graph.removeInitializer(value);
    if (value.isInput) graph.removeInput(value);
    changed = true;
  }
  return changed || dead.length > 0;
}
