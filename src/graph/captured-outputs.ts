/** Reads that are no use of any node: a subgraph may return a value of an outer graph as it is. */
import type { Graph, Value } from "./graph.js";

/** Values of `graph` and of the graphs around it that a subgraph of one of its nodes, at any depth, has among its outputs. */
export function capturedOutputs(graph: Graph): ReadonlySet<Value> {
  const found = new Set<Value>();
  const visit = (g: Graph) => {
    for (const v of g.outputs) if (v.graph !== g) found.add(v);
    for (const n of g.nodes) for (const s of n.subgraphs()) visit(s);
  };
  for (const n of graph.nodes) for (const s of n.subgraphs()) visit(s);
  return found;
}
