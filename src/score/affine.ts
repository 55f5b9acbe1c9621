/** Linear nodes (Conv, ConvTranspose, Gemm, MatMul) and the per-channel maps y = scale·x + shift that follow them. */
import type { Dim } from "../graph/dim.js";
import type { Node, Use, Value } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";

/** y = scale·x + shift, one entry per channel. */
export interface Affine {
  readonly scale: Float64Array;
  readonly shift: Float64Array;
}

/** A node that multiplies by a constant weight, and where its output channels lie. */
export interface Linear {
  readonly node: Node;
  /** Axis of the weight, as the node reads it, that makes the output channels. */
  readonly axis: number;
  /**
   * A grouped ConvTranspose has W [C, M/groups, …]: position p of axis 1 makes channel p of the group that the row
   * (axis 0) belongs to. 1 everywhere else: positions are channels.
   */
  readonly groups: number;
  /** Factor on the product (alpha of Gemm). */
  readonly factor: number;
}

export type ShapeOf = (value: Value) => readonly Dim[] | undefined;

/** `node` as a linear map by its input `index`, a weight of `rank` axes; undefined for every other role. */
export function linearOf(node: Node, index: number, rank: number): Linear | undefined {
  if (!node.isStandard || index !== 1) return undefined;
  switch (node.opType) {
    case "Conv":
      return { node, axis: 0, groups: 1, factor: 1 };
    case "ConvTranspose":
      return { node, axis: 1, groups: node.int("group", 1), factor: 1 };
    case "Gemm":
      return { node, axis: node.int("transB", 0) !== 0 ? 0 : 1, groups: 1, factor: node.float("alpha", 1) };
    case "MatMul":
      return rank >= 2 ? { node, axis: rank - 1, groups: 1, factor: 1 } : undefined;
    default:
      return undefined;
  }
}

/** Rank of the output of a linear node and the axis its channels lie on; undefined when the rank is unknown. */
export function channelAxis(linear: Linear, shapeOf: ShapeOf): { readonly rank: number; readonly axis: number } | undefined {
  const { node } = linear;
  if (node.opType === "Gemm") return { rank: 2, axis: 1 };
  const Y = node.outputs[0];
  const rank = (Y && shapeOf(Y))?.length ?? (node.opType === "MatMul" ? undefined : node.inputs[1]?.constant?.dims.length);
  if (rank === undefined) return undefined;
  return { rank, axis: node.opType === "MatMul" ? rank - 1 : 1 };
}

/**
 * `tensor`, broadcast onto a value of `rank` axes, as one number per channel of `axis`; undefined when it varies along
 * another axis, or grows the value.
 */
export function perChannel(tensor: Tensor, rank: number, axis: number, channels: number): Float64Array | undefined {
  const { dims } = tensor;
  if (dims.length > rank) return undefined;
  const at = axis - (rank - dims.length);
  if (dims.some((d, a) => d !== 1 && (a !== at || d !== channels))) return undefined;
  const numbers = tensor.numbers();
  return numbers.length === channels ? Float64Array.from(numbers) : new Float64Array(channels).fill(numbers[0] as number);
}

/**
 * The affine map of an inference-mode BatchNormalization with constant parameters: γ/√(σ²+ε) and β − μγ/√(σ²+ε).
 * Otherwise a sentence that says why it is none.
 */
export function normAffine(node: Node): Affine | string {
  if (node.int("training_mode", 0) !== 0 || node.int("is_test", 1) === 0) return "it is in training mode";
  if (node.outputs.slice(1).some((o) => o && (o.useCount > 0 || o.isOutput))) return "its statistics outputs are read";
  if (node.int("spatial", 1) !== 1) return "it normalises every position by itself (spatial = 0)";
  const parameters = [1, 2, 3, 4].map((i) => node.inputs[i]?.constant);
  const [gamma, beta, mean, variance] = parameters.map((t) => t?.numbers());
  if (!gamma || !beta || !mean || !variance) return "its parameters are not all constants";
  const epsilon = node.float("epsilon", 1e-5);
  const scale = Float64Array.from(gamma, (g, k) => g / Math.sqrt((variance[k] as number) + epsilon));
  const shift = Float64Array.from(beta, (b, k) => b - (mean[k] as number) * (scale[k] as number));
  if (!scale.every(Number.isFinite) || !shift.every(Number.isFinite))
    return "its variance or another parameter is not a positive finite number";
  return { scale, shift };
}

/** What the bias of a linear node adds, one number per channel; undefined when there is none, "other" when it is no such vector. */
export function biasOf(node: Node, channels: number): Float64Array | undefined | "other" {
  const value = node.opType === "MatMul" ? undefined : node.inputs[2];
  if (!value) return undefined;
  const tensor = value.constant;
  if (!tensor) return "other";
  if (node.opType !== "Gemm") return Float64Array.from(tensor.numbers());
  const beta = node.float("beta", 1);
  return perChannel(tensor, 2, 1, channels)?.map((b) => beta * b) ?? "other";
}

/** A linear node together with the per-channel maps that alone read it. */
export interface Chain {
  /** On the weights of each output channel. */
  readonly scale: Float64Array;
  /** The bias of each output channel; undefined when nothing in the chain adds one. */
  readonly bias: Float64Array | undefined;
  /** Parameters that are accounted for in scale and bias. */
  readonly absorbed: readonly Use[];
  /** The value after the last map. */
  readonly end: Value;
}

/**
 * ŵ = scale·w and b̂ of a linear node: BatchNormalization and constant per-channel Add, Sub, Mul and Div are followed for
 * as long as each is the only reader of the one before.
 */
export function chainOf(linear: Linear, channels: number, shapeOf: ShapeOf): Chain {
  const { node } = linear;
  const scale = new Float64Array(channels).fill(linear.factor);
  const own = biasOf(node, channels);
  let bias = own === "other" ? undefined : own;
  const absorbed: Use[] = bias ? [{ node, index: 2 }] : [];
  let end = node.outputs[0] as Value;
  const where = channelAxis(linear, shapeOf);
  while (where && own !== "other" && end.useCount === 1 && !end.isOutput) {
    const use = end.uses()[0] as Use;
    const next = use.node;
    const step = next.graph === node.graph ? mapOf(next, use.index, where, channels) : undefined;
    if (!step) break;
    const { map } = step;
    for (let k = 0; k < channels; k++) scale[k] = (scale[k] as number) * (map.scale[k] as number);
    const before = bias;
    bias = map.shift.map((s, k) => (before ? (before[k] as number) * (map.scale[k] as number) : 0) + s);
    absorbed.push(...step.parameters.map((index) => ({ node: next, index })));
    end = next.outputs[0] as Value;
  }
  return { scale, bias, absorbed, end };
}

/** `node` as a per-channel affine map of its input `index`, and the inputs that hold its parameters. */
export function mapOf(
  node: Node,
  index: number,
  where: { readonly rank: number; readonly axis: number },
  channels: number,
): { readonly map: Affine; readonly parameters: readonly number[] } | undefined {
  if (!node.isStandard) return undefined;
  if (node.opType === "BatchNormalization") {
    const map = index === 0 && where.axis === 1 ? normAffine(node) : "";
    return typeof map === "string" || map.scale.length !== channels ? undefined : { map, parameters: [1, 2, 3, 4] };
  }
  if (!["Add", "Sub", "Mul", "Div"].includes(node.opType)) return undefined;
  const tensor = node.inputs[1 - index]?.constant;
  const c = tensor && perChannel(tensor, where.rank, where.axis, channels);
  if (!c) return undefined;
  const parameters = [1 - index];
  const constant = (x: number) => new Float64Array(channels).fill(x);
  if (node.opType === "Add") return { map: { scale: constant(1), shift: c }, parameters };
  if (node.opType === "Mul") return { map: { scale: c, shift: constant(0) }, parameters };
  if (node.opType === "Sub") {
    return { map: index === 0 ? { scale: constant(1), shift: c.map((x) => -x) } : { scale: constant(-1), shift: c }, parameters };
  }
  return index === 0 && c.every((x) => x !== 0) ? { map: { scale: c.map((x) => 1 / x), shift: constant(0) }, parameters } : undefined;
}

/**
 * The weight, as float64, with each output channel multiplied by its scale; `axis` and `groups` are those of the linear
 * node, in the order in which `dims` are stored.
 */
export function scaleChannels(
  data: ArrayLike<number>,
  dims: readonly number[],
  axis: number,
  groups: number,
  scale: Float64Array,
): Float64Array {
  const n = dims[axis] as number;
  let inner = 1;
  for (let a = axis + 1; a < dims.length; a++) inner *= dims[a] as number;
  const out = new Float64Array(data.length);
  const outer = data.length / (n * inner);
  let at = 0;
  for (let o = 0; o < outer; o++) {
    const block = Math.floor((o * groups) / outer) * n;
    for (let p = 0; p < n; p++) {
      const s = scale[block + p] as number;
      for (const to = at + inner; at < to; at++) out[at] = (data[at] as number) * s;
    }
  }
  return out;
}
