/** What the instrumented graph computes at a tap: small tensors, reduced per sample where the statistic needs samples. */
import { type Attribute, int, ints } from "../../graph/attribute.js";
import type { DType } from "../../graph/dtype.js";
import type { Graph, Value } from "../../graph/graph.js";
import { Tensor } from "../../graph/tensor.js";
import type { PatchesRequest } from "./request.js";

/**
 * A tensor that leaves the graph. Of a value [N, C, …] (its channel axis C wherever it lies), "centred" meaning less the pivot:
 * - `mean`, `square`: [N, C], of the centred values and of their squares, over the positions
 * - `max`, `min`: [N, C], over the positions
 * - `rectified`, `positive`, `negative`: [N, C], mean of max(x, 0), shares of x > 0 and of x < 0
 * - `grid`: [N, C, ≤4, ≤4], every so many positions (rank 4 with channels on axis 1), else the value itself
 * - `gram`, `gram:g`: the upper block triangle of [C, C] (gramRows), sums over the batch of products of centred channels; maps pooled to g × g
 * - `mean:g`: [N, C], of the centred, pooled maps
 * - `extent`: the dims of the value
 * - `patches:…`: the upper block triangle of [D, D], sums over the batch of products of the entries of patches (less the pivot of their
 *   channel, in the pads too); `patches-mean:…` [D]: their means; `patches-extent:…`: D and the number of patches
 */
export type Reduction =
  | "mean"
  | "square"
  | "max"
  | "min"
  | "rectified"
  | "positive"
  | "negative"
  | "grid"
  | "extent"
  | `gram:${number}`
  | "gram"
  | `mean:${number}`
  | `patches${"" | "-mean" | "-extent"}:${string}`;

/** The reductions of a request for patches. */
export function patchReductions({ window, channels, every }: PatchesRequest): {
  readonly product: Reduction;
  readonly mean: Reduction;
  readonly extent: Reduction;
} {
  const key = JSON.stringify({ window, channels, every } satisfies Patches);
  return { product: `patches:${key}`, mean: `patches-mean:${key}`, extent: `patches-extent:${key}` };
}
type Patches = Pick<PatchesRequest, "window"> & { readonly [k in "channels" | "every"]: PatchesRequest[k] | undefined };

/** A value whose channels are measured. */
export interface Tapped {
  readonly name: string;
  readonly dtype: DType;
  readonly axis: number;
  readonly rank: number;
  /** Extents, where known. */
  readonly extents: readonly (number | undefined)[];
  /** Subtracted from each channel before sums of squares, so that a mean far from 0 costs no digits. */
  readonly pivot: Float32Array | undefined;
}

/** Positions per side of the grid on which pixels are sampled. */
const GRID = 4;

/** Emits reductions of one tap at the end of the graph; what several share is computed once. */
export class Emitter {
  readonly #graph: Graph;
  readonly #value: Value;
  readonly #tap: Tapped;
  readonly #opset: number;
  readonly #made = new Map<string, Value>();
  readonly #prefix: string;

  /** `prefix` begins the names of what is made. */
  constructor(graph: Graph, tap: Tapped, opset: number, prefix: string) {
    this.#graph = graph;
    this.#value = graph.value(tap.name) as Value;
    this.#tap = tap;
    this.#opset = opset;
    this.#prefix = prefix;
  }

  emit(reduction: Reduction): Value {
    return this.#once(reduction, () => {
      switch (reduction) {
        case "mean":
          return this.#average(this.#centred());
        case "square":
          return this.#average(this.#squared());
        case "max":
          return this.#maximum(this.#float());
        case "min":
          return this.#node("Neg", [this.#maximum(this.#node("Neg", [this.#float()]))]);
        case "rectified":
          return this.#average(this.#node("Relu", [this.#float()]));
        case "positive":
          return this.#average(this.#share("Greater"));
        case "negative":
          return this.#average(this.#share("Less"));
        case "grid":
          return this.#grid();
        case "extent":
          return this.#node("Shape", [this.#value]);
        case "gram":
          return this.#gram(this.#centred());
        default: {
          if (reduction.startsWith("patches")) return this.#ofPatches(reduction);
          const side = Number(reduction.slice(reduction.indexOf(":") + 1));
          const pooled = this.#once(`pooled:${side}`, () => this.#pooled(this.#centred(), side));
          return reduction.startsWith("gram") ? this.#gram(pooled) : this.#average(pooled);
        }
      }
    });
  }

  #once(key: string, make: () => Value): Value {
    const have = this.#made.get(key);
    if (have) return have;
    const made = make();
    this.#made.set(key, made);
    return made;
  }

  #node(opType: string, inputs: readonly Value[], attributes: Readonly<Record<string, Attribute>> = {}): Value {
    const node = this.#graph.insertNode(opType, inputs, { outputs: [`${this.#prefix}_${opType}`], attributes });
    return node.outputs[0] as Value;
  }
  #constant(tensor: Tensor): Value {
    return this.#graph.addInitializer(`${this.#prefix}_constant`, tensor);
  }
  #shape(dims: readonly number[]): Value {
    return this.#constant(Tensor.ints(dims));
  }

  #float(): Value {
    const value = this.#value;
    return this.#tap.dtype === "float32" ? value : this.#once("float", () => this.#node("Cast", [value], { to: int(1) }));
  }
  #centred(): Value {
    const { pivot, axis, rank } = this.#tap;
    if (!pivot) return this.#float();
    const dims = Array.from({ length: rank }, (_, a) => (a === axis ? pivot.length : 1));
    return this.#once("centred", () => this.#node("Sub", [this.#float(), this.#constant(Tensor.floats(dims, pivot))]));
  }
  #squared(): Value {
    const x = this.#centred();
    return this.#once("squared", () => this.#node("Mul", [x, x]));
  }
  #share(opType: "Greater" | "Less"): Value {
    const is = this.#node(opType, [this.#float(), this.#constant(Tensor.floats([], [0]))]);
    return this.#node("Cast", [is], { to: int(1) });
  }

  /** Global pooling stays in the blocked layout of convolutions (measured: 5–20 % where ReduceMean takes 24–33 %). */
  #average(x: Value): Value {
    if (this.#isPoint()) return x;
    if (this.#tap.axis === 1 && this.#tap.rank >= 3) return this.#node("GlobalAveragePool", [x]);
    return this.#reduced("ReduceMean", x);
  }
  #maximum(x: Value): Value {
    if (this.#isPoint()) return x;
    if (this.#tap.axis === 1 && this.#tap.rank >= 3) return this.#node("GlobalMaxPool", [x]);
    return this.#reduced("ReduceMax", x);
  }
  #reduced(opType: string, x: Value): Value {
    const axes = Array.from({ length: this.#tap.rank }, (_, a) => a).filter((a) => a !== 0 && a !== this.#tap.axis);
    if (this.#opset >= 18) return this.#node(opType, [x, this.#shape(axes)], { keepdims: int(0) });
    return this.#node(opType, [x], { axes: ints(axes), keepdims: int(0) });
  }
  #isPoint(): boolean {
    return this.#tap.rank === 2;
  }

  #grid(): Value {
    const { rank, axis, extents } = this.#tap;
    const [h, w] = [extents[2], extents[3]];
    if (rank !== 4 || axis !== 1 || h === undefined || w === undefined) return this.#float();
    const steps = [h, w].map((n) => Math.ceil(n / GRID));
    if (steps.every((s) => s === 1)) return this.#float();
    // A pool of single positions: strides in the blocked layout, in every opset.
    return this.#node("MaxPool", [this.#float()], { kernel_shape: ints([1, 1]), strides: ints(steps) });
  }

  /** Adaptive average pooling: cell i of n positions averages those from ⌊i·n/g⌋ to ⌈(i+1)·n/g⌉. */
  #pooled(x: Value, side: number): Value {
    const { rank, axis, extents } = this.#tap;
    const [h, w] = [extents[2], extents[3]];
    if (rank !== 4 || axis !== 1 || h === undefined || w === undefined || (h <= side && w <= side)) return x;
    const [gh, gw] = [Math.min(h, side), Math.min(w, side)];
    if (h % gh === 0 && w % gw === 0) {
      const kernel = ints([h / gh, w / gw]);
      return this.#node("AveragePool", [x], { kernel_shape: kernel, strides: kernel });
    }
    const rows = gw === w ? x : this.#node("MatMul", [x, this.#constant(pooling(w, gw, true))]);
    return gh === h ? rows : this.#node("MatMul", [this.#constant(pooling(h, gh, false)), rows]);
  }

  #ofPatches(reduction: Reduction): Value {
    const at = reduction.indexOf(":");
    const key = reduction.slice(at + 1);
    const rows = this.#once(`patches of ${key}`, () => this.#patches(JSON.parse(key) as Patches));
    switch (reduction.slice(0, at)) {
      case "patches-mean":
        if (this.#opset >= 18) return this.#node("ReduceMean", [rows, this.#shape([1])], { keepdims: int(0) });
        return this.#node("ReduceMean", [rows], { axes: ints([1]), keepdims: int(0) });
      case "patches-extent":
        return this.#node("Shape", [rows]);
      default:
        return this.#products(rows, this.#patchSize(JSON.parse(key) as Patches));
    }
  }
  #patchSize({ window, channels }: Patches): number {
    const [from, to] = channels ?? [0, this.#tap.extents[1] as number];
    return window.kernel.reduce((a, b) => a * b, to - from);
  }
  /**
   * [D, patches], by a depthwise convolution whose kernels are the taps: as fast as slices of each tap (measured at 3 × 3 on 16 × 32²,
   * 32 × 16², 64 × 8²: 1 ms a batch of 8 beside 1.4 for the product), and padding is the operator's own.
   */
  #patches({ window, channels, every = 1 }: Patches): Value {
    const { kernel, strides, pads, dilations } = window;
    const [from, to] = channels ?? [0, this.#tap.extents[1] as number];
    const taps = kernel.reduce((a, b) => a * b, 1);
    const D = (to - from) * taps;
    const x = channels ? this.#sliced(this.#float(), 1, from, to) : this.#float();
    const order = Array.from({ length: this.#tap.rank }, (_, a) => (a === 0 ? 1 : a === 1 ? 0 : a));
    const picks = new Float32Array(D * taps);
    for (let d = 0; d < D; d++) picks[d * taps + (d % taps)] = 1;
    const seen = this.#node("Conv", [x, this.#constant(Tensor.floats([D, 1, ...kernel], picks))], {
      group: int(to - from),
      kernel_shape: ints(kernel),
      strides: ints(strides.map((s) => s * every)),
      pads: ints(pads),
      dilations: ints(dilations),
    });
    const rows = this.#node("Reshape", [this.#node("Transpose", [seen], { perm: ints(order) }), this.#shape([D, -1])]);
    const { pivot } = this.#tap;
    if (!pivot) return rows;
    const ofEntry = Float32Array.from({ length: D }, (_, d) => pivot[from + Math.floor(d / taps)] as number);
    return this.#node("Sub", [rows, this.#constant(Tensor.floats([D, 1], ofEntry))]);
  }

  /** X Xᵀ of X [C, positions]. */
  #gram(x: Value): Value {
    const { rank, axis, extents } = this.#tap;
    const order = [axis, ...Array.from({ length: rank }, (_, a) => a).filter((a) => a !== axis)];
    const channelsFirst = this.#node("Transpose", [x], { perm: ints(order) });
    const C = extents[axis] as number;
    return this.#products(rank === 2 ? channelsFirst : this.#node("Reshape", [channelsFirst, this.#shape([C, -1])]), C);
  }
  /** X Xᵀ of X [C, positions], block rows from the diagonal on (gramRows). ONNX Runtime transposes inside the product. */
  #products(flat: Value, C: number): Value {
    const product = (rows: Value, all: Value) => this.#node("MatMul", [rows, this.#node("Transpose", [all], { perm: ints([1, 0]) })]);
    const blocks = gramRows(C);
    if (blocks.length === 1) return product(flat, flat);
    const parts = blocks.map(([from, to]) => {
      const rest = from === 0 ? flat : this.#sliced(flat, 0, from, C);
      return this.#node("Reshape", [product(this.#sliced(flat, 0, from, to), rest), this.#shape([-1])]);
    });
    return this.#node("Concat", parts, { axis: int(0) });
  }
  #sliced(x: Value, axis: number, from: number, to: number): Value {
    if (this.#opset >= 10) return this.#node("Slice", [x, this.#shape([from]), this.#shape([to]), this.#shape([axis])]);
    return this.#node("Slice", [x], { starts: ints([from]), ends: ints([to]), axes: ints([axis]) });
  }
}

/**
 * Rows [from, to) of the blocks in which a symmetric matrix of C rows is computed: block rows hold columns from `from` on, one
 * after the other. Narrower blocks would save more of the half that is known, and lose more of the speed of large products.
 */
export function gramRows(C: number): readonly (readonly [number, number])[] {
  const blocks = C >= 512 ? 4 : C >= 256 ? 2 : 1;
  return Array.from({ length: blocks }, (_, b) => [Math.floor((b * C) / blocks), Math.floor(((b + 1) * C) / blocks)] as const);
}

/** The matrix that averages n positions into g cells: [n, g], or [g, n] to be multiplied from the left. */
function pooling(n: number, g: number, fromRight: boolean): Tensor {
  const data = new Float32Array(n * g);
  for (let i = 0; i < g; i++) {
    const from = Math.floor((i * n) / g);
    const to = Math.ceil(((i + 1) * n) / g);
    for (let p = from; p < to; p++) data[fromRight ? p * g + i : i * n + p] = 1 / (to - from);
  }
  return Tensor.floats(fromRight ? [n, g] : [g, n], data);
}
