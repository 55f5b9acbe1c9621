/** A copy of a model that computes statistics of its activations, and nothing else leaves it. */
import { ConfigError, UnsupportedError } from "../../errors.js";
import { cloneModel } from "../../graph/clone.js";
import { removeDeadFrom } from "../../graph/dead.js";
import { isKnown } from "../../graph/dim.js";
import type { Graph, Model, Value } from "../../graph/graph.js";
import type { Types } from "../../graph/infer.js";
import { Emitter, type Reduction, type Tapped } from "./reductions.js";
import type { Tap } from "./request.js";

/** The name of each wanted tensor among the outputs of the instrumented copy. */
export interface Instrumented {
  readonly model: Model;
  /** outputs[t].get(r): reduction r of tap t. */
  readonly outputs: readonly ReadonlyMap<Reduction, string>[];
}

/**
 * `model` with the reductions of each tap as its only outputs. Taps are read, never moved, so that the runtime fuses and lays out the
 * rest as it would without them; a tap inside a fused pair (a convolution and its normalisation) costs that fusion.
 */
export function instrument(
  model: Model,
  taps: readonly { readonly tap: Tapped; readonly reductions: Iterable<Reduction> }[],
): Instrumented {
  const copy = cloneModel(model);
  const { graph } = copy;
  const opset = copy.opsets.get("") ?? 1;
  const outputs = taps.map(({ tap, reductions }, t) => {
    const emitter = new Emitter(graph, tap, opset, `statistic_${t}`);
    const names = new Map<Reduction, string>();
    for (const r of new Set(reductions)) names.set(r, asOutput(graph, emitter.emit(r)).name);
    return names;
  });
  for (const v of graph.outputs) {
    if (v.isInput || !v.producer) continue;
    // Declared types may be stale in a rewritten graph; the runtime infers its own.
    v.type = undefined;
    v.origin = undefined;
  }
  const wanted = new Set(outputs.flatMap((names) => [...names.values()]));
  graph.setOutputs([...wanted].map((name) => graph.value(name) as Value));
  removeDeadFrom(graph);
  copy.sha256 = undefined;
  return { model: copy, outputs };
}

/** A value that may be an output of its own: graph inputs and values with another name's duties go through Identity. */
function asOutput(graph: Graph, value: Value): Value {
  if (!value.isInput && !value.constant && value.producer?.graph === graph) return value;
  return graph.insertNode("Identity", [value], { outputs: ["statistic_value"] }).outputs[0] as Value;
}

/**
 * What is known of a tap before anything runs.
 * @throws UnsupportedError for values that cannot be measured channel by channel.
 */
export function tapped(
  model: Model,
  types: Types,
  { value: name, axis }: Tap,
  batch: string | number,
): Tapped & { readonly channels: number } {
  const value = model.graph.value(name);
  const type = value && types.type(value);
  const refuse = (why: string) =>
    new UnsupportedError("STATISTICS_TAP", `Axis ${axis} of "${name}" cannot be measured: ${why}.`, {
      at: { value: name },
      hint: "`onnx-prune inspect --types` lists the types of all values; --input-shape gives symbolic extents numbers.",
    });
  if (!value || type?.kind !== "tensor") throw refuse("it is no tensor of the main graph");
  if (!["float32", "float16", "float64", "bfloat16"].includes(type.dtype)) throw refuse(`it holds ${type.dtype}, no real numbers`);
  const { shape } = type;
  if (!shape) throw refuse("its rank is not known");
  if (!Number.isInteger(axis) || axis < 1 || axis >= shape.length)
    throw refuse(`its shape is [${shape.join(", ")}], and axis 0 counts samples`);
  const channels = shape[axis];
  if (typeof channels !== "number") throw refuse("its extent is only known when the model runs");
  if (!countsSamples(shape[0] ?? 1, batch)) throw refuse(`axis 0 of [${shape.join(", ")}] does not count samples`);
  return {
    name,
    dtype: type.dtype,
    axis,
    rank: shape.length,
    extents: shape.map((d) => (isKnown(d) ? (d as number) : undefined)),
    pivot: undefined,
    channels,
  };
}

/** Whether an extent is a multiple of the batch: samples first, then (say) the windows or tokens of each. */
function countsSamples(extent: string | number, batch: string | number): boolean {
  if (typeof batch === "number") return typeof extent === "number" ? extent % batch === 0 : true;
  // A symbol of its own (an extent nobody declared) may be anything: the run decides.
  return typeof extent === "string" && (extent.split(/\W+/).includes(batch) || extent.startsWith("?"));
}

/** Axis 0 of the inputs that are fed samples. @throws ConfigError when there is none. */
export function batchOf(model: Model): string | number {
  for (const v of model.graph.inputs) {
    const first = v.constant || v.initializer ? undefined : v.shape?.[0];
    if (first !== undefined) return first;
  }
  throw new ConfigError("STATISTICS_NO_BATCH", "No input of the model has an axis that could count samples.");
}
