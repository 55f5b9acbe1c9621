/**
 * Operators of com.microsoft for which ONNX Runtime has kernels on GPUs alone. Types are inferred, and everything they touch is
 * kept whole: a removal could not be run here, hence not be proven.
 */
import { type Dim, exactDiv, isKnown, mul, product } from "../dim.js";
import type { Node } from "../graph.js";
import { type CostContext, defineOp, type OpContext, type OpSpec } from "../op.js";
import { likeInput, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";
import { readWindow, windowsAlong } from "./window.js";

const REMARK = "ONNX Runtime has no CPU kernel for it, so that a removal could not be proven: kept whole.";

interface Row extends Pick<OpSpec, "type" | "inputs" | "outputs"> {
  /** Shape of the first output; default: that of the first input. */
  shape?(op: OpContext): Shape | undefined;
  macs?(op: CostContext): Dim;
}

/** [N, windows…, M] for X [N, spatial…, C] and W [M, C/group, kernel…]. */
function nhwcConvShape(op: OpContext): Shape | undefined {
  const [X, W] = [op.shape(0), op.shape(1)];
  if (!X || !W) return undefined;
  sameExtent(
    op.node,
    X[X.length - 1] as Dim,
    mul(W[1] as Dim, op.node.int("group", 1)),
    "channels of X and W's input channels times group",
  );
  const window = readWindow(op.node, W.slice(2));
  return [X[0] as Dim, ...X.slice(1, -1).map((extent, i) => windowsAlong(op.node, window, i, extent)), W[0] as Dim];
}

function nhwcConvMacs(op: CostContext): Dim {
  const [Y, W] = [op.outputShape(0), op.shape(1)];
  return Y && W ? mul(product(Y), product(W.slice(1))) : unknownMacs(op.node);
}

/** Half of the last axis: one half gates the other. */
function halved(op: OpContext): Shape | undefined {
  const X = op.shape(0);
  const half = X && exactDiv(X[X.length - 1] as Dim, 2);
  return half === undefined ? undefined : [...(X as Shape).slice(0, -1), half];
}

/** X [.., K] times W [K, N]. */
function productShape(op: OpContext): Shape | undefined {
  const [X, W] = [op.shape(0), op.shape(1)];
  if (!X || !W) return undefined;
  sameExtent(op.node, X[X.length - 1] as Dim, W[0] as Dim, "columns of X and rows of W");
  return [...X.slice(0, -1), W[1] as Dim];
}

function productMacs(op: CostContext): Dim {
  const [Y, W] = [op.outputShape(0), op.shape(1)];
  return Y && W ? mul(product(Y), W[0] as Dim) : unknownMacs(op.node);
}

function checkAxes(node: Node, axes: readonly number[], rank: number): Set<number> {
  const front = axes.map((a) => (a < 0 ? a + rank : a));
  if (front.some((a) => a < 0 || a >= rank)) throw mismatch(node, `axes [${axes}] should lie in a rank of ${rank}.`);
  return new Set(front);
}

function meanShape(op: OpContext): Shape | undefined {
  const X = op.shape(0);
  if (!X) return undefined;
  const axes = checkAxes(op.node, op.node.ints("axes", []), X.length);
  const isMean = (a: number) => axes.size === 0 || axes.has(a);
  return op.node.int("keepdims", 1) !== 0 ? X.map((d, a) => (isMean(a) ? 1 : d)) : X.filter((_, a) => !isMean(a));
}

/** [tokens, V's hidden size] for packed tokens and side by side weights of Q, K and V. */
function packedAttentionShape(op: OpContext): Shape | undefined {
  const [X, W] = [op.shape(0), op.shape(1)];
  const v = op.node.ints("qkv_hidden_sizes")?.[2] ?? (W && exactDiv(W[1] as Dim, 3));
  return X && v !== undefined ? [X[0] as Dim, v] : undefined;
}

function packedMultiHeadShape(op: OpContext): Shape | undefined {
  const [Q, V] = [op.shape(0), op.shape(2)];
  if (Q?.length === 4) return [Q[0] as Dim, mul(Q[1] as Dim, Q[3] as Dim)];
  return V && isKnown(V.length) ? V : undefined;
}

const rows: readonly Row[] = [
  { type: "BiasAdd", inputs: ["X", "bias", "skip"], outputs: ["Y"] },
  { type: "BiasSplitGelu", inputs: ["X", "bias"], outputs: ["Y"], shape: halved },
  { type: "GemmFastGelu", inputs: ["X", "W", "bias?"], outputs: ["Y"], shape: productShape, macs: productMacs },
  { type: "GroupNorm", inputs: ["X", "gamma", "beta"], outputs: ["Y"] },
  { type: "SkipGroupNorm", inputs: ["X", "gamma", "beta", "skip", "bias?"], outputs: ["Y", "S?"] },
  { type: "NhwcConv", inputs: ["X", "W", "B?"], outputs: ["Y"], shape: nhwcConvShape, macs: nhwcConvMacs },
  { type: "NhwcFusedConv", inputs: ["X", "W", "B?", "Z?"], outputs: ["Y"], shape: nhwcConvShape, macs: nhwcConvMacs },
  {
    type: "PackedAttention",
    inputs: ["input", "weights", "bias", "token_offset", "cumulative_sequence_length", "attention_bias?"],
    outputs: ["output"],
    shape: packedAttentionShape,
    macs: (op) => unknownMacs(op.node),
  },
  {
    type: "PackedMultiHeadAttention",
    inputs: ["query", "key?", "value?", "bias?", "token_offset", "cumulative_sequence_length", "attention_bias?"],
    outputs: ["output"],
    shape: packedMultiHeadShape,
    macs: (op) => unknownMacs(op.node),
  },
  {
    type: "QLinearReduceMean",
    inputs: ["data", "data_scale", "data_zero_point?", "reduced_scale", "reduced_zero_point?"],
    outputs: ["reduced"],
    shape: meanShape,
  },
];

export const specs: readonly OpSpec[] = rows.map(({ shape, macs, ...row }) =>
  defineOp({
    ...row,
    domain: "com.microsoft",
    since: [1],
    remark: REMARK,
    infer(op) {
      const dtype = op.type(0)?.dtype;
      const first = shape ? dtype && tensorOf(dtype, shape(op)) : likeInput(op);
      return row.outputs.map(() => first);
    },
    barrier: "ONNX Runtime has no CPU kernel for it: a removal could not be proven",
    macs: macs ?? (() => 0),
  }),
);
