/** The little graph in which ONNX Runtime takes the moments of a layer from batches of what it reads and what it should give. */
import { type Attribute, int, ints } from "../graph/attribute.js";
import type { DType } from "../graph/dtype.js";
import { Graph, type Model, Value } from "../graph/graph.js";
import { random } from "../graph/random.js";
import { Tensor } from "../graph/tensor.js";
import type { Runner, Session } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import type { Layer, Weights } from "../score/layers.js";
import { give, modelAround } from "./little.js";
import { type Extents, patchIndices } from "./patches.js";

/** Values a layer's moments are taken from, in one batch. */
export interface Seen {
  /** What the layer reads. */
  readonly x: Tensor;
  /** What its end should be: the original's value, all channels. */
  readonly target: Tensor;
  /** What is added to the layer's end before `target` (the other operand of a sum). */
  readonly other: Tensor | undefined;
}

/** Layers with more inputs and outputs than this are multiplied in float32, twice as fast; batches are summed in float64 all the same. */
const WIDEST_DOUBLE = 384;

const isDouble = ({ columns, rows }: Layer) => columns + rows <= WIDEST_DOUBLE;

/**
 * Takes V·Vᵀ of V = [patches of x; targets − other; 1] (moments.ts), at `positions` random positions of each map, the same
 * for all samples of a batch: one Gather unfolds the kernel, pads with zeros and samples at once.
 */
export class MomentSession {
  readonly #session: Session;
  readonly #layer: Layer;
  readonly #positions: number;
  readonly #seed: string;
  readonly #rectified: Weights | undefined;

  private constructor(session: Session, layer: Layer, positions: number, seed: string, rectified: Weights | undefined) {
    this.#rectified = rectified;
    this.#session = session;
    this.#layer = layer;
    this.#positions = positions;
    this.#seed = seed;
  }

  /**
   * `kept`: channels of the target that the layer still gives, in its order; undefined: all. `rectified`: what is read is max(target, 0)
   * alone, and these are the weights of the layer; where the target is not positive, what they give, but at most 0, is as good.
   */
  static async open(
    runner: Runner,
    layer: Layer,
    like: Seen,
    kept: readonly number[] | undefined,
    positions: number,
    seed: string,
    rectified?: Weights,
  ): Promise<MomentSession> {
    const model = momentModel(layer, like, kept, rectified !== undefined);
    return new MomentSession(await runner.load(sourceOf(model)), layer, positions, seed, rectified);
  }

  /** Row-major [groups, D, D]. */
  async run(seen: Seen, batch: number): Promise<ArrayLike<number>> {
    const { inside, out } = extentsOf(this.#layer, seen);
    const size = volume(out);
    const chosen = sampled(size, this.#positions, `${this.#seed}/${batch}`);
    const patches = this.#layer.channelsLast
      ? Int32Array.from(chosen)
      : patchIndices(this.#layer.node, inside, out, chosen, volume(inside));
    const rows = (seen.x.dims[0] as number) * chosen.length;
    const dtype = isDouble(this.#layer) ? "float64" : "float32";
    const feeds: Record<string, Tensor> = {
      x: seen.x,
      target: seen.target,
      patches: indexTensor(patches),
      places: indexTensor(Int32Array.from(chosen)),
      ones: Tensor.fromNumbers(dtype, [this.#layer.groups, 1, rows], new Float64Array(this.#layer.groups * rows).fill(1)),
    };
    if (seen.other) feeds["other"] = seen.other;
    if (this.#rectified) {
      const { groups, rows: outputs, columns } = this.#layer;
      feeds["weights"] = Tensor.fromNumbers(dtype, [groups, outputs, columns], this.#rectified.weight);
      feeds["biases"] = Tensor.fromNumbers(dtype, [groups, outputs, 1], this.#rectified.bias);
    }
    const { moments } = await this.#session.run(feeds);
    return (moments as Tensor).numbers();
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

/** Positions of the output a layer has per sample. */
export function positionsOf(layer: Layer, seen: Seen): number {
  return volume(extentsOf(layer, seen).out);
}

function extentsOf({ channelsLast }: Layer, { x, target }: Seen): { readonly inside: Extents; readonly out: Extents } {
  if (!channelsLast) return { inside: x.dims.slice(2), out: target.dims.slice(2) };
  // [N, S, K]: all between samples and channels are positions.
  const between = [volume(x.dims.slice(1, -1))];
  return { inside: between, out: between };
}

const volume = (dims: readonly number[]) => dims.reduce((n, d) => n * d, 1);

const indexTensor = (values: Int32Array) => Tensor.ofBytes("int32", [values.length], new Uint8Array(values.buffer));

/** `count` of `size` positions, ascending; all where there are no more. */
function sampled(size: number, count: number, seed: string): number[] {
  const all = Array.from({ length: size }, (_, i) => i);
  if (count >= size) return all;
  const uniform = random(seed);
  for (let k = 0; k < count; k++) {
    const j = k + Math.floor(uniform() * (size - k));
    [all[k], all[j]] = [all[j] as number, all[k] as number];
  }
  return all.slice(0, count).sort((a, b) => a - b);
}

function momentModel(layer: Layer, like: Seen, kept: readonly number[] | undefined, isRectified: boolean): Model {
  const graph = new Graph("moments");
  const input = (name: string, dtype: DType) => graph.addInput(new Value(name, { kind: "tensor", dtype, shape: undefined }));
  const node = (opType: string, inputs: readonly Value[], attributes: Readonly<Record<string, Attribute>> = {}) =>
    graph.insertNode(opType, inputs, { attributes }).outputs[0] as Value;
  const shape = (dims: readonly number[]) => graph.addInitializer("dims", Tensor.ints(dims));
  const x = input("x", like.x.dtype);
  const target = input("target", like.target.dtype);
  const patches = input("patches", "int32");
  const places = input("places", "int32");
  const dtype = isDouble(layer) ? "float64" : "float32";
  const ones = input("ones", dtype);
  const { groups: G, rows: O, columns: K, taps } = layer;
  const cast = (v: Value) => node("Cast", [v], { to: int(dtype === "float64" ? 11 : 1) });
  const channels = layer.channelsLast ? 2 : 1;
  const reshaped = (v: Value, to: readonly number[]) => node("Reshape", [v, shape(to)]);
  // [N, C, S] or [N, S, C]
  const flat = (v: Value) => (layer.channelsLast ? reshaped(v, [0, -1, width(v)]) : reshaped(v, [0, 0, -1]));
  const width = (v: Value) => (v === x ? K : v === target ? (like.target.dims.at(-1) as number) : G * O);

  /** [groups, outputs, rows] */
  const chosen = (v: Value) => {
    const t = cast(node("Gather", [v, places], { axis: int(layer.channelsLast ? 1 : 2) }));
    if (layer.channelsLast) return reshaped(node("Transpose", [t], { perm: ints([2, 0, 1]) }), [1, O, -1]);
    return reshaped(node("Transpose", [reshaped(t, [0, G, O, -1])], { perm: ints([1, 2, 0, 3]) }), [G, O, -1]);
  };
  const targets = (read: Value) => {
    let all = flat(target);
    if (kept) all = node("Gather", [all, graph.addInitializer("kept", Tensor.ints(kept))], { axis: int(channels) });
    const whole = chosen(all);
    const other = like.other && chosen(flat(input("other", like.other.dtype)));
    const wanted = other ? node("Sub", [whole, other]) : whole;
    if (!isRectified) return wanted;
    const zero = graph.addInitializer("nothing", Tensor.fromNumbers(dtype, [], [0]));
    const given = node("Add", [node("MatMul", [input("weights", dtype), read]), input("biases", dtype)]);
    const dark = node("Min", [given, other ? node("Neg", [other]) : zero]);
    return node("Where", [node("Greater", [whole, zero]), wanted, dark]);
  };
  const inputs = () => {
    if (layer.channelsLast) {
      const read = cast(node("Gather", [flat(x), patches], { axis: int(1) }));
      return reshaped(node("Transpose", [read], { perm: ints([2, 0, 1]) }), [1, K, -1]);
    }
    const zero = graph.addInitializer("zero", Tensor.fromNumbers(like.x.dtype, [], [0]));
    // One more position, of zeros: what lies outside the map.
    const padded = node("Pad", [flat(x), shape([0, 0, 0, 0, 0, 1]), zero]);
    const read = cast(node("Gather", [padded, patches], { axis: int(2) }));
    const apart = reshaped(read, [0, G, K / taps, -1, taps]);
    return reshaped(node("Transpose", [apart], { perm: ints([1, 2, 4, 0, 3]) }), [G, K, -1]);
  };
  const read = inputs();
  const v = node("Concat", [read, targets(read), ones], { axis: int(1) });
  const product = graph.insertNode("MatMul", [v, node("Transpose", [v], { perm: ints([0, 2, 1]) })], { outputs: ["moments"] });
  const out = product.outputs[0] as Value;
  give(graph, out, dtype);
  return modelAround(graph);
}
