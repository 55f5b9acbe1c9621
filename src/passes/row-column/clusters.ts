/** How rows and columns of layers hang together: rows that are one channel, columns of a channel that left, channels that nothing reads. */
import { capturedOutputs } from "../../graph/captured-outputs.js";
import type { Axis } from "../../graph/coupling/axis.js";
import { ALWAYS } from "../../graph/coupling/choices.js";
import type { Coupling, Group } from "../../graph/coupling/groups.js";
import type { Model, Node, Value } from "../../graph/graph.js";
import type { Note } from "../../graph/note.js";
import type { Layer } from "./layers.js";

/** Whether and how rows leave: coupled, or besides where layers add (group: as one, expand: each, put back as zeros); or not. */
export type RowOption = "coupled" | "group" | "expand" | "keep";

/** How the rows of a layer leave: with their channel everywhere, put back as zeros, or not at all. */
export type RowWay = "coupled" | "expand" | "whole";

/** Layers with one set of rows: one layer, or those that add into one tensor. */
export interface Cluster {
  readonly layers: readonly Layer[];
  readonly way: RowWay;
  /** Choice of each row, where the rows can leave with their channels. */
  readonly choices: readonly number[] | undefined;
}

/** Layers by the rows they share, in graph order, with the way in which their rows may leave. */
export function clustersOf(
  layers: readonly Layer[],
  rows: RowOption,
  model: Model,
  coupling: Coupling,
  skip: readonly string[],
  note: (note: Note) => void,
): Cluster[] {
  const mine = new Map(layers.map((l) => [l.node, l]));
  const choicesOf = new Map(layers.map((l) => [l, rows === "keep" ? undefined : rowChoices(l, mine, coupling, skip)]));
  const captured = capturedOutputs(model.graph);
  const done = new Set<Layer>();
  const out: Cluster[] = [];
  for (const layer of layers) {
    if (done.has(layer)) continue;
    const choices = choicesOf.get(layer);
    const mates = choices ? layers.filter((l) => choicesOf.get(l)?.some((c) => choices.includes(c))) : [layer];
    if (choices && mates.length === 1) out.push({ layers: [layer], way: "coupled", choices });
    else if (choices && rows === "group" && mates.every((l) => String(choicesOf.get(l)) === String(choices) && !done.has(l))) {
      out.push({ layers: mates, way: "coupled", choices });
      for (const l of mates) done.add(l);
    } else {
      const way = choices && rows === "expand" && canExpand(layer, captured, coupling) ? "expand" : "whole";
      if (way === "whole" && rows !== "keep")
        note({
          code: "ROWS_KEPT",
          about: layer.node.label,
          why: choices
            ? "other layers add to its channels, so that columns alone leave (option rows: group, expand)"
            : "its channels cannot leave one by one",
        });
      out.push({ layers: [layer], way, choices: undefined });
    }
    done.add(layer);
  }
  return out;
}

/** Whether rows can be put back behind the layer: the tensor keeps no name of the interface, and its rank and bias are known. */
function canExpand({ node, filters }: Layer, captured: ReadonlySet<Value>, coupling: Coupling): boolean {
  const Y = node.outputs[0] as Value;
  const bias = node.opType === "MatMul" ? undefined : node.inputs[2];
  const isVector = !bias || (bias.constant?.dims.length === 1 && bias.constant.dims[0] === filters);
  return isVector && !Y.isOutput && !captured.has(Y) && coupling.typing.types.shape(Y) !== undefined && coupling.typing.model.opset >= 11;
}

/** The choice of each row, where each can leave by itself; undefined where one cannot, or where layers that are not ours make the channels too. */
function rowChoices(
  layer: Layer,
  mine: ReadonlyMap<Node, Layer>,
  coupling: Coupling,
  skip: readonly string[],
): readonly number[] | undefined {
  if (layer.groups > 1) return undefined;
  const choices = choicesAlong(layer.weight, layer.rowAxis, coupling);
  if (!choices || new Set(choices).size !== choices.length) return undefined;
  const groups = new Set(choices.map((c) => coupling.groupOf(c)));
  for (const group of groups) {
    if (!group || isUneven(group.slots, coupling, group.choices) || isSkipped(group, skip)) return undefined;
    for (const { role, uses } of group.slots)
      if (role === "producer" && uses.some(({ node }) => !mine.has(node) && !isDepthwise(node))) return undefined;
  }
  return choices;
}

/** The one choice of each index of an axis; undefined where some index has none, or several. */
function choicesAlong(value: Value, axis: number, { typing, choices }: Coupling): readonly number[] | undefined {
  const of = typing.axesOf(value)?.[axis];
  if (!of || typing.system.reason(of) || typing.system.find(of).form?.kind === "family") return undefined;
  const layers = choices.layers(of);
  const [only] = layers;
  return layers.length === 1 && only && !only.includes(ALWAYS) ? [...only] : undefined;
}

/** Whether channels of a group must leave evenly, as into the groups of a convolution. */
function isUneven(
  slots: readonly { readonly rows?: readonly [number, number]; readonly uses: readonly { readonly node: Node }[] }[],
  { typing, choices }: Coupling,
  mine: readonly number[],
): boolean {
  if (slots.some((s) => s.rows || s.uses.some(({ node }) => node.int("group", 1) > 1 && !isDepthwise(node)))) return true;
  const own = new Set(mine);
  const touches = (axis: Axis) => choices.layers(axis).some((l) => l.some((c) => own.has(c)));
  return typing.balances.some((b) => b.parts.some((p) => touches(p.axis)));
}

function isDepthwise(node: Node): boolean {
  return node.opType === "Conv" && node.int("group", 1) > 1 && node.inputs[1]?.constant?.dims[1] === 1;
}

/** Whether a layer that is to stay as it is makes or reads channels of the group. */
function isSkipped({ nodes }: Group, skip: readonly string[]): boolean {
  return nodes.some((n) => skip.includes(n.label));
}

/** 1 for each input channel that has left. */
export function deadChannels(
  { weight, columnAxis, channels }: Layer,
  gone: ReadonlySet<number>,
  { typing, choices }: Coupling,
): Uint8Array {
  const out = new Uint8Array(channels);
  const axis = typing.axesOf(weight)?.[columnAxis];
  if (!axis || gone.size === 0 || typing.system.reason(axis) || typing.system.find(axis).form?.kind === "family") return out;
  for (const layer of choices.layers(axis))
    layer.forEach((c, i) => {
      if (gone.has(c)) out[i] = 1;
    });
  return out;
}

/** Channels that no layer has a column of any more, and nothing else reads. */
export function unreadChannels(
  decided: readonly { readonly output: string; readonly columns: Uint8Array }[],
  layers: readonly Layer[],
  gone: ReadonlySet<number>,
  coupling: Coupling,
  skip: readonly string[],
): Map<string, number[]> {
  const masks = new Map(decided.map((d) => [d.output, d.columns]));
  const own = new Map(layers.map((l) => [l.weight, l]));
  const { typing, choices } = coupling;
  const readElsewhere = new Set<number>();
  for (const { node, slots } of typing.contractions) {
    if (slots.some((s) => own.has(node.inputs[s.input] as Value))) continue;
    for (const s of slots) {
      const axis = typing.axesOfInput(node, s.input)?.[s.axis];
      for (const m of axis ? typing.system.members(axis) : [])
        for (const l of choices.layers(m.axis)) for (const c of l) readElsewhere.add(c);
    }
  }
  const out = new Map<string, number[]>();
  for (const group of coupling.groups) {
    if (isUneven(group.slots, coupling, group.choices) || isSkipped(group, skip)) continue;
    const readers = group.slots.filter((s) => s.role === "consumer");
    if (readers.length === 0 || readers.some((s) => own.get(s.value)?.columnAxis !== s.axis)) continue;
    const isUnread = (k: number) => {
      const read = readers.flatMap((s) => s.positions(k).map((c) => ({ layer: own.get(s.value) as Layer, c })));
      return (
        read.length > 0 &&
        read.every(({ layer, c }) => {
          const mask = masks.get(layer.node.outputs[0]?.name as string) as Uint8Array;
          return mask.subarray(c * layer.taps, (c + 1) * layer.taps).every((x) => x === 1);
        })
      );
    };
    const unread = [...group.choices.keys()].filter((k) => {
      const c = group.choices[k] as number;
      return !gone.has(c) && !readElsewhere.has(c) && isUnread(k);
    });
    const left = group.choices.filter((c) => !gone.has(c)).length;
    // An axis never gets empty.
    if (unread.length > 0) out.set(group.name, unread.length < left ? unread : unread.slice(1));
  }
  return out;
}
