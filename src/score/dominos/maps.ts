/**
 * The network as feature maps and what each is made from.
 *
 * A *map* is a value that mixes channels or brings several maps together (a linear layer, a sum, a pool: its source), with
 * everything that is computed from it element by element: bias, normalisation, activation, gates of its own. So a network is
 * maps and edges between them, whatever its activations are called or however an exporter spells them.
 */

import type { Axis } from "../../graph/coupling/axis.js";
import { ALWAYS } from "../../graph/coupling/choices.js";
import type { Coupling } from "../../graph/coupling/groups.js";
import { isFloat } from "../../graph/dtype.js";
import type { Node, Value } from "../../graph/graph.js";
import { elementwise, passThrough } from "../../graph/ops/axis-rules.js";
import { mapOf } from "../affine.js";
import { type LinearLayer, linearLayers } from "./linear-layers.js";

/** One value of a map, as a function of its source. */
export interface Member {
  readonly value: Value;
  readonly map: FeatureMap;
  /** Square of the factor that affine steps put on each cell; undefined: 1 everywhere. */
  readonly gain: Float64Array | undefined;
  /** Whether a step was no affine one: an activation. */
  readonly isBent: boolean;
}

export interface FeatureMap {
  /** Maps that come later read from earlier ones. */
  readonly index: number;
  readonly source: Value;
  /** The layer that makes the source, where one does. */
  readonly layer: LinearLayer | undefined;
  /** Axes of every member whose positions are channels; none where it is not known which. */
  readonly axes: readonly number[];
  /** Positions of these axes, all combinations: its *cells*. */
  readonly cells: number;
  /** Choices that each cell leaves with, ascending; none: it cannot leave. Cells with the same choices are the same channel. */
  readonly keys: readonly (readonly number[])[];
  readonly members: ReadonlyMap<Value, Member>;
  /** The value by which the rest of the network knows the map: F, the last that everything goes through. */
  readonly seen: Member;
}

export interface Network {
  readonly maps: readonly FeatureMap[];
  /** Those that a linear layer makes. */
  readonly layers: readonly (FeatureMap & { readonly layer: LinearLayer })[];
  memberOf(value: Value): Member | undefined;
}

/** Most cells a map may have: products of several axes of channels grow. */
const MOST_CELLS = 2 ** 18;

type Draft = { -readonly [K in keyof FeatureMap]: FeatureMap[K] } & { readonly members: Map<Value, Member> };

export function networkOf(coupling: Coupling): Network {
  const { typing } = coupling;
  const { graph } = typing.model;
  const layers = new Map(linearLayers(graph, typing.types).map((l) => [l.node, l]));
  const maps: Draft[] = [];
  const members = new Map<Value, Member>();

  const start = (source: Value, layer: LinearLayer | undefined) => {
    const channels = channelsOf(source, layer, coupling) ?? inherited(source, members, coupling);
    const found = new Map<Value, Member>();
    const map = { index: maps.length, source, layer, ...channels, members: found } as unknown as Draft;
    const member: Member = { value: source, map, gain: undefined, isBent: false };
    found.set(source, member);
    map.seen = member;
    maps.push(map);
    members.set(source, member);
  };

  for (const v of graph.inputs) if (!v.constant) start(v, undefined);
  for (const node of graph.nodes) {
    const value = node.outputs[0];
    if (!value || value.constant) continue;
    const member = layers.has(node) ? undefined : continued(node, value, members, coupling);
    if (member) {
      (member.map as Draft).members.set(value, member);
      members.set(value, member);
    } else start(value, layers.get(node));
    for (const more of node.outputs.slice(1)) if (more && !more.constant) start(more, undefined);
  }
  for (const map of maps) map.seen = seenOf(map);
  return {
    maps,
    layers: maps.filter((m): m is Draft & { layer: LinearLayer } => m.layer !== undefined),
    memberOf: (value) => members.get(value),
  };
}

/** The member that `node` makes when it acts on the elements of one map alone. */
function continued(node: Node, value: Value, members: ReadonlyMap<Value, Member>, { typing }: Coupling): Member | undefined {
  const { types } = typing;
  const axes = types.spec(node)?.axes;
  const isNormalised = node.isStandard && node.opType === "BatchNormalization";
  if (node.outputs.length !== 1 && !isNormalised) return undefined;
  if (axes !== elementwise && axes !== passThrough && !isNormalised) return undefined;
  const type = types.type(value);
  // Masks and codes that are made of a map are values of their own.
  if (type?.kind !== "tensor" || !isFloat(type.dtype)) return undefined;
  const read: { member: Member; index: number }[] = [];
  for (const [index, v] of node.inputs.entries()) {
    if (!v || v.constant) continue;
    const member = members.get(v);
    if (!member || (read[0] && read[0].member.map !== member.map) || !sameShape(value, v, types)) return undefined;
    read.push({ member, index });
  }
  const [first, second] = read;
  if (!first) return undefined;
  const { map, gain, isBent } = first.member;
  // x·f(x) and the like: a function of x with no factor of its own.
  if (second) return { value, map, gain: undefined, isBent: true };
  if (axes === passThrough && (node.opType === "Cast" || node.opType === "Identity")) return { value, map, gain, isBent };
  const axis = map.axes.length === 1 ? map.axes[0] : undefined;
  const affine = axis === undefined ? undefined : mapOf(node, first.index, { rank: types.shape(value)?.length ?? 0, axis }, map.cells)?.map;
  if (affine) return { value, map, gain: Float64Array.from(affine.scale, (s, c) => s * s * (gain?.[c] ?? 1)), isBent };
  return { value, map, gain, isBent: isBent || !isNormalised };
}

/** The last member that all reads of earlier members lead to. */
function seenOf(map: Draft): Member {
  let seen = map.members.get(map.source) as Member;
  // Reads of members so far that are made by members to come.
  const open = new Set<Value>();
  let isClosed = true;
  for (const member of map.members.values()) {
    open.delete(member.value);
    if (isClosed && open.size === 0) seen = member;
    if (member.value.isOutput) isClosed = false;
    for (const { node } of member.value.uses()) {
      const to = node.outputs[0];
      if (to && map.members.has(to)) open.add(to);
      else isClosed = false;
    }
  }
  return seen;
}

interface Channels {
  readonly axes: readonly number[];
  readonly cells: number;
  readonly keys: readonly (readonly number[])[];
}

/** The axes on which the coupling sees channels; of a linear layer its output axis, known or not. */
function channelsOf(value: Value, layer: LinearLayer | undefined, coupling: Coupling): Channels | undefined {
  const rank = coupling.typing.types.shape(value)?.length ?? 0;
  const all = layer ? [layer.outputAxis] : Array.from({ length: rank }, (_, a) => a);
  const plain = all.flatMap((axis) => keysOn(value, axis, coupling) ?? []);
  const ragged = layer ? [] : all.flatMap((axis) => membersOn(value, axis, coupling) ?? []);
  if (plain.length === 0 && ragged.length === 0) {
    return layer && { axes: [layer.outputAxis], cells: layer.outputs, keys: Array.from({ length: layer.outputs }, () => []) };
  }
  const axes = [...new Set([...plain.map((p) => p.axis), ...ragged.flatMap((r) => [r.axis, ...r.rows])])].sort((a, b) => a - b);
  const extents = axes.map((a) => coupling.typing.types.shape(value)?.[a]).filter((d) => typeof d === "number");
  const cells = extents.reduce((n, d) => n * d, 1);
  if (extents.length < axes.length || cells > MOST_CELLS) return undefined;
  const keys = Array.from({ length: cells }, (_, cell) => {
    const at = new Map<number, number>();
    let rest = cell;
    for (let i = axes.length - 1; i >= 0; i--) {
      at.set(axes[i] as number, rest % (extents[i] as number));
      rest = Math.floor(rest / (extents[i] as number));
    }
    const here = (axis: number) => at.get(axis) as number;
    const choices = [
      ...plain.flatMap((p) => p.keys[here(p.axis)] as readonly number[]),
      ...ragged.flatMap((r) => r.keysIn(here)[here(r.axis)] as readonly number[]),
    ];
    return [...new Set(choices)].sort((a, b) => a - b);
  });
  return { axes, cells, keys };
}

type Keys = readonly (readonly number[])[];

/** The choices at each position of an axis; undefined where it has none. */
function keysOn(value: Value, axis: number, coupling: Coupling): { readonly axis: number; readonly keys: Keys } | undefined {
  const of = coupling.typing.axesOf(value)?.[axis];
  const keys = of && keysOf(of, coupling);
  return keys?.some((k) => k.length > 0) ? { axis, keys } : undefined;
}

/** No choices at all where the axis is kept whole; undefined where positions have none of their own. */
function keysOf(of: Axis, { typing, choices }: Coupling): Keys | undefined {
  const root = typing.system.find(of);
  const { size } = root;
  if (root.form?.kind === "family" || typeof size !== "number") return undefined;
  const layers = typing.system.reason(root) ? [] : choices.layers(root);
  return Array.from({ length: size }, (_, p) => layers.flatMap((l) => (l[p] === ALWAYS ? [] : [l[p] as number])));
}

/** An axis whose channels differ from row to row of other axes of the value (the dims of each head, of q, k and v). */
interface Ragged {
  readonly axis: number;
  readonly rows: readonly number[];
  /** Those of the row that `here` names by axis. */
  keysIn(here: (axis: number) => number): Keys;
}

function membersOn(value: Value, axis: number, coupling: Coupling): Ragged | undefined {
  const { system } = coupling.typing;
  const axes = coupling.typing.axesOf(value) ?? [];
  const root = axes[axis] && system.find(axes[axis]);
  if (root?.form?.kind !== "family" || system.reason(root)) return undefined;
  const placeOf = (row: Axis) => {
    const places = axes.flatMap((a, i) => (i !== axis && system.find(a) === system.find(row) ? [i] : []));
    return places.length === 1 ? places[0] : undefined;
  };
  const members = system.members(root).map((m) => ({
    keys: keysOf(m.axis, coupling),
    rows: m.rows.map((r) => ({ axis: placeOf(r.axis), index: r.index })),
  }));
  const rows = [...new Set(members.flatMap((m) => m.rows.map((r) => r.axis)))];
  if (members.some((m) => !m.keys) || rows.some((r) => r === undefined)) return undefined;
  const none: Keys = members[0]?.keys?.map(() => []) ?? [];
  return {
    axis,
    rows: rows as number[],
    keysIn: (here) => members.find((m) => m.rows.every((r) => here(r.axis as number) === r.index))?.keys ?? none,
  };
}

/** Ops that hand an operand of the shape of their output on, position by position, though they mix its channels. */
const NORMALISES: ReadonlySet<string> = new Set([
  "LayerNormalization",
  "RMSNormalization",
  "GroupNormalization",
  "InstanceNormalization",
  "LpNormalization",
  "LRN",
  "MeanVarianceNormalization",
  "com.microsoft.SkipLayerNormalization",
  "com.microsoft.SkipSimplifiedLayerNormalization",
]);

/** Whether output and input of `node` of the same shape are the same channels position by position. */
export function keepsPositions(node: Node, { typing }: Coupling): boolean {
  const spec = typing.types.spec(node);
  return spec?.axes === elementwise || spec?.axes === passThrough || NORMALISES.has(node.qualifiedType);
}

/** Channels that cannot leave have no choices: they are those of an operand of the same shape. */
function inherited(value: Value, members: ReadonlyMap<Value, Member>, coupling: Coupling): Channels {
  const node = value.producer;
  if (node && keepsPositions(node, coupling)) {
    for (const v of node.inputs) {
      const map = v && members.get(v)?.map;
      if (map && map.axes.length > 0 && sameShape(value, v, coupling.typing.types))
        return { axes: map.axes, cells: map.cells, keys: map.keys };
    }
  }
  return { axes: [], cells: 0, keys: [] };
}

export function sameShape(a: Value, b: Value | undefined, types: Coupling["typing"]["types"]): boolean {
  const [p, q] = [types.shape(a), b && types.shape(b)];
  return p !== undefined && q !== undefined && p.length === q.length && p.every((d, i) => d === q[i]);
}
