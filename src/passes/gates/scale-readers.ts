/** Moves a factor per channel from a map into the weights that read it. */
import type { Graph, Model, Node, Value } from "../../graph/graph.js";
import { Tensor } from "../../graph/tensor.js";
import { type LinearReader, scaledWeight } from "./readers.js";

/**
 * Multiplies what each reader reads of channel c by factor[c]: Σ_c W_c·(s_c·X_c) = Σ_c (W_c·s_c)·X_c. Weights that others read too get
 * a copy. Undefined when a product is beyond the range of the weight's type: then nothing has changed.
 */
export function scaleReaders(model: Model, readers: readonly LinearReader[], factor: Float64Array): true | undefined {
  const made = readers.map((reader) => {
    const { dtype, dims } = reader.weight;
    return { reader, tensor: Tensor.fromNumbers(dtype, dims, scaledWeight(reader, factor)) };
  });
  if (!made.every(({ tensor }) => tensor.numbers().every(Number.isFinite))) return undefined;
  for (const { reader, tensor } of made) replaceConstant(model.graph, reader.node, 1, tensor);
  return true;
}

function replaceConstant(graph: Graph, node: Node, index: number, tensor: Tensor): void {
  const value = node.inputs[index] as Value;
  if (value.graph === graph && value.useCount === 1 && !value.isOutput) graph.setConstant(value, tensor);
  else node.setInput(index, graph.addInitializer(`${value.name}_gated`, tensor));
}
