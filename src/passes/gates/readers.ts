/** The linear layers that read a feature map, and what a factor per channel does to their weights. */
import { isKnown } from "../../graph/dim.js";
import type { Node, Value } from "../../graph/graph.js";
import type { Tensor } from "../../graph/tensor.js";
import type { ShapeOf } from "../../score/affine.js";

/** One read of a map's channels by a linear layer, directly or after pooling and flattening. */
export interface LinearReader {
  readonly node: Node;
  /** What the node reads (its input 0): the map, or what pooling and flattening made of it. */
  readonly operand: Value;
  /** The constant at input 1. */
  readonly weight: Tensor;
  /** Axis of the weight on which the channels of the map lie, as blocks of `block` neighbours. */
  readonly axis: number;
  readonly block: number;
  /** Convolutions: each filter reads one group's channels. 1 else. */
  readonly groups: number;
}

export interface LinearReaders {
  readonly readers: readonly LinearReader[];
  /** A maximum is taken on the way: only factors that are not negative pass it. */
  readonly takesMaximum: boolean;
}

/** Hand on a map whose channels are multiplied by factors; maxima only where the factors are not negative. */
const AVERAGES: ReadonlySet<string> = new Set(["AveragePool", "GlobalAveragePool", "Identity"]);
const MAXIMA: ReadonlySet<string> = new Set(["MaxPool", "GlobalMaxPool"]);

/**
 * All who read `value`, of `channels` channels on `axis`, if all are linear layers with constant weights to which a factor per
 * channel can be moved; else a sentence that names one who is not.
 */
export function linearReaders(value: Value, axis: number, channels: number, shapeOf: ShapeOf): LinearReaders | string {
  const readers: LinearReader[] = [];
  let takesMaximum = false;
  const pending: { readonly value: Value; readonly axis: number }[] = [{ value, axis }];
  for (let here = pending.pop(); here; here = pending.pop()) {
    const rank = shapeOf(here.value)?.length;
    if (here.value.isOutput) return `"${here.value.name}" is an output of the graph`;
    for (const { node, index } of here.value.uses()) {
      const other = `${node.qualifiedType} "${node.label}" reads it`;
      if (!node.isStandard || index !== 0 || node.graph !== value.graph || rank === undefined) return other;
      const next = node.outputs[0];
      const isAlone = next !== undefined && node.outputs.slice(1).every((o) => !o || (o.useCount === 0 && !o.isOutput));
      if (AVERAGES.has(node.opType) || MAXIMA.has(node.opType)) {
        if (!isAlone) return other;
        takesMaximum ||= MAXIMA.has(node.opType);
        pending.push({ value: next, axis: here.axis });
      } else if (node.opType === "Flatten" || node.opType === "Reshape" || node.opType === "Squeeze") {
        // Channels stay blocks of neighbours when all that follows them is flattened into one axis.
        const to = next && shapeOf(next);
        const from = shapeOf(here.value) ?? [];
        const inner = from.slice(1).reduce<number>((n, d) => (isKnown(d) ? n * (d as number) : Number.NaN), 1);
        if (!isAlone || here.axis !== 1 || to?.length !== 2 || to[0] !== from[0] || to[1] !== inner) return other;
        pending.push({ value: next, axis: 1 });
      } else {
        const reader = readerOf(node, here.value, here.axis, rank, channels, shapeOf);
        if (!reader) return other;
        readers.push(reader);
      }
    }
  }
  return readers.length === 0 ? "nothing reads it" : { readers, takesMaximum };
}

function readerOf(node: Node, operand: Value, axis: number, rank: number, channels: number, shapeOf: ShapeOf): LinearReader | undefined {
  const weight = node.inputs[1]?.constant;
  if (!weight) return undefined;
  const base = { node, operand, weight };
  switch (node.opType) {
    case "Conv":
      return axis === 1 && rank > 2 ? { ...base, axis: 1, block: 1, groups: node.int("group", 1) } : undefined;
    case "ConvTranspose":
      return axis === 1 && rank > 2 ? { ...base, axis: 0, block: 1, groups: 1 } : undefined;
    case "Gemm":
    case "MatMul": {
      if (axis !== rank - 1 || weight.dims.length !== 2 || (node.opType === "Gemm" && node.int("transA", 0) !== 0)) return undefined;
      const at = node.opType === "Gemm" && node.int("transB", 0) !== 0 ? 1 : 0;
      const features = shapeOf(operand)?.[axis];
      const block = (weight.dims[at] as number) / channels;
      return features === weight.dims[at] && Number.isInteger(block) ? { ...base, axis: at, block, groups: 1 } : undefined;
    }
    default:
      return undefined;
  }
}

/** The reader's weight with what it reads of channel c multiplied by factor[c], in float64. */
export function scaledWeight({ weight, axis, block, groups }: LinearReader, factor: Float64Array): Float64Array {
  const { dims } = weight;
  const data = weight.numbers();
  const n = dims[axis] as number;
  const inner = dims.slice(axis + 1).reduce((p, d) => p * d, 1);
  const outer = data.length / (n * inner);
  const out = new Float64Array(data.length);
  let at = 0;
  for (let o = 0; o < outer; o++) {
    const first = Math.floor((o * groups) / outer) * n;
    for (let p = 0; p < n; p++) {
      const f = factor[groups > 1 ? first + p : Math.floor(p / block)] as number;
      for (const to = at + inner; at < to; at++) out[at] = (data[at] as number) * f;
    }
  }
  return out;
}
