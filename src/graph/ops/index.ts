/** The registry of operators: which OpSpec, if any, says what a node means at the model's opset. */
import { internal } from "../../errors.js";
import type { Node } from "../graph.js";
import type { OpSpec } from "../op.js";
import { specs as attention } from "./attention.js";
import { specs as batchNormalization } from "./batch-normalization.js";
import { specs as cast } from "./cast.js";
import { specs as centerCropPad } from "./center-crop-pad.js";
import { specs as clip } from "./clip.js";
import { specs as col2Im } from "./col-2-im.js";
import { specs as compress } from "./compress.js";
import { specs as concat } from "./concat.js";
import { specs as constant } from "./constant.js";
import { specs as constantOfShape } from "./constant-of-shape.js";
import { specs as controlFlow } from "./control-flow.js";
import { specs as conv } from "./conv.js";
import { specs as convTranspose } from "./conv-transpose.js";
import { specs as cumSum } from "./cum-sum.js";
import { specs as deformConv } from "./deform-conv.js";
import { specs as depthToSpace } from "./depth-to-space.js";
import { specs as det } from "./det.js";
import { specs as dynamicQuantizeLstm } from "./dynamic-quantize-lstm.js";
import { specs as einsum } from "./einsum.js";
import { specs as elementwiseBinary } from "./elementwise-binary.js";
import { specs as elementwiseUnary } from "./elementwise-unary.js";
import { specs as expand } from "./expand.js";
import { specs as eyeLike } from "./eye-like.js";
import { specs as flatten } from "./flatten.js";
import { specs as gather } from "./gather.js";
import { specs as gemm } from "./gemm.js";
import { specs as globalPool } from "./global-pool.js";
import { specs as gpuOnly } from "./gpu-only.js";
import { specs as gridSample } from "./grid-sample.js";
import { specs as groupQueryAttention } from "./group-query-attention.js";
import { specs as inverse } from "./inverse.js";
import { specs as losses } from "./losses.js";
import { specs as matmul } from "./matmul.js";
import { specs as matmulInteger } from "./matmul-integer.js";
import { specs as matmulNBits } from "./matmul-n-bits.js";
import { specs as maxUnpool } from "./max-unpool.js";
import { specs as multiHeadAttention } from "./multi-head-attention.js";
import { specs as nonMaxSuppression } from "./non-max-suppression.js";
import { specs as nonZero } from "./non-zero.js";
import { specs as normalization } from "./normalization.js";
import { specs as oneHot } from "./one-hot.js";
import { specs as optional } from "./optional.js";
import { specs as packedAttention } from "./packed-attention.js";
import { specs as pad } from "./pad.js";
import { specs as pool } from "./pool.js";
import { specs as prelu } from "./prelu.js";
import { specs as qlinear } from "./qlinear.js";
import { specs as qlinearPool } from "./qlinear-pool.js";
import { specs as quantize } from "./quantize.js";
import { specs as random } from "./random.js";
import { specs as range } from "./range.js";
import { specs as recurrent } from "./recurrent.js";
import { specs as reduce } from "./reduce.js";
import { specs as reshape } from "./reshape.js";
import { specs as resize } from "./resize.js";
import { specs as reverseSequence } from "./reverse-sequence.js";
import { specs as roiAlign } from "./roi-align.js";
import { specs as rotaryEmbedding } from "./rotary-embedding.js";
import { specs as rotaryEmbeddingContrib } from "./rotary-embedding-contrib.js";
import { specs as scatter } from "./scatter.js";
import { specs as sequence } from "./sequence.js";
import { specs as shape } from "./shape.js";
import { specs as signal } from "./signal.js";
import { specs as skipNormalization } from "./skip-normalization.js";
import { specs as slice } from "./slice.js";
import { specs as softmax } from "./softmax.js";
import { specs as split } from "./split.js";
import { specs as squeeze } from "./squeeze.js";
import { specs as strings } from "./strings.js";
import { specs as tensorScatter } from "./tensor-scatter.js";
import { specs as tile } from "./tile.js";
import { specs as topK } from "./top-k.js";
import { specs as traditionalMl } from "./traditional-ml.js";
import { specs as training } from "./training.js";
import { specs as transpose } from "./transpose.js";
import { specs as trilu } from "./trilu.js";
import { specs as unique } from "./unique.js";
import { specs as variadic } from "./variadic.js";
import { specs as where } from "./where.js";

/**
 * Newest version of each domain whose definitions this project has read. A node of a newer opset means whatever that
 * opset says, which we do not know: it has no spec. Domains not listed here are not bounded.
 */
export const NEWEST_OPSETS: ReadonlyMap<string, number> = new Map([
  ["", 26],
  ["ai.onnx.ml", 5],
  ["ai.onnx.preview.training", 1],
  ["com.microsoft", 1],
]);

/** One array per op file: `import { specs as conv } from "./conv.js"` above, `conv` here, both in alphabetical order. */
const families: readonly (readonly OpSpec[])[] = [
  attention,
  batchNormalization,
  cast,
  centerCropPad,
  clip,
  col2Im,
  compress,
  concat,
  constant,
  constantOfShape,
  controlFlow,
  conv,
  convTranspose,
  cumSum,
  deformConv,
  depthToSpace,
  det,
  dynamicQuantizeLstm,
  einsum,
  elementwiseBinary,
  elementwiseUnary,
  expand,
  eyeLike,
  flatten,
  gather,
  gemm,
  globalPool,
  gpuOnly,
  gridSample,
  losses,
  groupQueryAttention,
  inverse,
  matmul,
  matmulInteger,
  matmulNBits,
  maxUnpool,
  multiHeadAttention,
  nonMaxSuppression,
  nonZero,
  normalization,
  oneHot,
  optional,
  packedAttention,
  pad,
  pool,
  prelu,
  qlinear,
  qlinearPool,
  quantize,
  random,
  range,
  recurrent,
  reduce,
  reshape,
  resize,
  reverseSequence,
  roiAlign,
  rotaryEmbedding,
  scatter,
  sequence,
  shape,
  signal,
  rotaryEmbeddingContrib,
  skipNormalization,
  slice,
  softmax,
  split,
  squeeze,
  strings,
  tensorScatter,
  tile,
  topK,
  traditionalMl,
  training,
  transpose,
  trilu,
  unique,
  variadic,
  where,
];

/** Every spec, in registration order: for docs/ops.md and the op contract test. */
export const allSpecs: readonly OpSpec[] = families.flat();

const byName = new Map<string, OpSpec>();
for (const spec of allSpecs) {
  const name = qualified(spec.domain ?? "", spec.type);
  if (byName.has(name)) throw internal(`Two specs are registered for operator ${name}.`);
  byName.set(name, spec);
}

/**
 * What `node` means when the model imports version `opset` of its domain; undefined for an operator we do not know,
 * for an opset older than the first definition we have read, for one newer than the newest we claim, and for one in
 * which the operator is no longer valid.
 */
export function specOf(node: Node, opset: number): OpSpec | undefined {
  const spec = byName.get(qualified(node.domain, node.opType));
  if (!spec) return undefined;
  const first = spec.since[0] ?? 1;
  const newest = NEWEST_OPSETS.get(node.domain) ?? Number.POSITIVE_INFINITY;
  return opset < first || opset > newest || (spec.until !== undefined && opset >= spec.until) ? undefined : spec;
}

/** Whether an operator we know is defined alike at two versions of its domain. */
export function isSameOperator(node: Node, a: number, b: number): boolean {
  const spec = a === b ? undefined : byName.get(qualified(node.domain, node.opType));
  const definition = (opset: number) => spec?.since.filter((v) => v <= opset).at(-1);
  return a === b || (specOf(node, a) !== undefined && specOf(node, b) !== undefined && definition(a) === definition(b));
}

function qualified(domain: string, type: string): string {
  return domain === "" ? type : `${domain}.${type}`;
}
