/** Gates as nodes: X becomes X·s(X), one factor per channel and sample. */
import { float, int, ints } from "../../graph/attribute.js";
import type { Graph, Model, Node, Value } from "../../graph/graph.js";
import { normal, random } from "../../graph/random.js";
import { Tensor } from "../../graph/tensor.js";
import type { GateSite } from "./sites.js";

/** s = 2σ(W2·relu(W1·z + b1) + b2), z the mean of each channel over positions. Matrices are row-major: W1 [R, C], W2 [C, R]. */
export interface SqueezeExcite {
  readonly kind: "se";
  readonly W1: Float64Array;
  readonly b1: Float64Array;
  readonly W2: Float64Array;
  readonly b2: Float64Array;
}

/** s_c = clip(scale_c·z_c + shift_c, 0, 2). */
export interface DiagonalGate {
  readonly kind: "diagonal";
  readonly scale: Float64Array;
  readonly shift: Float64Array;
}

/** s_c = factor_c, whatever the input. */
export interface StaticGate {
  readonly kind: "static";
  readonly factor: Float64Array;
}

export type Gate = SqueezeExcite | DiagonalGate | StaticGate;

/**
 * The gate that is the exact identity: W2 = 0 and b2 = 0 give 2·σ(0) = 1, and 1·x = x bit for bit. W1 is drawn from N(0, 2/C) (He), so
 * that gradients flow from the first step.
 */
export function identityGate(channels: number, hidden: number, seed: string): SqueezeExcite {
  const uniform = random(seed);
  const deviation = Math.sqrt(2 / channels);
  return {
    kind: "se",
    W1: Float64Array.from({ length: hidden * channels }, () => deviation * normal(uniform)),
    b1: new Float64Array(hidden),
    W2: new Float64Array(channels * hidden),
    b2: new Float64Array(channels),
  };
}

/** Width of the hidden layer: C/r, at least 1. */
export function hiddenWidth(channels: number, reduction: number): number {
  return Math.max(1, Math.round(channels / reduction));
}

/** Parameters and multiply-accumulates (batch 1) that a gate adds; the Mul over the map adds one multiplication per element beside. */
export function gateCost(gate: Gate): { readonly parameters: number; readonly macs: number } {
  if (gate.kind === "static") return { parameters: gate.factor.length, macs: 0 };
  if (gate.kind === "diagonal") return { parameters: 2 * gate.scale.length + 2, macs: 0 };
  const matrices = gate.W1.length + gate.W2.length;
  return { parameters: matrices + gate.b1.length + gate.b2.length + 1, macs: matrices };
}

/** Puts `gate` between `site` and all who read it; returns the gated value. The model must be the one the site is of. */
export function emitGate(model: Model, site: GateSite, gate: Gate): Value {
  const graph = model.graph;
  const { value } = site;
  const uses = value.uses();
  const emitter = new GateEmitter(graph, site, model.opset);
  const s = emitter.factor(gate);
  const gated = emitter.node("Mul", [value, s], "gated");
  for (const { node, index } of uses) node.setInput(index, gated);
  return gated;
}

class GateEmitter {
  readonly #graph: Graph;
  readonly #site: GateSite;
  readonly #opset: number;
  readonly #before: Node | undefined;

  constructor(graph: Graph, site: GateSite, opset: number) {
    this.#graph = graph;
    this.#site = site;
    this.#opset = opset;
    this.#before = graph.nodes[graph.nodes.indexOf(site.value.producer as Node) + 1];
  }

  node(opType: string, inputs: readonly Value[], what: string, attributes = {}): Value {
    const name = `${this.#site.value.name}_${what}`;
    const options = { outputs: [name], attributes, ...(this.#before ? { before: this.#before } : {}) };
    const node = this.#graph.insertNode(opType, inputs, options);
    const output = node.outputs[0] as Value;
    // ONNX Runtime refuses names that repeat; the value's is made unique.
    node.name = output.name;
    return output;
  }

  #constant(what: string, dims: readonly number[], values: ArrayLike<number>): Value {
    return this.#graph.addInitializer(`${this.#site.value.name}_${what}`, Tensor.fromNumbers(this.#site.dtype, dims, values));
  }

  factor(gate: Gate): Value {
    switch (gate.kind) {
      case "static":
        return this.#constant("gate_factor", this.#perChannel(), gate.factor);
      case "diagonal": {
        const scaled = this.node("Mul", [this.#pooled(), this.#constant("gate_scale", this.#perChannel(), gate.scale)], "gate_scaled");
        const shifted = this.node("Add", [scaled, this.#constant("gate_shift", this.#perChannel(), gate.shift)], "gate_shifted");
        if (this.#opset < 11) return this.node("Clip", [shifted], "gate", { min: float(0), max: float(2) });
        return this.node("Clip", [shifted, this.#constant("gate_min", [], [0]), this.#constant("gate_max", [], [2])], "gate");
      }
      case "se": {
        const squeezed = this.#linear(this.#pooled(), gate.W1, gate.b1, "gate_squeeze");
        const excited = this.#linear(this.node("Relu", [squeezed], "gate_relu"), gate.W2, gate.b2, "gate_excite");
        return this.node("Mul", [this.node("Sigmoid", [excited], "gate_sigmoid"), this.#constant("gate_two", [], [2])], "gate");
      }
    }
  }

  /** Dims with which one number per channel broadcasts over the map. */
  #perChannel(): readonly number[] {
    return this.#site.rank === 4 ? [1, this.#site.channels, 1, 1] : [this.#site.channels];
  }

  #pooled(): Value {
    const { value, rank } = this.#site;
    if (rank === 4) return this.node("GlobalAveragePool", [value], "gate_mean");
    const keepdims = { keepdims: int(1) };
    if (this.#opset < 18) return this.node("ReduceMean", [value], "gate_mean", { axes: ints([1]), ...keepdims });
    const axes = this.#graph.addInitializer(`${value.name}_gate_axes`, Tensor.ints([1]));
    return this.node("ReduceMean", [value, axes], "gate_mean", keepdims);
  }

  /** W [M, K] row-major. */
  #linear(input: Value, W: Float64Array, b: Float64Array, what: string): Value {
    const M = b.length;
    const K = W.length / M;
    const bias = this.#constant(`${what}_bias`, [M], b);
    if (this.#site.rank === 4) return this.node("Conv", [input, this.#constant(`${what}_weight`, [M, K, 1, 1], W), bias], what);
    const turned = new Float64Array(W.length);
    for (let m = 0; m < M; m++) for (let k = 0; k < K; k++) turned[k * M + m] = W[m * K + k] as number;
    const product = this.node("MatMul", [input, this.#constant(`${what}_weight`, [K, M], turned)], `${what}_product`);
    return this.node("Add", [product, bias], what);
  }
}
