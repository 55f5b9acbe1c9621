/** Pieces of a model between values that all of what comes later depends on, and nothing else of what came before. */

import { type Passing, passageOf } from "../../gradient/rules.js";
import { captures, type Model, type Node, type Value } from "../../graph/graph.js";
import type { Types } from "../../graph/infer.js";
import type { Layer } from "../../score/layers.js";

/** From one such value to another, with at least one linear layer between. */
export interface Unit {
  readonly from: Value;
  /** Where it may end, all of its layers being before: the last is where the next unit begins. */
  readonly ends: readonly End[];
  /** In graph order. */
  readonly nodes: readonly Node[];
  readonly layers: readonly Layer[];
  /** What makes it impossible to go back through it; undefined: nothing does. */
  readonly obstacle: { readonly node: Node; readonly why: string } | undefined;
}

export interface End {
  readonly value: Value;
  /** Of the unit's nodes, those before it. */
  readonly nodes: number;
}

/** Values with samples first, computed from what `input` is. */
export interface Activations {
  has(value: Value | undefined): boolean;
}

/** Values that depend on the graph's inputs, save those whose numbers inference knows all the same (extents, say). */
export function activationsOf(model: Model, types: Types): ReadonlySet<Value> {
  const found = new Set<Value>(model.graph.inputs.filter((v) => !v.constant));
  for (const node of model.graph.nodes) {
    if (![...node.inputs, ...captures(node)].some((v) => v && found.has(v))) continue;
    for (const v of node.outputs) if (v && !types.content(v)?.every((d) => typeof d === "number")) found.add(v);
  }
  return found;
}

/**
 * The units of the main graph, in its order; none where it has several inputs. `types` are of known extents, `samples` of which come first
 * in every value that bounds a unit. Values that the original does not have bound none: two factors of one layer are in one unit.
 */
export function unitsOf(
  model: Model,
  types: Types,
  layers: readonly Layer[],
  activations: Activations,
  { samples, original }: { readonly samples: number; readonly original: Model },
): readonly Unit[] {
  const [input, ...others] = model.graph.inputs.filter((v) => activations.has(v));
  if (!input || others.length > 0) return [];
  const layerAt = new Map(layers.map((l) => [l.node, l]));
  const isBoundary = (v: Value) => {
    const type = types.type(v);
    if (!original.graph.value(v.name)) return false;
    return type?.kind === "tensor" && type.dtype === "float32" && types.shape(v)?.[0] === samples && (types.shape(v)?.length ?? 0) > 1;
  };
  const units: Unit[] = [];
  /** Readers that each value still waits for. */
  const open = new Map([[input, readersOf(input, activations)]]);
  let from = input;
  let nodes: Node[] = [];
  let ends: End[] = [];
  /** Within a layer: its weights stand for all up to its end. */
  const within = new Set(layers.flatMap((l) => [...absorbedBy(l)].flatMap((n) => n.outputs.filter((v) => v !== l.end))));
  const close = () => {
    const last = ends.at(-1);
    if (!last) return;
    const mine = nodes.slice(0, last.nodes);
    const own = mine.flatMap((n) => layerAt.get(n) ?? []);
    units.push({ from, ends, nodes: mine, layers: own, obstacle: obstacleIn(mine, own, types, activations) });
    nodes = nodes.slice(last.nodes);
    [from, ends] = [last.value, []];
  };
  for (const node of model.graph.nodes) {
    if (!node.outputs.some((v) => v && activations.has(v))) continue;
    if (layerAt.has(node)) close();
    nodes.push(node);
    for (const v of [...node.inputs, ...captures(node)]) {
      const left = v && open.get(v);
      if (v && left !== undefined) left > 1 ? open.set(v, left - 1) : open.delete(v);
    }
    for (const v of node.outputs) {
      const readers = v && activations.has(v) ? readersOf(v, activations) : 0;
      if (v && readers > 0) open.set(v, readers);
    }
    const [only] = open.keys();
    if (open.size !== 1 || !only || !isBoundary(only) || !node.outputs.includes(only) || within.has(only)) continue;
    if (!nodes.some((n) => layerAt.has(n))) continue;
    ends.push({ value: only, nodes: nodes.length });
  }
  close();
  return units;
}

/** A graph's output is waited for to the end. */
function readersOf(value: Value, activations: Activations): number {
  if (value.isOutput) return Number.POSITIVE_INFINITY;
  return value.uses().filter(({ node }) => node.outputs.some((o) => activations.has(o))).length;
}

function obstacleIn(nodes: readonly Node[], layers: readonly Layer[], types: Types, activations: Activations): Unit["obstacle"] {
  const insides = new Set(layers.flatMap((l) => [...absorbedBy(l)]));
  for (const node of nodes) {
    if (layers.some((l) => l.node === node) && !["Conv", "Gemm", "MatMul"].includes(node.opType))
      return { node, why: `the way back through ${node.opType} is not known` };
    if (insides.has(node)) continue;
    const passage = passageOf(passing(node, types, activations));
    if (typeof passage === "string") return { node, why: passage };
  }
  return undefined;
}

/** The layer's node and the maps after it, which its weights stand for. */
export function absorbedBy({ node, end }: Layer): ReadonlySet<Node> {
  const found = new Set<Node>([node]);
  for (let at: Node | undefined = end.producer; at && at !== node; at = at.inputs.find((v) => v?.producer && !v.constant)?.producer)
    found.add(at);
  return found;
}

export function passing(node: Node, types: Types, activations: Activations): Passing {
  return { node, types, isActivation: (i) => activations.has(node.inputs[i]) };
}
