/** fold-batch-norm: an inference-mode BatchNormalization disappears into the linear node that feeds it. */
import { z } from "zod";
import { float } from "../graph/attribute.js";
import type { DType } from "../graph/dtype.js";
import type { Graph, Model, Node, Value } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import { Tensor } from "../graph/tensor.js";
import { type Affine, biasOf, channelAxis, type Linear, linearOf, normAffine, scaleChannels } from "../score/affine.js";
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
    let types: Types | undefined;
    let changed = false;
    for (const norm of graph.nodes.filter((n) => n.isStandard && n.opType === "BatchNormalization")) {
      // The only thing asked of types is the rank of a MatMul's output, which folding does not change.
      const match = matchNorm(norm, model.opset, (v) => (types ??= infer(model)).shape(v));
      if (typeof match === "string") note({ code: "BATCH_NORM_KEPT", about: norm.label, why: match });
      else {
        foldInto(graph, norm, match);
        changed = true;
      }
    }
    return changed;
  },
});

interface Match {
  readonly linear: Linear;
  readonly weight: Tensor;
  readonly map: Affine;
  /** As stored: Gemm's beta applied. */
  readonly bias: Float64Array | undefined;
}

/** What there is to fold, or why nothing is. */
function matchNorm(norm: Node, opset: number, shapeOf: Types["shape"]): Match | string {
  if (opset < 7) return `its meaning at opset ${opset} depends on is_test; only opset 7 and newer are folded`;
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
  if (X.isOutput || X.useCount > 1 || isOutputInside(X)) return `the output of ${node.opType} "${node.label}" has other readers`;
  const where = channelAxis(linear, shapeOf);
  if (node.opType === "MatMul" && (tensor.dims.length !== 2 || where?.rank !== 2)) return `the output of MatMul "${node.label}" is not a matrix`;
  const channels = (tensor.dims[linear.axis] as number) * linear.groups;
  if (map.scale.length !== channels) return `it has ${map.scale.length} channels where ${node.opType} "${node.label}" makes ${channels}`;
  const bias = biasOf(node, channels);
  if (bias === "other") return `the bias of ${node.opType} "${node.label}" is not a constant vector`;
  return { linear, weight: tensor, map, bias };
}

function foldInto(graph: Graph, norm: Node, { linear, weight, map, bias }: Match): void {
  const { node } = linear;
  const Y = norm.outputs[0] as Value;
  const W = scaleChannels(weight.numbers(), weight.dims, linear.axis, linear.groups, map.scale);
  replaceConstant(graph, node, 1, Tensor.fromNumbers(weight.dtype, weight.dims, W), `${norm.label}_weight`);
  const b = map.shift.map((shift, k) => (bias ? (bias[k] as number) * (map.scale[k] as number) : 0) + shift);
  const folded = Tensor.fromNumbers(weight.dtype, [b.length], b);
  if (node.opType === "MatMul") {
    const vector = graph.addInitializer(`${norm.label}_bias`, folded);
    const add = graph.insertNode("Add", [node.outputs[0], vector], { before: norm, outputs: [`${norm.label}_folded`], name: norm.name });
    graph.bypass(Y, add.outputs[0] as Value);
  } else {
    if (node.opType === "Gemm" && node.attributes.has("beta")) node.setAttribute("beta", float(1));
    replaceConstant(graph, node, 2, folded, `${norm.label}_bias`);
    graph.bypass(Y, node.outputs[0] as Value);
  }
  graph.removeNode(norm);
}

/** Gives one reader a new constant: in place when it is the only one, else as a constant of its own. */
function replaceConstant(graph: Graph, node: Node, index: number, tensor: Tensor, name: string): void {
  const value = node.inputs[index];
  if (value?.constant && value.graph === graph && value.useCount === 1 && !value.isOutput && !isOutputInside(value)) graph.setConstant(value, tensor);
  else node.setInput(index, graph.addInitializer(name, tensor));
}

/** Whether a subgraph returns the value as it is: a read that is no use of any node. */
function isOutputInside(value: Value): boolean {
  const graph = value.graph;
  const reads = (g: Graph): boolean => g.outputs.includes(value) || g.nodes.some((n) => n.subgraphs().some(reads));
  return graph?.nodes.some((n) => n.subgraphs().some(reads)) ?? false;
}
