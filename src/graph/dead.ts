/** What reaches no output. */
import { captures, type Graph, type Node, type Value } from "./graph.js";

/**
 * Removes nodes none of whose outputs reach a graph output, and initializers nobody reads, in subgraphs too; says whether
 * there were any. Graph inputs stay, and with them an initializer that is the default of one; under IR < 4, where
 * initializers had to be listed as inputs, both go.
 */
export function removeDeadFrom(graph: Graph): boolean {
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
