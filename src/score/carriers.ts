/** Where the channels of a group can be seen: the activations that carry them to the weights that read them. */
import type { Tap } from "../calibrate/statistics/request.js";
import { ALWAYS } from "../graph/coupling/choices.js";
import type { ConstantSlot, Coupling, Group } from "../graph/coupling/groups.js";
import { isKnown } from "../graph/dim.js";
import type { Graph, Node, Use, Value } from "../graph/graph.js";

/** One read of a group's channels by weights: of the constant itself, also where it is transposed or dequantised before it is multiplied. */
export interface Reader {
  readonly slot: ConstantSlot;
  readonly node: Node;
  /** Input of `node` that is the constant. */
  readonly index: number;
}

/** An activation of the main graph with the channels of a group on one axis. */
export interface Carrier {
  readonly value: Value;
  readonly axis: number;
  /** Extent of the axis. */
  readonly extent: number;
  /** Positions of channel k along the axis, ascending; empty where it has none (it is carried by another value). */
  positions(k: number): readonly number[];
  /** Who reads the channels from this value, or from what only moves or pools it. */
  readonly readers: readonly Reader[];
}

/** Operators that hand channels on as they are, one input in, one out: moved, pooled or cast, never mixed or bent. */
const HANDS_ON: ReadonlySet<string> = new Set([
  "Identity",
  "Dropout",
  "Cast",
  "Flatten",
  "Reshape",
  "Transpose",
  "Squeeze",
  "Unsqueeze",
  "GlobalAveragePool",
  "GlobalMaxPool",
  "AveragePool",
  "MaxPool",
  "ReduceMean",
  "ReduceMax",
]);

/**
 * The values through which `group` is read, in graph order: the feature maps after activation and residual sum, before
 * pooling and flattening. A group of a residual stream has one for each block that reads it. Values inside bodies, and reads
 * for which there is no activation in the main graph, have none.
 */
export function carriersOf(group: Group, coupling: Coupling): readonly Carrier[] {
  const mine = new Map(group.choices.map((c, k) => [c, k]));
  const found = new Map<string, { value: Value; axis: number; at: readonly (readonly number[])[]; readers: Reader[] }>();
  for (const slot of group.slots) {
    if (slot.role !== "consumer") continue;
    for (const { node, index } of slot.uses) {
      const read = activationRead({ node, index }, coupling);
      const start = read && placeOf(read.value, read.axis, mine, coupling);
      if (!read || !start || !isTappable(read.value, coupling)) continue;
      const { value, axis, at } = walkBack({ value: read.value, axis: read.axis, at: start }, mine, coupling);
      const key = `${value.name}:${axis}`;
      const carrier = found.get(key) ?? { value, axis, at, readers: [] };
      found.set(key, carrier);
      carrier.readers.push({ slot, node, index });
    }
  }
  const order = new Map(coupling.typing.model.graph.nodes.map((n, i) => [n, i]));
  const place = (v: Value) => (v.producer ? (order.get(v.producer) ?? 0) : -1);
  return [...found.values()]
    .sort((a, b) => place(a.value) - place(b.value))
    .map(({ value, axis, at, readers }) => ({
      value,
      axis,
      extent: coupling.typing.types.shape(value)?.[axis] as number,
      positions: (k) => at[k] ?? [],
      readers,
    }));
}

/** The tap of a carrier, for requests. */
export function tapOf({ value, axis }: Pick<Carrier, "value" | "axis">): Tap {
  return { value: value.name, axis };
}

/** One number per channel from one per position of the carrier: their mean; NaN where the carrier has no such channel. */
export function perChannel(group: Group, carrier: Carrier, figures: ArrayLike<number>): Float64Array {
  return Float64Array.from(group.choices, (_, k) => {
    const at = carrier.positions(k);
    let sum = 0;
    for (const p of at) sum += figures[p] as number;
    return sum / at.length;
  });
}

/** The activation that weights are multiplied with, and what is summed over. */
export interface Operand {
  /** The node that multiplies. */
  readonly node: Node;
  readonly value: Value;
  readonly axis: number;
  /**
   * The same axis in the constant; of a convolution in groups it has the channels of one group (Conv), or of all
   * (ConvTranspose). Undefined where the weights are reshaped on the way.
   */
  readonly weightAxis: number | undefined;
}

/** What the constant read at `use` is multiplied with, directly or after it is moved and converted. */
export function activationRead(use: Use, coupling: Coupling): Operand | undefined {
  const rank = use.node.inputs[use.index]?.constant?.dims.length ?? 0;
  let { node, index } = use;
  /** axes[a]: axis of the constant that is axis a here. */
  let axes: readonly number[] | undefined = Array.from({ length: rank }, (_, a) => a);
  while (node.isStandard && index === 0 && MOVES_WEIGHTS.has(node.opType)) {
    const next = node.outputs[0]?.uses();
    if (next?.length !== 1) return undefined;
    const order: readonly number[] | undefined = axes;
    if (RESHAPES.has(node.opType)) axes = undefined;
    else if (node.opType === "Transpose")
      axes =
        order &&
        node
          .ints(
            "perm",
            order.map((_, a) => order.length - 1 - a),
          )
          .map((a) => order[a] as number);
    ({ node, index } = next[0] as Use);
  }
  const read = multiplied(node, index, coupling);
  return read && { ...read, weightAxis: axes?.[read.weightAxis as number] };
}

const RESHAPES: ReadonlySet<string> = new Set(["Reshape", "Squeeze", "Unsqueeze"]);
const MOVES_WEIGHTS: ReadonlySet<string> = new Set([...RESHAPES, "Transpose", "Identity", "Cast", "DequantizeLinear"]);

/** The other side of the contraction in which `node` reads input `index`. */
function multiplied(node: Node, index: number, coupling: Coupling): Operand | undefined {
  for (const { node: at, slots } of coupling.typing.contractions) {
    if (at !== node || !slots.some((s) => s.input === index)) continue;
    const weightAxis = slots.find((s) => s.input === index)?.axis;
    for (const s of slots) {
      const value = s.input === index ? undefined : node.inputs[s.input];
      if (value && !value.constant) return { node, value, axis: s.axis, weightAxis };
    }
  }
  return convolved(node, index);
}

/** What a convolution in groups multiplies: each filter sums over the channels of its group alone, so that no whole axis is summed over. */
function convolved(node: Node, index: number): Operand | undefined {
  const value = node.isStandard && (node.opType === "Conv" || node.opType === "ConvTranspose") && index === 1 ? node.inputs[0] : undefined;
  return value && !value.constant ? { node, value, axis: 1, weightAxis: node.opType === "Conv" ? 1 : 0 } : undefined;
}

/** Positions of each of my channels along an axis; undefined where none is on it. */
function placeOf(
  value: Value,
  axis: number,
  mine: ReadonlyMap<number, number>,
  coupling: Coupling,
): readonly (readonly number[])[] | undefined {
  const of = coupling.typing.axesOf(value)?.[axis];
  if (!of || !isKnown(coupling.typing.types.shape(value)?.[axis] ?? "")) return undefined;
  const members = coupling.typing.system.find(of);
  // Positions of an axis that depends on another differ from row to row.
  if (members.form?.kind === "family") return undefined;
  const at: number[][] = [];
  let any = false;
  for (const layer of coupling.choices.layers(of)) {
    layer.forEach((c, p) => {
      const k = c === ALWAYS ? undefined : mine.get(c);
      if (k === undefined) return;
      any = true;
      const list = at[k];
      if (!list) at[k] = [p];
      else if (list[list.length - 1] !== p) list.push(p);
    });
  }
  return any ? at : undefined;
}

interface Place {
  readonly value: Value;
  readonly axis: number;
  readonly at: readonly (readonly number[])[];
}

/** Back through what hands channels on, for as long as each keeps a place of its own. */
function walkBack(start: Place, mine: ReadonlyMap<number, number>, coupling: Coupling): Place {
  let here = start;
  for (;;) {
    const node = here.value.producer;
    const before = node?.inputs[0];
    if (!node?.isStandard || !HANDS_ON.has(node.opType) || !before || before.constant || !isTappable(before, coupling)) return here;
    const rank = coupling.typing.types.shape(before)?.length ?? 0;
    let next: Place | undefined;
    for (let axis = 1; axis < rank; axis++) {
      const at = placeOf(before, axis, mine, coupling);
      if (!at || next) continue;
      if (at.every((p, k) => p.length <= (here.at[k]?.length ?? 0)) && at.length === here.at.length) next = { value: before, axis, at };
    }
    if (!next) return here;
    here = next;
  }
}

/** A value that an instrumented copy of the graph can read. */
export function isTappable(value: Value, coupling: Coupling): boolean {
  return isTapped(value, coupling.typing.model.graph);
}

/** The same, of a copy of a model with this main graph. */
export function isTapped(value: Value, graph: Graph): boolean {
  return value.producer ? value.producer.graph === graph : value.isInput;
}
