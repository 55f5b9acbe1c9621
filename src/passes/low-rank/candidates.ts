/** Layers that can become two, and what must be known of what they read. */
import type { StatisticRequest } from "../../calibrate/statistics/request.js";
import type { Graph, Model } from "../../graph/graph.js";
import { infer, type Types } from "../../graph/infer.js";
import type { Note } from "../../graph/note.js";
import { sizeOf } from "../../graph/rearrange.js";
import { isTapped } from "../../score/carriers.js";
import { type Layer, layersOf } from "../../score/layers.js";
import { kernelsOf, type Sizes, type Split, splitsOf } from "../../score/low-rank/factors.js";
import { everyOf, windowOf } from "../../score/patches.js";

/** A layer with one group of weights, which are told as [outputs, inputs, …kernel]. */
export interface Candidate extends Sizes {
  readonly layer: Layer;
  readonly divisions: readonly Division[];
}

export interface Division {
  readonly split: Split;
  /**
   * Covariances of what the first factor reads; where it has all taps, of what the layer gives. Undefined: they cannot be measured, and
   * weights alone decide.
   */
  readonly request: (StatisticRequest & { readonly kind: "gram" | "patches" }) | undefined;
  /** Positions of what the first factor gives, for each position of what the layer gives. */
  readonly spread: number;
}

/** Unknowns of a decomposition, and features of a covariance; more take minutes. */
const MOST = 1536;

/** In graph order. `note` is told of those that are left as they are, and why. */
export function candidatesOf(
  model: Model,
  { measures, skip }: { readonly measures: boolean; readonly skip: readonly string[] },
  note: (note: Note) => void = () => undefined,
): readonly Candidate[] {
  const types = infer(model);
  const { layers, left } = layersOf(model, types);
  for (const { node, why } of left) note({ code: "LAYER_KEPT", about: node.label, why });
  return layers.flatMap((layer) => {
    const { node } = layer;
    const found = skip.includes(node.label) ? "it is to be left whole" : candidateOf(layer, types, measures ? model.graph : undefined);
    if (typeof found !== "string") return [found];
    note({ code: "LAYER_KEPT", about: node.label, why: found });
    return [];
  });
}

/** `graph`: the one that is measured; undefined: nothing is. */
function candidateOf(layer: Layer, types: Types, graph: Graph | undefined): Candidate | string {
  const { node, groups, rows, columns, taps } = layer;
  if (node.opType === "ConvTranspose") return "transposed convolutions are not factorised";
  if (groups > 1) return "its groups are narrow: there is nothing between their inputs and outputs to leave out";
  const kernel = node.opType === "Conv" ? (node.inputs[1]?.constant?.dims.slice(2) ?? []) : [];
  const sizes = { outputs: rows, inputs: columns / taps, kernel };
  if (rows * columns === 0) return "its weight is empty";
  const divisions = splitsOf(kernel).flatMap((split) => divisionOf(layer, sizes, split, types, graph) ?? []);
  if (divisions.length === 0) return `it has more than ${MOST} outputs, and its decomposition would take minutes`;
  return { layer, ...sizes, divisions };
}

function divisionOf(layer: Layer, sizes: Sizes, split: Split, types: Types, graph: Graph | undefined): Division | undefined {
  const { node } = layer;
  const { first, second } = kernelsOf(sizes.kernel, split);
  const [features, unknowns] = [sizes.inputs * sizeOf(first), sizes.outputs * sizeOf(second)];
  if (unknowns > MOST) return undefined;
  const [inside, outside] = [layer.input, node.outputs[0]].map((v) => (v && types.shape(v)?.slice(2)) ?? []);
  const strides = node.ints("strides", []);
  const spread = split.reduce((n, isFirst, a) => {
    if (isFirst) return n;
    const [i, o] = [inside?.[a], outside?.[a]];
    return n * (typeof i === "number" && typeof o === "number" ? i / o : (strides[a] ?? 1));
  }, 1);
  if (!graph) return { split, request: undefined, spread };
  const whole = split.every((isFirst) => isFirst);
  if (!whole && features > MOST) return undefined;
  return {
    split,
    request: whole ? givenBy(layer, graph, types) : readBy(layer, graph, sizes.kernel, split, inside ?? [], outside ?? []),
    spread,
  };
}

function givenBy({ end, channelsLast }: Layer, graph: Graph, types: Types): Division["request"] {
  const rank = types.shape(end)?.length;
  if (rank === undefined || rank < 2 || !isTapped(end, graph)) return undefined;
  return { kind: "gram", value: end.name, axis: channelsLast ? rank - 1 : 1 };
}

function readBy(
  { node, input }: Layer,
  graph: Graph,
  kernel: readonly number[],
  split: Split,
  inside: readonly unknown[],
  outside: readonly unknown[],
): Division["request"] {
  const whole = windowOf(node, kernel, inside);
  if (!whole || !isTapped(input, graph)) return undefined;
  const n = kernel.length;
  const own = (of: readonly number[], other: number) => of.map((x, a) => (split[a % n] ? x : other));
  const window = {
    kernel: kernelsOf(kernel, split).first,
    strides: own(whole.strides, 1),
    pads: own(whole.pads, 0),
    dilations: own(whole.dilations, 1),
  };
  const every = everyOf(split.map((isFirst, a) => (isFirst ? outside[a] : inside[a])));
  return { kind: "patches", value: input.name, axis: 1, window, every };
}
