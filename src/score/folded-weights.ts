/**
 * The weights of a group's channels in the BN-folded domain: ŵ_k = s_k·w_k and b̂_k = s_k(b_k − μ_k) + β_k with
 * s = γ/√(σ²+ε). Exporters fold batch normalisation or not as they like; scores must not depend on it, and two equal w under
 * different normalisations are not two equal filters.
 */
import type { ConstantSlot, Group, Role } from "../graph/coupling/groups.js";
import { isFloat } from "../graph/dtype.js";
import type { Node, Use, Value } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";
import { type Chain, chainOf, type Linear, linearOf, normAffine, type ShapeOf, scaleChannels } from "./affine.js";
import { unpacked } from "./packed-weights.js";
import { dequantiser } from "./quantised-weights.js";

/** What the channels of a group hold in one constant, at one of its reads. */
export interface SlotVectors {
  readonly slot: ConstantSlot;
  /** The reads these are the weights of: several where they amount to the same. */
  readonly reads: readonly Use[];
  /** Extents of the weight. `vectors` are cut from it at the channel's positions (and the slot's rows). */
  readonly dims: readonly number[];
  /** Axes that run over the taps of a kernel. */
  readonly taps: readonly number[];
  /** Weights of channel k: its positions along the slot's axis, row-major; empty where the channel has none. */
  readonly vectors: readonly Float64Array[];
  /** b̂ at each of the channel's positions; empty for consumers and where nothing adds a bias. */
  readonly biases: readonly Float64Array[];
}

/** Norms of the channels in one producer. A channel without positions there has NaN. */
export interface SlotNorms {
  readonly slot: ConstantSlot;
  readonly norms: Float64Array;
}

/**
 * Reader of folded weights. Holds nothing but the tensor it folded last: each call reads the model anew.
 *
 * Followed are linear nodes read directly, and through Identity, Cast, Transpose and DequantizeLinear of the weight; operators on
 * quantised weights are read as the real numbers these stand for.
 * Normalisations that do not directly follow a linear node (before it, or behind an Add of two branches) are not folded:
 * they appear among `vectors`.
 */
export class FoldedWeights {
  readonly #shapeOf: ShapeOf;
  #last: { readonly value: Value; readonly node: Node; readonly data: ArrayLike<number> } | undefined;

  constructor(shapeOf: ShapeOf) {
    this.#shapeOf = shapeOf;
  }

  /** Filters of each producer slot, one entry per distinct read. */
  producers(group: Group): SlotVectors[] {
    return this.#reads(group, "producer").map(({ slot, read, reads }) => {
      const vectors = vectorsOf(group, slot, this.#data(slot.value, read), read.dims);
      return { slot, reads, dims: read.dims, taps: read.taps, vectors, biases: biasesOf(group, slot, read) };
    });
  }

  /** Outgoing slices of each consumer slot; rows carry the fold of the consumer itself. */
  consumers(group: Group): SlotVectors[] {
    return this.#reads(group, "consumer").map(({ slot, read, reads }) => {
      const vectors = vectorsOf(group, slot, this.#data(slot.value, read), read.dims);
      return { slot, reads, dims: read.dims, taps: read.taps, vectors, biases: vectors.map(() => NOTHING) };
    });
  }

  /**
   * Per-channel parameters that no producer's fold accounts for: slopes of PRelu, the scale and shift of a normalisation
   * after an Add. Parameters of such a BatchNormalization come as the two vectors of its affine map.
   */
  vectors(group: Group): SlotVectors[] {
    const absorbed = new Map<Node, Set<number>>();
    for (const { read } of this.#reads(group, "producer")) {
      for (const { node, index } of read.chain?.absorbed ?? []) absorbed.set(node, (absorbed.get(node) ?? new Set()).add(index));
    }
    const out: SlotVectors[] = [];
    for (const slot of group.slots) {
      if (slot.role !== "vector") continue;
      for (const use of slot.uses) {
        if (absorbed.get(use.node)?.has(use.index) || roleOf(slot, readOf(slot, use, this.#shapeOf)) !== "vector") continue;
        const tensor = slot.value.constant as Tensor;
        for (const data of looseVectors(use, tensor)) {
          const vectors = vectorsOf(group, slot, data, tensor.dims);
          out.push({ slot, reads: [use], dims: tensor.dims, taps: [], vectors, biases: vectors.map(() => NOTHING) });
        }
      }
    }
    return out;
  }

  /** The values at which each producer's chain of per-channel maps ends; undefined where a producer is no linear node. */
  producerEnds(group: Group): (Value | undefined)[] {
    return this.#reads(group, "producer").map(({ read }) => read.chain?.end);
  }

  /**
   * L1 or L2 norm of each channel in each producer (with `bias`: of filter and bias together), without copying weights.
   */
  producerNorms(group: Group, p: 1 | 2, bias: boolean): SlotNorms[] {
    return this.#norms(group, "producer", p, bias);
  }

  /** The same of the outgoing slices. */
  consumerNorms(group: Group, p: 1 | 2): SlotNorms[] {
    return this.#norms(group, "consumer", p, false);
  }

  #norms(group: Group, role: "producer" | "consumer", p: 1 | 2, bias: boolean): SlotNorms[] {
    return this.#reads(group, role).map(({ slot, read }) => {
      // A producer's scale is one number per position and leaves the sum; a consumer's differs from row to row.
      const scale = role === "producer" ? read.chain?.scale : undefined;
      const data = scale ? read.raw() : this.#data(slot.value, read);
      const biases = bias ? biasesOf(group, slot, read) : undefined;
      const { dims } = read;
      const norms = Float64Array.from(group.choices, (_, k) => {
        const positions = slot.positions(k);
        if (positions.length === 0) return Number.NaN;
        let total = 0;
        for (const at of positions) {
          const s = scale ? Math.abs(scale[channelOf(slot, read, at)] as number) : 1;
          total += (p === 1 ? s : s * s) * powerSum(data, dims, slot.axis, at, slot.rows, p);
        }
        for (const b of biases?.[k] ?? NOTHING) total += p === 1 ? Math.abs(b) : b * b;
        return p === 1 ? total : Math.sqrt(total);
      });
      return { slot, norms };
    });
  }

  /** Each slot of a role with each of its reads; reads that amount to the same weights count once. */
  #reads(
    group: Group,
    role: "producer" | "consumer",
  ): { readonly slot: ConstantSlot; readonly read: Read; readonly reads: readonly Use[] }[] {
    return group.slots.flatMap((slot) => {
      // Of the bulk of vectors (biases, statistics) only those read as a weight can be anything else.
      if (slot.role === "vector" && (role === "consumer" || !slot.uses.some((u) => u.index === 1))) return [];
      const plain: Use[] = [];
      return slot.uses.flatMap((use) => {
        const read = readOf(slot, use, this.#shapeOf);
        if (roleOf(slot, read) !== role) return [];
        const isPlain = !read.chain || (read.chain.bias === undefined && read.chain.scale.every((s) => s === 1));
        if (isPlain) plain.push(use);
        if (isPlain && plain.length > 1) return [];
        return [{ slot, read, reads: isPlain ? plain : [use] }];
      });
    });
  }

  #data(value: Value, read: Read): ArrayLike<number> {
    const { chain, linear } = read;
    if (!chain || !linear || chain.scale.every((s) => s === 1)) return read.raw();
    if (this.#last?.value === value && this.#last.node === linear.node) return this.#last.data;
    const data = scaleChannels(read.raw(), (value.constant as Tensor).dims, read.axis, linear.groups, chain.scale);
    this.#last = { value, node: linear.node, data };
    return data;
  }
}

const NOTHING = new Float64Array(0);

/** One read of a constant: the numbers it stands for and, when a linear node reads it, what becomes of them. */
interface Read {
  /** Reads anew each time: a group may have more weights than there is memory. */
  readonly raw: () => ArrayLike<number>;
  readonly dims: readonly number[];
  readonly taps: readonly number[];
  readonly linear: Linear | undefined;
  readonly chain: Chain | undefined;
  /** Axis of the stored tensor that makes output channels of `linear`. */
  readonly axis: number;
}

function readOf(slot: ConstantSlot, use: Use, shapeOf: ShapeOf): Read {
  const tensor = slot.value.constant as Tensor;
  const operand = follow(tensor, use);
  const { node, index } = operand.use;
  const linear = linearOf(node, index, tensor.dims.length);
  // Axis a of the weight, as the node reads it, is stored as axis perm[a].
  const taps = node.opType.includes("Conv") ? operand.dims.map((_, a) => operand.perm?.[a] ?? a).slice(2) : [];
  // Blocks of a grouped weight are counted along its first axis, which a Transpose would move.
  if (!linear || !node.outputs[0] || (linear.groups > 1 && operand.perm))
    return { raw: operand.numbers, dims: operand.dims, taps, linear: undefined, chain: undefined, axis: -1 };
  const axis = operand.perm ? (operand.perm[linear.axis] as number) : linear.axis;
  const chain = chainOf(linear, (tensor.dims[axis] as number) * linear.groups, shapeOf);
  return { raw: operand.numbers, dims: operand.dims, taps, linear, chain, axis };
}

/**
 * What this read of the constant does with the channels. The slot's own role speaks for all of its reads: a tied matrix may
 * make channels at one node and read them at another, and a filter of one weight per channel looks like a vector.
 */
function roleOf(slot: ConstantSlot, read: Read): Role {
  return read.linear && read.axis === slot.axis ? "producer" : slot.role;
}

interface Operand {
  readonly use: Use;
  readonly numbers: () => ArrayLike<number>;
  /** Extents of `numbers`; the tensor's, but where numbers are packed into its bytes. */
  readonly dims: readonly number[];
  readonly perm: readonly number[] | undefined;
}

/** Where a weight is multiplied, when it first passes through nodes that move or convert it, and its numbers there. */
function follow(tensor: Tensor, from: Use): Operand {
  let use = from;
  let numbers = (): ArrayLike<number> => tensor.numbers();
  let perm: readonly number[] | undefined;
  for (;;) {
    const { node, index } = use;
    const next = node.outputs[0];
    if (index !== 0 || !next || next.useCount !== 1 || next.isOutput) break;
    if (!node.isStandard && node.qualifiedType !== "com.microsoft.DequantizeLinear") break;
    if (node.opType === "Transpose") {
      const step = node.ints(
        "perm",
        tensor.dims.map((_, a) => tensor.dims.length - 1 - a),
      );
      const before = perm;
      perm = before ? step.map((a) => before[a] as number) : step;
    } else if (node.opType === "DequantizeLinear") {
      const real = perm ? undefined : dequantiser(tensor, use);
      if (!real) break;
      const quantised = numbers;
      numbers = () => real(quantised());
    } else if (node.opType !== "Identity" && !(node.opType === "Cast" && isFloat(tensor.dtype))) break;
    use = next.uses()[0] as Use;
  }
  const whole = use === from ? unpacked(tensor, use) : undefined;
  if (whole) return { use, ...whole, perm };
  // Integer operators take scale and zero point along with the weight itself.
  if (use.node.opType !== "DequantizeLinear" && !perm) {
    const [real, quantised] = [dequantiser(tensor, use), numbers];
    if (real) numbers = () => real(quantised());
  }
  return { use, numbers, dims: tensor.dims, perm };
}

/** Output channel of the linear node that position `at` of a producer slot makes. */
function channelOf(slot: ConstantSlot, read: Read, at: number): number {
  const groups = read.linear?.groups ?? 1;
  if (groups === 1 || !slot.rows) return at;
  const dims = (slot.value.constant as Tensor).dims;
  return Math.floor((slot.rows[0] * groups) / (dims[0] as number)) * (dims[slot.axis] as number) + at;
}

function biasesOf(group: Group, slot: ConstantSlot, read: Read): Float64Array[] {
  const bias = read.axis === slot.axis ? read.chain?.bias : undefined;
  return group.choices.map((_, k) =>
    bias ? Float64Array.from(slot.positions(k), (at) => bias[channelOf(slot, read, at)] as number) : NOTHING,
  );
}

/** The numbers of a vector parameter; of a BatchNormalization its scale and shift, once. */
function looseVectors(use: Use, tensor: Tensor): ArrayLike<number>[] {
  const { node, index } = use;
  if (node.isStandard && node.opType === "BatchNormalization") {
    const map = normAffine(node);
    if (typeof map !== "string") return index === 1 ? [map.scale, map.shift] : [];
  }
  return [tensor.numbers()];
}

function vectorsOf(group: Group, slot: ConstantSlot, data: ArrayLike<number>, dims: readonly number[]): Float64Array[] {
  return group.choices.map((_, k) => slice(data, dims, slot.axis, slot.positions(k), slot.rows));
}

/** Extents around `axis`, and the range of outer indices that `rows` of axis 0 stand for. */
function layout(dims: readonly number[], axis: number, rows: readonly [number, number] | undefined) {
  let outer = 1;
  for (let a = 0; a < axis; a++) outer *= dims[a] as number;
  let inner = 1;
  for (let a = axis + 1; a < dims.length; a++) inner *= dims[a] as number;
  const perRow = rows ? outer / (dims[0] as number) : 1;
  return { n: dims[axis] as number, inner, from: rows ? rows[0] * perRow : 0, to: rows ? rows[1] * perRow : outer };
}

/** The elements at `positions` of `axis`, outer index first, then position, then the axes behind. */
function slice(
  data: ArrayLike<number>,
  dims: readonly number[],
  axis: number,
  positions: readonly number[],
  rows: readonly [number, number] | undefined,
): Float64Array {
  const { n, inner, from, to } = layout(dims, axis, rows);
  const out = new Float64Array((to - from) * positions.length * inner);
  let at = 0;
  for (let o = from; o < to; o++) {
    for (const p of positions) {
      const start = (o * n + p) * inner;
      for (let i = 0; i < inner; i++) out[at++] = data[start + i] as number;
    }
  }
  return out;
}

/** Σ|x|^p over position `at` of `axis`. */
function powerSum(
  data: ArrayLike<number>,
  dims: readonly number[],
  axis: number,
  at: number,
  rows: readonly [number, number] | undefined,
  p: 1 | 2,
): number {
  const { n, inner, from, to } = layout(dims, axis, rows);
  let total = 0;
  for (let o = from; o < to; o++) {
    const start = (o * n + at) * inner;
    for (let i = start; i < start + inner; i++) {
      const x = data[i] as number;
      total += p === 1 ? Math.abs(x) : x * x;
    }
  }
  return total;
}
