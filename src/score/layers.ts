/** Linear layers whose weights can be corrected: how they are stored, and where their bias is or may be put. */
import { float } from "../graph/attribute.js";
import { isFloat } from "../graph/dtype.js";
import type { Graph, Model, Node, Value } from "../graph/graph.js";
import type { Types } from "../graph/infer.js";
import { groupsOf } from "../graph/ops/window.js";
import { Tensor } from "../graph/tensor.js";
import { type Chain, chainOf, channelAxis, linearOf, perChannel } from "./affine.js";
import { normOf } from "./norms.js";

/** Weights [groups, rows, columns] and biases [groups, rows]. */
export interface Weights {
  readonly weight: Float64Array;
  readonly bias: Float64Array;
}

/**
 * A Conv, ConvTranspose, Gemm or MatMul with the per-channel maps (bias, normalisation, scale) that alone read it, seen as one map
 * `end = weight·x + bias`: x are the inputs of one group (channels × taps, in this order), end is what comes after the maps.
 */
export interface Layer {
  readonly node: Node;
  /** What it reads. */
  readonly input: Value;
  /** After the last map. */
  readonly end: Value;
  /** Axis of the channels of `input` and `end`: 1, or the last one. */
  readonly channelsLast: boolean;
  readonly groups: number;
  /** Outputs and inputs (channels × taps) per group. */
  readonly rows: number;
  readonly columns: number;
  /** Kernel elements; 1 for products of matrices. */
  readonly taps: number;
  /** Whether a bias can be written. */
  readonly hasBias: boolean;
  /** A BatchNormalization (norms.ts). */
  readonly isNorm?: boolean;
  read(): Weights;
  write(weights: Weights): void;
}

/**
 * The layers of the main graph in its order, and why other linear nodes are none. With `norms`, each BatchNormalization is a layer of its
 * own, and what it alone reads is none: scaling that would change nothing.
 */
export function layersOf(
  model: Model,
  types: Types,
  { norms = false }: { readonly norms?: boolean } = {},
): { readonly layers: Layer[]; readonly left: { node: Node; why: string }[] } {
  const layers: Layer[] = [];
  const left: { node: Node; why: string }[] = [];
  for (const node of model.graph.nodes) {
    if (!node.isStandard) continue;
    const isNorm = norms && node.opType === "BatchNormalization";
    if (!isNorm && !LINEAR.has(node.opType)) continue;
    const found = isNorm ? normOf(model.graph, node, types, model.opset) : layerOf(model.graph, node, types, norms);
    if (typeof found === "string") left.push({ node, why: found });
    else if (found) layers.push(found);
  }
  return { layers, left };
}

const LINEAR: ReadonlySet<string> = new Set(["Conv", "ConvTranspose", "Gemm", "MatMul"]);

/** undefined for products of two activations, which have no weights, and for what goes into a normalisation where `norms` are layers. */
function layerOf(graph: Graph, node: Node, types: Types, norms: boolean): Layer | string | undefined {
  const [input, weightValue] = node.inputs;
  if (!input || !weightValue) return undefined;
  const tensor = weightValue.constant;
  if (!tensor) return node.opType === "MatMul" && !weightValue.producer ? undefined : "its weight is computed in the graph";
  if (input.constant) return "it reads a constant";
  if (!isFloat(tensor.dtype) || tensor.dtype.startsWith("float8")) return `its weight is ${tensor.dtype}`;
  if (weightValue.useCount > 1 || weightValue.isOutput || weightValue.isInput || weightValue.graph !== graph) return "its weight is shared";
  const linear = linearOf(node, 1, tensor.dims.length);
  const rank = types.shape(input)?.length;
  if (!linear || rank === undefined) return "the rank of its input is not known";
  if (node.opType === "Gemm" && node.int("transA", 0) !== 0) return "it transposes its input";
  if (node.opType === "MatMul" && (tensor.dims.length !== 2 || rank < 2)) return "it multiplies a stack of matrices";
  if (!channelAxis(linear, (v) => types.shape(v))) return "the rank of its output is not known";
  if (linear.factor === 0) return "its alpha is 0";

  const form = formOf(node, tensor.dims);
  const channels = form.groups * form.rows;
  const chain = chainOf(linear, channels, (v) => types.shape(v));
  if (norms && chain.absorbed.some((use) => use.node.opType === "BatchNormalization")) return undefined;
  const place = placeOf(graph, node, chain, channels);
  if (typeof place === "string") return place;
  const { scale } = chain;
  const layer: Layer = {
    node,
    input,
    end: chain.end,
    channelsLast: node.opType === "Gemm" || node.opType === "MatMul",
    groups: form.groups,
    rows: form.rows,
    columns: form.columns,
    taps: form.taps,
    hasBias: place !== undefined,
    read() {
      const now = chainOf(linear, channels, (v) => types.shape(v));
      const stored = (node.inputs[1] as Value).constant?.numbers() as ArrayLike<number>;
      const weight = new Float64Array(channels * form.columns);
      for (let c = 0; c < channels; c++) {
        for (let k = 0; k < form.columns; k++) {
          weight[c * form.columns + k] = (stored[form.at(c, k)] as number) * (scale[c] as number);
        }
      }
      return { weight, bias: now.bias ?? new Float64Array(channels) };
    },
    write({ weight, bias }) {
      const before = layer.read();
      const stored = Float64Array.from((node.inputs[1] as Value).constant?.numbers() as ArrayLike<number>);
      for (let c = 0; c < channels; c++) {
        const s = scale[c] as number;
        // A channel that the maps multiply by 0 says nothing whatever its weights are.
        if (s === 0) continue;
        for (let k = 0; k < form.columns; k++) {
          const [now, was] = [weight[c * form.columns + k] as number, before.weight[c * form.columns + k] as number];
          if (now !== was) stored[form.at(c, k)] = now / s;
        }
      }
      graph.setConstant(node.inputs[1] as Value, Tensor.fromNumbers(tensor.dtype, tensor.dims, stored));
      place?.add(
        bias.map((b, c) => (scale[c] === 0 ? 0 : b - (before.bias[c] as number))),
        tensor,
      );
    },
  };
  return layer;
}

interface Form {
  readonly groups: number;
  readonly rows: number;
  readonly columns: number;
  readonly taps: number;
  /** Place in the stored weight of output channel c's weight on input k of its group. */
  at(c: number, k: number): number;
}

function formOf(node: Node, dims: readonly number[]): Form {
  const [a, b] = dims as readonly [number, number];
  const taps = dims.slice(2).reduce((n, d) => n * d, 1);
  if (node.opType === "Conv") {
    const groups = groupsOf(node);
    const columns = b * taps;
    return { groups, rows: a / groups, columns, taps, at: (c, k) => c * columns + k };
  }
  if (node.opType === "ConvTranspose") {
    const groups = groupsOf(node);
    const inputs = a / groups;
    const at = (c: number, k: number) => {
      const channel = Math.floor(c / b) * inputs + Math.floor(k / taps);
      return (channel * b + (c % b)) * taps + (k % taps);
    };
    return { groups, rows: b, columns: inputs * taps, taps, at };
  }
  const isTransposed = node.opType === "Gemm" && node.int("transB", 0) !== 0;
  return isTransposed
    ? { groups: 1, rows: a, columns: b, taps: 1, at: (c, k) => c * b + k }
    : { groups: 1, rows: b, columns: a, taps: 1, at: (c, k) => k * b + c };
}

/** Where what is added to `end` can be put; undefined: nowhere. */
interface BiasPlace {
  /** Adds `shift` (of `end`) to the bias. */
  add(shift: Float64Array, like: Tensor): void;
}

function placeOf(graph: Graph, node: Node, chain: Chain, channels: number): BiasPlace | string | undefined {
  if (node.opType === "MatMul") return placeAfterMatMul(graph, node, chain, channels);
  const value = node.inputs[2];
  if (value && !value.constant) return "its bias is computed in the graph";
  // Bias of the node is scaled by the maps after it, and by alpha's share not.
  const alpha = node.opType === "Gemm" ? node.float("alpha", 1) : 1;
  return {
    add(shift, like) {
      const own = Float64Array.from({ length: channels }, (_, c) => {
        const s = (chain.scale[c] as number) / alpha;
        return s === 0 ? 0 : (shift[c] as number) / s;
      });
      if (own.every((x) => x === 0)) return;
      const B = node.inputs[2];
      const before = B?.constant;
      const beta = node.opType === "Gemm" ? node.float("beta", 1) : 1;
      const old = before && (node.opType === "Gemm" ? perChannel(before, 2, 1, channels) : Float64Array.from(before.numbers()));
      const sum = own.map((x, c) => x + (old ? beta * (old[c] as number) : 0));
      const bias = Tensor.fromNumbers(before?.dtype ?? like.dtype, [channels], sum);
      const isSole = B !== undefined && B.graph === graph && B.useCount === 1 && !B.isOutput && !B.isInput;
      if (isSole) graph.setConstant(B, bias);
      else node.setInput(2, graph.addInitializer(`${node.outputs[0]?.name ?? node.label}_bias`, bias));
      if (node.attributes.has("beta")) node.setAttribute("beta", float(1));
    },
  };
}

/** The Add right after a MatMul, if it adds a vector and nothing scales after it. */
function placeAfterMatMul(graph: Graph, node: Node, chain: Chain, channels: number): BiasPlace | undefined {
  const use = node.outputs[0]?.uses()[0];
  if (!use || chain.end === node.outputs[0] || use.node.opType !== "Add" || chain.scale.some((s) => s !== 1)) return undefined;
  const at = 1 - use.index;
  return {
    add(shift) {
      const value = use.node.inputs[at] as Value;
      const before = value.constant as Tensor;
      const old = before.numbers();
      const sum = shift.map((x, c) => x + (old[old.length === 1 ? 0 : c] as number));
      const bias = Tensor.fromNumbers(before.dtype, [channels], sum);
      const isSole = value.graph === graph && value.useCount === 1 && !value.isOutput && !value.isInput;
      if (isSole) graph.setConstant(value, bias);
      else use.node.setInput(at, graph.addInitializer(`${use.node.outputs[0]?.name ?? use.node.label}_bias`, bias));
    },
  };
}
