/** Little models of recovery's own, for what ONNX Runtime computes faster than JavaScript: they never leave the process. */
import type { DType } from "../graph/dtype.js";
import { type Graph, Model, type Value } from "../graph/graph.js";

/** Makes `value` an output of extents that only the run knows. */
export function give(graph: Graph, value: Value, dtype: DType): void {
  value.type = { kind: "tensor", dtype, shape: undefined };
  graph.addOutput(value);
}

export function modelAround(graph: Graph): Model {
  const model = new Model(graph);
  model.opsets.set("", 13);
  return model;
}
