/** A part of a model as a model of its own: what lies between some of its values. */
import { internal } from "../errors.js";
import { cloneModel } from "../graph/clone.js";
import { removeDeadFrom } from "../graph/dead.js";
import type { Model, Value, ValueType } from "../graph/graph.js";

export interface ExtractOptions {
  /** Names of the values that are computed; values of the main graph, each once. */
  readonly outputs: readonly string[];
  /** Node outputs that become inputs, with the types they are declared with: what made them is left out. */
  readonly inputs?: ReadonlyMap<string, ValueType>;
  /** Whether inputs that nothing in the part reads stay, so that the whole model's feeds fit; default: they go. */
  readonly keepInputs?: boolean;
}

/**
 * A copy of what `outputs` need of `model`, as far back as `inputs`. Names stay; weights are shared, none is read.
 * @throws InternalError for a name that is no value of the main graph.
 */
export function extract(model: Model, options: ExtractOptions): Model {
  const part = cloneModel(model);
  const { graph } = part;
  const named = (name: string): Value => {
    const v = graph.value(name);
    if (!v) throw internal(`"${name}" is no value of the graph that a part was taken of.`, { value: name });
    return v;
  };
  for (const [name, type] of options.inputs ?? []) {
    const value = named(name);
    if (value.isInput) continue;
    const made = value.producer?.outputs.indexOf(value) ?? -1;
    if (made >= 0) value.producer?.releaseOutput(made);
    value.type = type;
    value.origin = undefined;
    graph.addInput(value);
  }
  const outputs = options.outputs.map(named);
  for (const v of outputs) {
    if (v.producer && !model.graph.value(v.name)?.isOutput) {
      // A declared type may be stale in a rewritten graph; the runtime infers its own.
      v.type = undefined;
      v.origin = undefined;
    }
  }
  graph.setOutputs(outputs);
  part.sha256 = undefined;
  removeDeadFrom(graph);
  if (!options.keepInputs) for (const v of [...graph.inputs]) if (v.useCount === 0 && !v.isOutput) graph.removeInput(v);
  return part;
}
