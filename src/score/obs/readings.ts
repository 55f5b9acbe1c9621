/** The layers that read a group's channels: which statistic has their features, and which weights meet them. */
import type { StatisticRequest, Tap } from "../../calibrate/statistics/request.js";
import { ALWAYS } from "../../graph/coupling/choices.js";
import type { Coupling, Group } from "../../graph/coupling/groups.js";
import { isKnown } from "../../graph/dim.js";
import { isFloat } from "../../graph/dtype.js";
import type { Node, Use, Value } from "../../graph/graph.js";
import { chainOf, channelAxis, linearOf } from "../affine.js";
import { activationRead, isTappable } from "../carriers.js";
import type { FoldedWeights, SlotVectors } from "../folded-weights.js";
import { indicesOver } from "../outgoing-gains.js";
import { everyOf, windowOf } from "../patches.js";

/** A linear layer that reads channels of a group. */
export interface Reading {
  readonly node: Node;
  /** Covariances of its features. */
  readonly moments: StatisticRequest & { readonly kind: "gram" | "patches" };
  /** Moments of what its outputs go into: the pre-activation, or the residual stream it is added to. */
  readonly received: StatisticRequest & { readonly kind: "moments" };
  /** Features of channel k, as the statistic counts them; empty where the layer does not read it. */
  features(k: number): readonly number[];
  /** Row-major rows × features(k).length. */
  weights(k: number): Float64Array;
}

export interface ReadingOptions {
  /** Most features of a layer of which all covariances are taken; beyond, taps and positions share those of the channels. */
  readonly features: number;
}

/** More channels than that would take minutes and gigabytes to eliminate. */
const MOST_CHANNELS = 4096;

/** The layers that read `group`, or why they cannot be judged. */
export function readingsOf(group: Group, coupling: Coupling, weights: FoldedWeights, options: ReadingOptions): readonly Reading[] | string {
  const node = pairedWithActivations(group, coupling);
  if (node) return `its channels are multiplied with other activations (${node.label}), which no weights can make up for`;
  const out: Reading[] = [];
  for (const w of weights.consumers(group)) {
    if (w.vectors.every((v) => v.length === 0)) continue;
    const read = readingOf(w, coupling, options);
    if (typeof read === "string") return `${w.reads[0]?.node.label}: ${read}`;
    out.push(read);
  }
  if (out.length === 0) return "no layer with constant weights reads its channels";
  return out;
}

function readingOf(w: SlotVectors, coupling: Coupling, options: ReadingOptions): Reading | string {
  const use = w.reads[0] as Use;
  const operand = activationRead(use, coupling);
  if (!operand || operand.weightAxis !== w.slot.axis) return "what its weights are multiplied with is not known axis by axis";
  const { node, value, axis } = operand;
  const type = coupling.typing.types.type(value);
  const shape = type?.kind === "tensor" ? type.shape : undefined;
  const extent = shape?.[axis];
  if (!isTappable(value, coupling) || axis < 1 || type?.kind !== "tensor" || !isFloat(type.dtype) || typeof extent !== "number")
    return "the activation it reads cannot be measured";
  const received = receivedBy(node, w, coupling);
  if (typeof received === "string") return received;
  const tap: Tap = { value: value.name, axis };
  const how =
    node.opType === "Conv"
      ? ofConv(w, node, tap, shape ?? [], coupling, options)
      : ofProduct(w, node, value, tap, extent, coupling, options);
  return typeof how === "string" ? how : { node, received, ...how };
}

type Features = Pick<Reading, "moments" | "features" | "weights">;

function ofConv(
  w: SlotVectors,
  node: Node,
  tap: Tap,
  shape: readonly unknown[],
  coupling: Coupling,
  options: ReadingOptions,
): Features | string {
  const { slot, dims } = w;
  const groups = node.int("group", 1);
  const channels = dims[slot.axis] as number;
  const filters = (dims[0] as number) / groups;
  const [from, to] = slot.rows ?? [0, dims[0] as number];
  if (slot.axis !== 1 || to - from !== filters || from % filters !== 0) return "it reads channels of several groups at once";
  const start = (from / filters) * channels;
  const taps = dims.slice(2).reduce((a, b) => a * b, 1);
  const window = windowOf(node, dims.slice(2), shape.slice(2));
  if (window && channels * taps <= options.features) {
    return {
      moments: {
        kind: "patches",
        ...tap,
        window,
        ...(groups > 1 ? { channels: [start, start + channels] as const } : {}),
        every: everyOf((node.outputs[0] && coupling.typing.types.shape(node.outputs[0])?.slice(2)) ?? []),
      },
      features: (k) => slot.positions(k).flatMap((p) => Array.from({ length: taps }, (_, t) => p * taps + t)),
      weights: matrixOf(w, [slot.axis, ...w.taps]),
    };
  }
  if (start + channels > MOST_CHANNELS) return tooMany(start + channels);
  return {
    moments: { kind: "gram", ...tap },
    features: (k) => slot.positions(k).map((p) => start + p),
    // Each tap is an output of its own: that taps could stand in for each other is left aside.
    weights: matrixOf(w, [slot.axis]),
  };
}

function ofProduct(
  w: SlotVectors,
  node: Node,
  value: Value,
  tap: Tap,
  extent: number,
  coupling: Coupling,
  options: ReadingOptions,
): Features | string {
  if (!["Gemm", "MatMul", "ConvTranspose"].includes(node.opType)) return `${node.opType} is no Conv, Gemm or MatMul`;
  if (node.int("group", 1) !== 1) return "a ConvTranspose in groups is not judged";
  const { slot } = w;
  const map = extent > options.features ? flattenedOf(value, tap, coupling) : undefined;
  if (map) {
    const { from, size } = map;
    const whole = matrixOf(w, [slot.axis]);
    const first = (k: number) => [...new Set(slot.positions(k).map((p) => Math.floor(p / size)))];
    return {
      moments: { kind: "gram", ...from },
      features: first,
      weights: (k) => byPosition(whole(k), slot.positions(k), first(k), size),
    };
  }
  if (extent > MOST_CHANNELS) return tooMany(extent);
  return { moments: { kind: "gram", ...tap }, features: (k) => slot.positions(k), weights: matrixOf(w, [slot.axis]) };
}

const tooMany = (features: number) => `it reads ${features} features, and covariances are taken of ${MOST_CHANNELS} at most`;

/** Row-major [rows, features] of channel k: `axes` of the weight run over features, all others over rows. */
function matrixOf(w: SlotVectors, axes: readonly number[]): (k: number) => Float64Array {
  const others = w.dims.map((_, a) => a).filter((a) => !axes.includes(a));
  return (k) => {
    const vector = w.vectors[k] as Float64Array;
    const positions = w.slot.positions(k).length;
    const columns = indicesOver(w, positions, axes);
    const rows = indicesOver(w, positions, others);
    const out = new Float64Array(vector.length);
    vector.forEach((x, i) => {
      out[(rows.at[i] as number) * columns.count + (columns.at[i] as number)] = x;
    });
    return out;
  };
}

/** A flattened map's weights with one column per channel of the map, and a row per output and position. */
function byPosition(matrix: Float64Array, positions: readonly number[], channels: readonly number[], size: number): Float64Array {
  const rows = matrix.length / positions.length;
  const out = new Float64Array(rows * size * channels.length);
  positions.forEach((p, at) => {
    const column = channels.indexOf(Math.floor(p / size));
    for (let o = 0; o < rows; o++) out[(o * size + (p % size)) * channels.length + column] = matrix[o * positions.length + at] as number;
  });
  return out;
}

/** The map [N, C, …] that `value` is, flattened, and the positions of a channel in it. */
function flattenedOf(value: Value, { axis }: Tap, coupling: Coupling): { readonly from: Tap; readonly size: number } | undefined {
  const node = value.producer;
  const map = node?.inputs[0];
  if (!node?.isStandard || !["Flatten", "Reshape"].includes(node.opType) || !map || !isTappable(map, coupling)) return undefined;
  const before = coupling.typing.types.shape(map);
  const after = coupling.typing.types.shape(value);
  if (!before || after?.length !== 2 || axis !== 1 || before.length < 3 || !before.slice(1).every(isKnown)) return undefined;
  const [C, ...spatial] = before.slice(1) as number[];
  const size = spatial.reduce((a, b) => a * b, 1);
  if ((C as number) > MOST_CHANNELS || (C as number) * size !== after[1]) return undefined;
  return { from: { value: map.name, axis: 1 }, size };
}

/** Where the outputs of a layer go: past per-channel maps, and into the sum if a sum with another activation is all that reads them. */
function receivedBy(node: Node, w: SlotVectors, coupling: Coupling): Reading["received"] | string {
  const shapeOf = (v: Value) => coupling.typing.types.shape(v) ?? v.shape;
  const linear = linearOf(node, 1, w.dims.length);
  const where = linear && channelAxis(linear, shapeOf);
  const channels = where && node.outputs[0] && shapeOf(node.outputs[0])?.[where.axis];
  if (!linear || !where || typeof channels !== "number" || where.axis < 1)
    return "it is no Conv, Gemm or MatMul by weights of known extents";
  let { end } = chainOf(linear, channels, shapeOf);
  const reader = end.useCount === 1 && !end.isOutput ? end.uses()[0] : undefined;
  const sum = reader?.node.isStandard && ["Add", "Sum"].includes(reader.node.opType) ? reader.node : undefined;
  const stream = sum?.outputs[0];
  if (sum && stream && sum.inputs.every((v) => v && !v.constant) && shapeOf(stream)?.length === where.rank) end = stream;
  if (!isTappable(end, coupling)) return "what it feeds cannot be measured";
  return { kind: "moments", variable: "pixels", byClass: false, value: end.name, axis: where.axis };
}

/** A node that sums products of two activations over the group's channels. */
function pairedWithActivations(group: Group, { typing, choices }: Coupling): Node | undefined {
  const mine = new Set(group.choices);
  for (const { node, slots } of typing.contractions) {
    if (slots.some(({ input }) => node.inputs[input]?.constant)) continue;
    for (const { input, axis } of slots) {
      const value = node.inputs[input];
      // Constants that are moved or converted on the way are weights still.
      if (!value || isFromConstants(value)) break;
      const of = typing.axesOfInput(node, input)?.[axis];
      // An axis that depends on another (the channels of each head) has members of its own for each index of that.
      const members = of ? typing.system.members(of) : [];
      if (members.some((m) => choices.layers(m.axis).some((l) => l.some((c) => c !== ALWAYS && mine.has(c))))) return node;
    }
  }
  return undefined;
}

function isFromConstants(value: Value): boolean {
  if (value.constant) return true;
  const inputs = value.producer?.inputs.filter((v) => v !== undefined) ?? [];
  return inputs.length > 0 && inputs.every((v) => v && isFromConstants(v));
}
