/** What data must fill: the inputs of a model as openSamples wants them. */
import type { Model } from "../graph/graph.js";
import { infer } from "../graph/infer.js";
import type { InputShape } from "./source.js";

/** Inputs that callers feed, and the number of classes where the first output tells it ([N, classes]). */
export interface ModelInputs {
  readonly inputs: readonly InputShape[];
  readonly classes: number | undefined;
}

/** `shapes` gives symbolic extents of inputs numbers; axis 0 counts samples and stays as declared. */
export function modelInputs(model: Model, shapes: Readonly<Record<string, readonly number[]>> = {}): ModelInputs {
  const types = infer(model);
  const inputs = model.graph.inputs.flatMap((v): InputShape[] => {
    const type = types.type(v);
    if (v.constant || v.initializer || type?.kind !== "tensor") return [];
    const given = shapes[v.name];
    return [{ name: v.name, dtype: type.dtype, shape: (type.shape ?? []).map((d, i) => (i === 0 ? d : (given?.[i] ?? d))) }];
  });
  const first = model.graph.outputs[0];
  const scores = first && types.shape(first);
  const classes = scores?.length === 2 ? scores[1] : undefined;
  return { inputs, classes: typeof classes === "number" && classes > 1 ? classes : undefined };
}
