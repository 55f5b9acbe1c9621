/** The little graphs in which ONNX Runtime runs two convolutions with a Relu between, and their linear part backwards. */
import { type Attribute, int, ints } from "../graph/attribute.js";
import type { DType } from "../graph/dtype.js";
import { Graph, type Model, Value } from "../graph/graph.js";
import { readWindow, windowsAlong } from "../graph/ops/window.js";
import { unravel } from "../graph/rearrange.js";
import { Tensor } from "../graph/tensor.js";
import type { Runner, Session } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import type { Layer } from "./layers.js";
import { give as giveOut, modelAround } from "./little.js";
import type { Weights } from "./moments.js";
import { beginsOf } from "./patches.js";
import type { Seen } from "./session.js";

/** `second` reads Relu(`first`), and nothing else does. */
export interface Joined {
  readonly first: Layer;
  readonly second: Layer;
}

/** What is the same in all batches. */
export interface JointForm {
  readonly joined: Joined;
  /** Weights of both layers, as the pattern of what passes the Relus is taken at. */
  readonly first: Weights;
  readonly second: Weights;
  /** Channels of the target that the second layer gives, in its order; undefined: all. */
  readonly kept: readonly number[] | undefined;
  /** Whether max(target, 0) alone is read. */
  readonly isRectified: boolean;
}

/** What the weights of both layers do to the second's end in one batch, at the weights of the session. */
export interface Slope {
  /** Jᵀr: of the first layer [rows, columns + 1], the bias last, then of the second. */
  readonly residual: Float64Array;
  /** Positions at which each channel of the first layer passes the Relu. */
  readonly passing: Float64Array;
  /** Positions of the first layer's output and of the second's. */
  readonly positions: readonly [first: number, second: number];
  /** Share of the second's outputs that count. */
  readonly counted: number;
  /** J, as `product` takes it. */
  readonly pattern: Pattern;
}

/** What both layers read, and which of the second's outputs count: all that J depends on besides weights. */
export interface Pattern {
  readonly x: Tensor;
  readonly hidden: Tensor;
  /** undefined: all. */
  readonly counts: Tensor | undefined;
}

/** Unknowns of both layers: rows × (columns + 1) of each. */
export const unknownsOf = ({ first, second }: Joined): readonly [number, number] => [
  first.rows * (first.columns + 1),
  second.rows * (second.columns + 1),
];

/**
 * With the pattern of what passes the Relus held, the second layer's end is, to first order, linear in the weights of both: y = y₀ + J·δ.
 * J is never written down; J·δ is three convolutions, Jᵀ·r one transposed and, tap by tap, products over all positions.
 */
export class JointSession {
  readonly #slope: Session;
  readonly #form: JointForm;
  readonly #openProduct: () => Promise<Session>;
  /** Opened when first needed: what is only tried out needs errors alone. */
  #product: Promise<Session> | undefined;

  private constructor(slope: Session, form: JointForm, openProduct: () => Promise<Session>) {
    this.#slope = slope;
    this.#form = form;
    this.#openProduct = openProduct;
  }

  /** `like`: the values of one batch; others differ from it in the number of samples alone. */
  static async open(runner: Runner, form: JointForm, like: Seen): Promise<JointSession> {
    const load = (what: "slope" | "product") => runner.load(sourceOf(modelOf(form, like, what)));
    return new JointSession(await load("slope"), form, () => load("product"));
  }

  /** Sum of squared differences of what is read of the second layer's end. */
  async error(seen: Seen): Promise<number> {
    const { error } = await this.#slope.run(feedsOf(seen), ["error"]);
    return Number((error as Tensor).numbers()[0]);
  }

  async slope(seen: Seen): Promise<Slope> {
    const { isRectified, joined } = this.#form;
    const got = await this.#slope.run(feedsOf(seen), [...GRADIENTS, "passing", "hidden", ...(isRectified ? ["counts", "counted"] : [])]);
    const samples = seen.x.dims[0] as number;
    const positions = (extents: readonly number[]) => extents.reduce((n, d) => n * d, samples);
    const ends = positions(seen.target.dims.slice(2));
    const counted = got["counted"] ? Number(got["counted"].numbers()[0]) / (ends * joined.second.rows) : 1;
    return {
      residual: this.#together(got),
      passing: Float64Array.from((got["passing"] as Tensor).numbers()),
      positions: [positions(middleOf(joined.first, seen.x.dims.slice(2))), ends],
      counted,
      pattern: { x: seen.x, hidden: got["hidden"] as Tensor, counts: got["counts"] },
    };
  }

  /** JᵀJ·δ. */
  async product({ x, hidden, counts }: Pattern, delta: Float64Array): Promise<Float64Array> {
    const { first, second } = this.#form.joined;
    const [of1] = unknownsOf(this.#form.joined);
    const [a, b] = [apart(delta.subarray(0, of1), first), apart(delta.subarray(of1), second)];
    this.#product ??= this.#openProduct();
    const got = await (await this.#product).run({
      x,
      hidden,
      ...(counts ? { counts } : {}),
      delta1: Tensor.fromNumbers("float32", dimsOf(first), a.weight),
      shift1: Tensor.fromNumbers("float32", [first.rows], a.bias),
      delta2: Tensor.fromNumbers("float32", dimsOf(second), b.weight),
      shift2: Tensor.fromNumbers("float32", [second.rows], b.bias),
    });
    return this.#together(got);
  }

  async release(): Promise<void> {
    await this.#slope.release();
    await (await this.#product)?.release();
  }

  #together(got: Readonly<Record<string, Tensor>>): Float64Array {
    const { first, second } = this.#form.joined;
    const [w1, b1, w2, b2] = GRADIENTS.map((name) => (got[name] as Tensor).numbers());
    const parts = [
      joinedUp(w1 as ArrayLike<number>, b1 as ArrayLike<number>, first),
      joinedUp(w2 as ArrayLike<number>, b2 as ArrayLike<number>, second),
    ];
    return Float64Array.from(parts.flatMap((p) => [...p]));
  }
}

const FLOAT = int(1);
const GRADIENTS = ["weight1", "bias1", "weight2", "bias2"] as const;

/** `weight` [taps, columns of one tap, rows], as it is summed up, with the bias after each row. */
function joinedUp(weight: ArrayLike<number>, bias: ArrayLike<number>, { rows: K, columns: C, taps }: Layer): Float64Array {
  const channels = C / taps;
  const out = new Float64Array(K * (C + 1));
  for (let k = 0; k < K; k++) {
    for (let t = 0; t < taps; t++) {
      for (let c = 0; c < channels; c++) out[k * (C + 1) + c * taps + t] = Number(weight[(t * channels + c) * K + k]);
    }
    out[k * (C + 1) + C] = Number(bias[k]);
  }
  return out;
}

/** Rows of weights and their biases. */
export function apart(delta: Float64Array, { rows: K, columns: C }: Layer): Weights {
  const weight = new Float64Array(K * C);
  const bias = new Float64Array(K);
  for (let k = 0; k < K; k++) {
    weight.set(delta.subarray(k * (C + 1), k * (C + 1) + C), k * C);
    bias[k] = delta[k * (C + 1) + C] as number;
  }
  return { weight, bias };
}

function feedsOf({ x, target, other }: Seen): Record<string, Tensor> {
  return { x, target, ...(other ? { other } : {}) };
}

function dimsOf({ node }: Layer): readonly number[] {
  return node.inputs[1]?.constant?.dims ?? [];
}

/** Extents of what a convolution gives. */
function middleOf(layer: Layer, inside: readonly number[]): number[] {
  const window = readWindow(layer.node, dimsOf(layer).slice(2));
  return inside.map((n, a) => windowsAlong(layer.node, window, a, n) as number);
}

/** A convolution's window with pads and what is left over at the end, for known extents. */
interface Fixed {
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
  /** Rows of the input that no window reaches, and Conv's gradient must give back. */
  readonly over: readonly number[];
}

function fixedOf(layer: Layer, inside: readonly number[], out: readonly number[]): Fixed {
  const { node } = layer;
  const kernel = dimsOf(layer).slice(2);
  const window = readWindow(node, kernel);
  const begins = beginsOf(node, kernel, inside, out);
  const [ends, over]: [number[], number[]] = [[], []];
  for (const [a, k] of kernel.entries()) {
    const reach = ((out[a] as number) - 1) * (window.strides[a] as number) + (k - 1) * (window.dilations[a] as number) + 1;
    const room = (inside[a] as number) + (begins[a] as number) - reach;
    ends.push(Math.max(0, -room));
    over.push(Math.max(0, room));
  }
  const pads = [...begins, ...ends];
  const { strides, dilations } = window;
  return { attributes: { strides: ints(strides), dilations: ints(dilations), pads: ints(pads) }, strides, dilations, pads, over };
}

function modelOf({ joined, first, second, kept, isRectified }: JointForm, like: Seen, what: "slope" | "product"): Model {
  const graph = new Graph("joint");
  const input = (name: string, t: Tensor) => graph.addInput(new Value(name, { kind: "tensor", dtype: t.dtype, shape: undefined }));
  const constant = (name: string, t: Tensor) => graph.addInitializer(name, t);
  const node = (opType: string, inputs: readonly (Value | undefined)[], attributes: Readonly<Record<string, Attribute>> = {}) =>
    graph.insertNode(opType, inputs, { attributes }).outputs[0] as Value;
  const float = (v: Value) => node("Cast", [v], { to: FLOAT });
  const zero = constant("zero", Tensor.fromNumbers("float32", [], [0]));
  const positive = (v: Value) => node("Greater", [v, zero]);

  const [dims1, dims2] = [dimsOf(joined.first), dimsOf(joined.second)];
  const inside = like.x.dims.slice(2);
  const end = like.target.dims.slice(2);
  const middle = middleOf(joined.first, inside);
  const one = fixedOf(joined.first, inside, middle);
  const two = fixedOf(joined.second, middle, end);
  const W2 = constant("second", Tensor.fromNumbers("float32", dims2, second.weight));
  const x = float(input("x", like.x));
  const spatial = inside.map((_, a) => a + 2);
  const everywhere = constant("everywhere", Tensor.ints([0, ...spatial]));
  const totals = (v: Value) => node("ReduceSum", [v, everywhere], { keepdims: int(0) });
  const give = (name: string, v: Value, dtype: DType = "float32") =>
    giveOut(graph, graph.insertNode("Identity", [v], { outputs: [name] }).outputs[0] as Value, dtype);
  /** What a layer reads times `r` of its outputs, tap by tap, summed over samples and positions: [taps · channels, rows]. */
  const gradient = (
    reads: Value,
    r: Value,
    { columns: C, rows: K, taps }: Layer,
    { pads, strides, dilations }: Fixed,
    kernel: readonly number[],
    out: readonly number[],
  ) => {
    const rows = node("Reshape", [node("Transpose", [r], { perm: ints([0, ...spatial, 1]) }), constant("rows", Tensor.ints([-1, K]))]);
    const padded = node("Transpose", [node("Pad", [reads, constant("pads", padsOf(pads))])], { perm: ints([1, 0, ...spatial]) });
    const columns = constant("columns", Tensor.ints([C / taps, -1]));
    const axes = constant("axes", Tensor.ints(spatial));
    const steps = constant("steps", Tensor.ints(strides));
    const parts = Array.from({ length: taps }, (_, t) => {
      const from = unravel(t, kernel).map((k, a) => k * (dilations[a] as number));
      const to = from.map((f, a) => f + ((out[a] as number) - 1) * (strides[a] as number) + 1);
      const window = node("Slice", [padded, constant("from", Tensor.ints(from)), constant("to", Tensor.ints(to)), axes, steps]);
      return node("MatMul", [node("Reshape", [window, columns]), rows]);
    });
    return parts.length === 1 ? (parts[0] as Value) : node("Concat", parts, { axis: int(0) });
  };
  const backwards = (r: Value, hidden: Value, passing: Value) => {
    const g = node("Mul", [node("ConvTranspose", [r, W2], { ...two.attributes, output_padding: ints(two.over) }), passing]);
    give("weight1", gradient(x, g, joined.first, one, dims1.slice(2), middle));
    give("bias1", totals(g));
    give("weight2", gradient(hidden, r, joined.second, two, dims2.slice(2), end));
    give("bias2", totals(r));
  };

  if (what === "product") {
    const empty = Tensor.fromNumbers("float32", [0], []);
    const hidden = input("hidden", empty);
    const passing = float(positive(hidden));
    const moved = node("Mul", [node("Conv", [x, input("delta1", empty), input("shift1", empty)], one.attributes), passing]);
    const direct = node("Conv", [hidden, input("delta2", empty), input("shift2", empty)], two.attributes);
    const ends = node("Add", [node("Conv", [moved, W2], two.attributes), direct]);
    const counts = isRectified ? float(input("counts", Tensor.fromNumbers("bool", [0], []))) : undefined;
    backwards(counts ? node("Mul", [ends, counts]) : ends, hidden, passing);
  } else {
    let target = input("target", like.target);
    if (kept) target = node("Gather", [target, constant("kept", Tensor.ints(kept))], { axis: int(1) });
    const whole = float(target);
    const W1 = constant("first", Tensor.fromNumbers("float32", dims1, first.weight));
    const b1 = constant("firstBias", Tensor.fromNumbers("float32", [first.bias.length], first.bias));
    const b2 = constant("secondBias", Tensor.fromNumbers("float32", [second.bias.length], second.bias));
    const hidden = node("Relu", [node("Conv", [x, W1, b1], one.attributes)]);
    let sum = node("Conv", [hidden, W2, b2], two.attributes);
    if (like.other) sum = node("Add", [sum, float(input("other", like.other))]);
    const wanted = isRectified ? node("Relu", [whole]) : whole;
    // Where what is read of both is 0 whatever happens, nothing counts.
    const counts = isRectified ? node("Or", [positive(whole), positive(sum)]) : undefined;
    const lacking = node("Sub", [wanted, sum]);
    const passing = float(positive(hidden));
    backwards(counts ? node("Mul", [lacking, float(counts)]) : lacking, hidden, passing);
    const e = node("Sub", [wanted, isRectified ? node("Relu", [sum]) : sum]);
    give("error", node("ReduceSum", [node("Mul", [e, e])], { keepdims: int(0) }));
    give("passing", totals(passing));
    give("hidden", hidden);
    if (counts) give("counts", counts, "bool");
    if (counts) give("counted", node("ReduceSum", [float(counts)], { keepdims: int(0) }));
  }
  return modelAround(graph);
}

/** Of Pad, which counts samples and channels too. */
function padsOf(pads: readonly number[]): Tensor {
  const n = pads.length / 2;
  return Tensor.ints([0, 0, ...pads.slice(0, n), 0, 0, ...pads.slice(n)]);
}
