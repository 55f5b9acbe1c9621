/** remove-identity: nodes that hand on what they are given. */
import { z } from "zod";
import { capturedOutputs } from "../graph/captured-outputs.js";
import type { Graph, Model, Node, Value } from "../graph/graph.js";
import { infer } from "../graph/infer.js";
import { sameValue } from "../graph/same-value.js";
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
      const same = sameValue(node, types);
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
