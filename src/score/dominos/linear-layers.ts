/** Linear layers of a graph: which positions of their output read which positions of their input, and how strongly. */
import { evaluateConstants } from "../../graph/evaluate.js";
import type { Graph, Node, Value } from "../../graph/graph.js";
import type { Types } from "../../graph/infer.js";
import type { Tensor } from "../../graph/tensor.js";
import { channelAxis, linearOf } from "../affine.js";

/** A Conv, ConvTranspose, Gemm or MatMul with constant weights. Input and output channels are positions of one axis each. */
export interface LinearLayer {
  readonly node: Node;
  readonly input: Value;
  readonly inputAxis: number;
  readonly output: Value;
  readonly outputAxis: number;
  readonly inputs: number;
  readonly outputs: number;
  /**
   * Aᵀr, where A[o, i] = Σ w² over the weights with which output o reads input i (kernel taps): the gain of a variance.
   * @param r one number per output position.
   */
  back(r: Float64Array): Float64Array;
}

/** The linear layers of the main graph, in graph order. Those whose weights are computed or quantised in their own op are not among them. */
export function linearLayers(graph: Graph, types: Types): LinearLayer[] {
  return graph.nodes.flatMap((node) => layerOf(node, types) ?? []);
}

function layerOf(node: Node, types: Types): LinearLayer | undefined {
  const [input, weight] = node.inputs;
  const output = node.outputs[0];
  if (!input || input.constant || !weight || !output) return undefined;
  const tensor = constantOf(weight, types);
  const linear = tensor && linearOf(node, 1, tensor.dims.length);
  const rank = types.shape(input)?.length;
  if (!linear || rank === undefined || (node.opType === "Gemm" && node.int("transA", 0) !== 0)) return undefined;
  const inputAxis = node.opType === "MatMul" ? rank - 1 : 1;
  const out = channelAxis(linear, (v) => types.shape(v));
  // A stack of matrices, or a vector, has no one axis of channels.
  if (!out || inputAxis < 1 || (node.opType === "MatMul" && tensor.dims.length !== 2)) return undefined;

  const shape = blocksOf(node, tensor.dims);
  let gains: Float64Array | undefined;
  return {
    node,
    input,
    inputAxis,
    output,
    outputAxis: out.axis,
    inputs: shape.groups * shape.inputs,
    outputs: shape.groups * shape.outputs,
    back(r) {
      gains ??= gainsOf(tensor, shape, linear.factor);
      return backThrough(gains, shape, r);
    },
  };
}

/** A weight as it is, or as the one node makes it that reads a constant (dequantised, transposed, cast). */
function constantOf(value: Value, types: Types): Tensor | undefined {
  if (value.constant) return value.constant;
  const { producer } = value;
  return producer && evaluateConstants(producer, types, { maxElements: Number.POSITIVE_INFINITY })?.[producer.outputs.indexOf(value)];
}

interface Blocks {
  readonly groups: number;
  /** Outputs and inputs of each group. */
  readonly outputs: number;
  readonly inputs: number;
  /** Whether the stored weight counts inputs first, then outputs. */
  readonly inputsFirst: boolean;
}

function blocksOf(node: Node, dims: readonly number[]): Blocks {
  const [a, b] = dims as readonly [number, number];
  const groups = node.opType === "Conv" || node.opType === "ConvTranspose" ? node.int("group", 1) : 1;
  switch (node.opType) {
    case "Conv":
      return { groups, outputs: a / groups, inputs: b, inputsFirst: false };
    case "ConvTranspose":
      return { groups, outputs: b, inputs: a / groups, inputsFirst: true };
    case "Gemm":
      return node.int("transB", 0) !== 0
        ? { groups, outputs: a, inputs: b, inputsFirst: false }
        : { groups, outputs: b, inputs: a, inputsFirst: true };
    default:
      return { groups, outputs: b, inputs: a, inputsFirst: true };
  }
}

/** A[o, i], row-major by group, output, input. */
function gainsOf(tensor: Tensor, { groups, outputs, inputs, inputsFirst }: Blocks, factor: number): Float64Array {
  const data = tensor.numbers();
  const gains = new Float64Array(groups * outputs * inputs);
  const taps = data.length / gains.length;
  const [rows, columns] = inputsFirst ? [inputs, outputs] : [outputs, inputs];
  let at = 0;
  for (let g = 0; g < groups; g++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        let sum = 0;
        for (const to = at + taps; at < to; at++) {
          const w = data[at] as number;
          sum += w * w;
        }
        const [o, i] = inputsFirst ? [column, row] : [row, column];
        gains[(g * outputs + o) * inputs + i] = sum * factor * factor;
      }
    }
  }
  return gains;
}

function backThrough(gains: Float64Array, { groups, outputs, inputs }: Blocks, r: Float64Array): Float64Array {
  const out = new Float64Array(groups * inputs);
  for (let g = 0; g < groups; g++) {
    for (let o = 0; o < outputs; o++) {
      const factor = r[g * outputs + o] as number;
      if (factor === 0) continue;
      const row = (g * outputs + o) * inputs;
      for (let i = 0; i < inputs; i++) out[g * inputs + i] = (out[g * inputs + i] as number) + factor * (gains[row + i] as number);
    }
  }
  return out;
}
