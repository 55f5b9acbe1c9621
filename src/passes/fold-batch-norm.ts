/** fold-batch-norm: an inference-mode BatchNormalization disappears into the linear node that feeds it. */
import { z } from "zod";
import { float } from "../graph/attribute.js";
import { capturedOutputs } from "../graph/captured-outputs.js";
import type { DType } from "../graph/dtype.js";
import type { Graph, Model, Node, Value } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import { Tensor } from "../graph/tensor.js";
import { biasOf, channelAxis, linearOf, normAffine, type ShapeOf, scaleChannels } from "../score/affine.js";
import { definePass } from "./pass.js";

const foldable: ReadonlySet<DType> = new Set<DType>(["float32", "float64", "float16", "bfloat16"]);

/**
 * y = γ(Wx + b − μ)/√(σ²+ε) + β is again linear in x, with ŵ_k = s_k·w_k and b̂_k = s_k(b_k − μ_k) + β_k, s = γ/√(σ²+ε).
 *
 * Folds into Conv, ConvTranspose, Gemm and MatMul of rank 2 (which gains an Add) that the normalisation alone reads.
 * Arithmetic is in float64, results are stored in the weight's type. A normalisation before a convolution stays: with
 * zero padding, β would have to be added everywhere but in the border.
 */
export const foldBatchNorm = definePass({
  name: "fold-batch-norm",
  summary: "merge each BatchNormalization into the Conv, ConvTranspose, Gemm or MatMul that feeds it",
  options: z.strictObject({}),
  effect: "equal",

  run(model: Model, { note }) {
    const graph = model.graph;
    const captured = capturedOutputs(graph);
    let types: Types | undefined;
    // The only thing asked of types is the rank of a MatMul's output, which folding does not change.
    const shapeOf: ShapeOf = (value) => {
      types ??= infer(model);
      return types.shape(value);
    };
    let changed = false;
    for (const norm of graph.nodes.filter((n) => n.isStandard && n.opType === "BatchNormalization")) {
      const folded = model.opset < 7 ? OLD_OPSET : foldedParameters(norm, captured, shapeOf);
      if (typeof folded === "string") note({ code: "BATCH_NORM_KEPT", about: norm.label, why: folded });
      else {
        replaceNorm(graph, norm, folded, captured);
        changed = true;
      }
    }
    return changed;
  },
});

const OLD_OPSET = "before opset 7 its meaning depends on is_test; only opset 7 and newer are folded";

interface Folded {
  readonly node: Node;
  readonly weight: Tensor;
  readonly bias: Tensor;
}

/** The linear node that feeds `norm`, with the parameters it must have to do the work of both; else why there is none. */
function foldedParameters(norm: Node, captured: ReadonlySet<Value>, shapeOf: ShapeOf): Folded | string {
  const map = normAffine(norm);
  if (typeof map === "string") return map;
  const X = norm.inputs[0];
  const node = X?.producer;
  if (!X || !node) return "a graph input or a constant feeds it";
  const tensor = node.inputs[1]?.constant;
  const linear = linearOf(node, 1, tensor?.dims.length ?? 0);
  if (!linear) return `${node.qualifiedType} "${node.label}" feeds it, not a Conv, ConvTranspose, Gemm or MatMul`;
  if (!tensor) return `the weight of ${node.opType} "${node.label}" is not a constant`;
  if (!foldable.has(tensor.dtype)) return `the weight of ${node.opType} "${node.label}" is ${tensor.dtype}`;
  if (X.isOutput || X.useCount > 1 || captured.has(X)) return `the output of ${node.opType} "${node.label}" has other readers`;
  const isMatrix = tensor.dims.length === 2 && channelAxis(linear, shapeOf)?.rank === 2;
  if (node.opType === "MatMul" && !isMatrix) return `the output of MatMul "${node.label}" is not a matrix`;
  const channels = (tensor.dims[linear.axis] as number) * linear.groups;
  if (map.scale.length !== channels) return `it has ${map.scale.length} channels where ${node.opType} "${node.label}" makes ${channels}`;
  const before = biasOf(node, channels);
  if (before === "other") return `the bias of ${node.opType} "${node.label}" is not a constant vector`;

  const scaled = scaleChannels(tensor.numbers(), tensor.dims, linear.axis, linear.groups, map.scale);
  const shifted = map.shift.map((shift, k) => (before ? (before[k] as number) * (map.scale[k] as number) : 0) + shift);
  const weight = Tensor.fromNumbers(tensor.dtype, tensor.dims, scaled);
  const bias = Tensor.fromNumbers(tensor.dtype, [channels], shifted);
  if (![weight, bias].every((t) => t.numbers().every(Number.isFinite))) return `the folded parameters exceed the range of ${tensor.dtype}`;
  return { node, weight, bias };
}

function replaceNorm(graph: Graph, norm: Node, { node, weight, bias }: Folded, captured: ReadonlySet<Value>): void {
  const Y = norm.outputs[0] as Value;
  replaceConstant(graph, node, 1, weight, `${norm.label}_weight`, captured);
  if (node.opType === "MatMul") {
    const vector = graph.addInitializer(`${norm.label}_bias`, bias);
    const add = graph.insertNode("Add", [node.outputs[0], vector], { before: norm, outputs: [`${norm.label}_folded`], name: norm.name });
    graph.bypass(Y, add.outputs[0] as Value);
  } else {
    if (node.attributes.has("beta")) node.setAttribute("beta", float(1));
    replaceConstant(graph, node, 2, bias, `${norm.label}_bias`, captured);
    graph.bypass(Y, node.outputs[0] as Value);
  }
  graph.removeNode(norm);
}

/** Gives one reader a new constant: in place when it is the only one, else as a constant of its own. */
function replaceConstant(graph: Graph, node: Node, index: number, tensor: Tensor, name: string, captured: ReadonlySet<Value>): void {
  const value = node.inputs[index];
  const isSole = value?.constant && value.graph === graph && value.useCount === 1 && !value.isOutput && !captured.has(value);
  if (isSole) graph.setConstant(value, tensor);
  else node.setInput(index, graph.addInitializer(name, tensor));
}
