/** The real numbers that a quantised weight stands for: (q − z)·s, by DequantizeLinear or by the operator that multiplies by it. */
import type { Node, Use } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";

/** Where the scale and the zero point of a weight are: input positions; absent ones are 1 and 0. */
interface Quantisation {
  readonly scale?: number;
  readonly zero: number;
  /** Axis of the weight with a scale per index, where there are several. */
  readonly axis: number;
  /** Indices of `axis` that share a scale; 0: each has its own. */
  readonly block?: number;
}

/** How the operator that reads `use` quantises it; undefined when it reads plain numbers there. */
function quantisationOf({ node, index }: Use, rank: number): Quantisation | undefined {
  if (!node.isStandard && node.domain !== "com.microsoft") return undefined;
  const last = rank - 1;
  switch (`${node.opType} ${index}`) {
    case "DequantizeLinear 0": {
      const axis = node.int("axis", 1);
      return { scale: 1, zero: 2, axis: axis < 0 ? axis + rank : axis, block: node.int("block_size", 0) };
    }
    case "QLinearConv 3":
      return { scale: 4, zero: 5, axis: 0 };
    case "ConvInteger 1":
      return { zero: 3, axis: 0 };
    case "QLinearMatMul 3":
      return { scale: 4, zero: 5, axis: last };
    case "MatMulInteger 1":
      return { zero: 3, axis: last };
    case "MatMulIntegerToFloat 1":
      return { scale: 3, zero: 5, axis: last };
    case "DynamicQuantizeMatMul 1":
      return { scale: 2, zero: 3, axis: last };
    case "QGemm 3":
      return { scale: 4, zero: 5, axis: node.int("transB", 0) !== 0 ? 0 : 1 };
    case "QAttention 1":
      return { scale: 4, zero: 7, axis: 1 };
    default:
      return undefined;
  }
}

/**
 * Makes of the numbers of `tensor`, `q` as stored, what the reader of `use` takes them. undefined when it reads plain numbers, or when a
 * scale or zero point is no constant, or of a form not known here.
 */
export function dequantiser(tensor: Tensor, use: Use): ((q: ArrayLike<number>) => Float64Array) | undefined {
  const found = quantisationOf(use, tensor.dims.length);
  if (!found) return undefined;
  const scale = factor(use.node, found.scale, tensor, found);
  const zero = factor(use.node, found.zero, tensor, found);
  if (!scale || !zero) return undefined;
  return (q) => Float64Array.from(q, (x, i) => (x - zero(i, 0)) * scale(i, 1));
}

/** For element i of the weight, the element of operand `input` that belongs to it, or what stands for an absent one. */
function factor(
  node: Node,
  input: number | undefined,
  tensor: Tensor,
  { axis, block = 0 }: Quantisation,
): ((i: number, absent: number) => number) | undefined {
  const value = input === undefined ? undefined : node.inputs[input];
  if (!value) return (_, absent) => absent;
  const numbers = value.constant?.numbers();
  if (!numbers) return undefined;
  if (numbers.length === 1) return () => numbers[0] as number;
  const n = tensor.dims[axis] as number;
  const inner = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  if (block === 0) return numbers.length === n ? (i) => numbers[Math.floor(i / inner) % n] as number : undefined;
  const blocks = Math.ceil(n / block);
  if (numbers.length !== (tensor.size / n) * blocks) return undefined;
  return (i) => {
    const along = Math.floor(i / inner) % n;
    return numbers[(Math.floor(i / (inner * n)) * blocks + Math.floor(along / block)) * inner + (i % inner)] as number;
  };
}
