/** A BatchNormalization left in the graph, as a layer of its own whose running statistics can be estimated anew. */
import type { Graph, Node, Value } from "../graph/graph.js";
import type { Types } from "../graph/infer.js";
import { Tensor } from "../graph/tensor.js";
import { normAffine } from "./affine.js";
import type { Layer, Weights } from "./layers.js";

/**
 * Seen as a layer with one input and one output per group, a channel. Writing it changes running mean and variance, γ and β stay; so
 * weights keep the signs they have. With mean and variance of the original's output as the aim, that is what estimating the statistics
 * anew gives, save that it also keeps what the original's own statistics were off by on these samples: outputs come nearer to the
 * original's than with the plain statistics of the inputs (docs/recovery.md has figures).
 */
export function normOf(graph: Graph, node: Node, types: Types, opset: number): Layer | string {
  if (opset < 7) return "before opset 7 its meaning depends on is_test";
  const map = normAffine(node);
  if (typeof map === "string") return map;
  const [input, end] = [node.inputs[0] as Value, node.outputs[0] as Value];
  const rank = types.shape(input)?.length;
  if (rank === undefined || rank < 2) return "the rank of its input is not known";
  const channels = map.scale.length;
  const epsilon = node.float("epsilon", 1e-5);
  const parameter = (index: number) => Float64Array.from(node.inputs[index]?.constant?.numbers() as ArrayLike<number>);
  const [gamma, beta] = [parameter(1), parameter(2)];
  return {
    node,
    input,
    end,
    channelsLast: false,
    groups: channels,
    rows: 1,
    columns: 1,
    taps: 1,
    hasBias: true,
    isNorm: true,
    read: () => {
      const { scale, shift } = normAffine(node) as Exclude<ReturnType<typeof normAffine>, string>;
      return { weight: scale, bias: shift };
    },
    write: ({ weight, bias }: Weights) => {
      const [mean, variance] = [parameter(3), parameter(4)];
      for (const [c, g] of gamma.entries()) {
        // Multiplied by 0, x says nothing whatever its statistics are.
        if (g === 0) continue;
        mean[c] = ((beta[c] as number) - (bias[c] as number)) / (weight[c] as number);
        variance[c] = Math.max(0, (g / (weight[c] as number)) ** 2 - epsilon);
      }
      replaceOwn(graph, node, 3, mean, "mean");
      replaceOwn(graph, node, 4, variance, "var");
    },
  };
}

/** Parameter `index` of `node`, of which others that read the same constant know nothing. */
function replaceOwn(graph: Graph, node: Node, index: number, numbers: Float64Array, name: string): void {
  const value = node.inputs[index] as Value;
  const tensor = value.constant as Tensor;
  const next = Tensor.fromNumbers(tensor.dtype, tensor.dims, numbers);
  const isSole = value.graph === graph && value.useCount === 1 && !value.isOutput && !value.isInput;
  if (isSole) graph.setConstant(value, next);
  else node.setInput(index, graph.addInitializer(`${node.outputs[0]?.name ?? node.label}_${name}`, next));
}
