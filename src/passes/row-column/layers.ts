/** The layers whose weights are matrices of rows (filters) and columns (input channels × taps), and those matrices. */
import type { Moments } from "../../calibrate/statistics/request.js";
import { capturedOutputs } from "../../graph/captured-outputs.js";
import type { DType } from "../../graph/dtype.js";
import type { Model, Node, Value } from "../../graph/graph.js";
import type { Types } from "../../graph/infer.js";
import type { Note } from "../../graph/note.js";
import type { Tensor } from "../../graph/tensor.js";
import { chainOf, linearOf } from "../../score/affine.js";

/**
 * A Conv, Gemm or MatMul with a constant weight of its own. The matrix of a convolution has M rows and, as im2col unrolls it,
 * columns j = (c·k₁ + a)·k₂ + b; of one in groups each group is a matrix of its own.
 */
export interface Layer {
  readonly node: Node;
  readonly weight: Value;
  readonly tensor: Tensor;
  readonly groups: number;
  /** Filters of all groups. */
  readonly filters: number;
  /** Input channels of one group. */
  readonly channels: number;
  readonly kernel: readonly number[];
  readonly taps: number;
  /** Axes of the weight. */
  readonly rowAxis: number;
  readonly columnAxis: number;
  /** What is multiplied, and its axis of channels; -1: the last. */
  readonly input: Value;
  readonly inputAxis: number;
  /** What batch normalisation and the like multiply each filter by. */
  readonly scale: Float64Array;
}

export type Unit = "element" | "channel" | "tap";
export type Saliency = "abs" | "square" | "data";

const FLOATS: ReadonlySet<DType> = new Set<DType>(["float32", "float64", "float16", "bfloat16"]);

/** Layers of the main graph, in its order. `note` is told of those that are left as they are, and why. */
export function findLayers(model: Model, types: Types, skip: readonly string[], note: (note: Note) => void): Layer[] {
  const captured = capturedOutputs(model.graph);
  const out: Layer[] = [];
  for (const node of model.graph.nodes) {
    if (!node.isStandard || !["Conv", "Gemm", "MatMul", "ConvTranspose"].includes(node.opType)) continue;
    const layer = skip.includes(node.label) ? "it is to be skipped" : layerOf(node, types, captured);
    if (typeof layer === "string") note({ code: "LAYER_KEPT", about: node.label, why: layer });
    else out.push(layer);
  }
  return out;
}

/** `node` as a layer, or why it is none. */
function layerOf(node: Node, types: Types, captured: ReadonlySet<Value>): Layer | string {
  const [input, weight] = node.inputs;
  const tensor = weight?.constant;
  if (!input || !weight || !tensor || input.constant) return "it does not multiply an activation by a constant weight";
  if (node.opType === "ConvTranspose") return "rows and columns of transposed convolutions are not pruned";
  if (!FLOATS.has(tensor.dtype)) return `its weight is ${tensor.dtype}`;
  if (weight.graph !== node.graph || weight.useCount !== 1 || weight.isOutput || captured.has(weight))
    return "its weight has other readers";
  if (node.opType === "Gemm" && node.int("transA", 0) !== 0) return "its input is transposed";
  const linear = linearOf(node, 1, tensor.dims.length);
  const isConv = node.opType === "Conv";
  if (!linear || (!isConv && tensor.dims.length !== 2)) return "its weight is no matrix";
  const groups = isConv ? node.int("group", 1) : 1;
  const rowAxis = linear.axis;
  const columnAxis = isConv ? 1 : 1 - rowAxis;
  const filters = tensor.dims[rowAxis] as number;
  const channels = tensor.dims[columnAxis] as number;
  const kernel = isConv ? tensor.dims.slice(2) : [];
  const taps = kernel.reduce((a, b) => a * b, 1);
  if (groups > 1 && channels === 1) return "it is depthwise: a row has nothing but its taps";
  if (filters * channels * taps === 0) return "its weight is empty";
  const { scale } = chainOf(linear, filters, (v) => types.shape(v));
  const sizes = { groups, filters, channels, kernel, taps, rowAxis, columnAxis };
  return { node, weight, tensor, ...sizes, input, inputAxis: isConv ? 1 : -1, scale };
}

/** The weights as [filter, channel of its group, tap], whatever their layout, filter scales left out. */
export function weightsOf({ tensor, filters, channels, taps, rowAxis }: Layer): Float64Array {
  const numbers = Float64Array.from(tensor.numbers());
  if (rowAxis === 0) return numbers;
  const out = new Float64Array(numbers.length);
  for (let i = 0; i < filters; i++)
    for (let c = 0; c < channels * taps; c++) out[i * channels * taps + c] = numbers[c * filters + i] as number;
  return out;
}

/** How many columns a layer has of each unit. */
export function columnsOf({ channels, taps }: Layer, unit: Unit): number {
  return unit === "element" ? channels * taps : unit === "channel" ? channels : taps;
}

/** The column of channel c and tap t. */
export function columnAt({ taps }: Layer, unit: Unit, c: number, t: number): number {
  return unit === "element" ? c * taps + t : unit === "channel" ? c : t;
}

export interface Weighing {
  readonly unit: Unit;
  readonly saliency: Saliency;
  /** E[x²] of each input channel; saliency "data". */
  readonly power?: Float64Array | undefined;
  /** 1: the input channel is gone already, and its columns weigh nothing. */
  readonly dead?: Uint8Array | undefined;
}

/**
 * Saliencies of group `g`: |ŵ|, ŵ² or ŵ²·E[x²] with ŵ scaled as by batch normalisation, summed over the cells of a column of the unit.
 * All taps of a channel share its E[x²], which is exact but for the border.
 */
export function matrixOf(layer: Layer, g: number, weights: Float64Array, { unit, saliency, power, dead }: Weighing): Float64Array {
  const { filters, groups, channels, taps, scale } = layer;
  const m = filters / groups;
  const n = columnsOf(layer, unit);
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    const row = g * m + i;
    for (let c = 0; c < channels; c++) {
      if (dead?.[c]) continue;
      const by = saliency === "data" ? (power?.[g * channels + c] ?? 1) : 1;
      for (let t = 0; t < taps; t++) {
        const w = Math.abs((weights[(row * channels + c) * taps + t] as number) * (scale[row] as number));
        const at = i * n + columnAt(layer, unit, c, t);
        out[at] = (out[at] as number) + (saliency === "abs" ? w : w * w * by);
      }
    }
  }
  return out;
}

/** E[x²] from moments. */
export function powerOf({ mean, variance }: Moments): Float64Array {
  return mean.map((m, c) => m * m + (variance[c] as number));
}
