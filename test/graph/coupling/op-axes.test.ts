/**
 * The axis rule of each operator, end to end: a layer before, the operator, a layer after. What may leave is listed, and
 * what is left after leaving computes what the oracle says, in ONNX Runtime.
 */
import { describe, expect, test } from "vitest";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { modelOf } from "../../support/build.js";
import { prove, randomRemoval } from "../../support/oracle.js";

interface Row {
  readonly name: string;
  readonly opset: number;
  /** Inputs, outputs and constants, then nodes. */
  readonly graph: string;
  /** Groups and their widths. */
  readonly groups: readonly string[];
  /** IR version, where the opset needs one. */
  readonly ir?: number;
  /** Tolerance where float32 cancels: the runtime computes angles or norms. */
  readonly tolerance?: number;
}

/** [2, 4, 3] features times a [3, 6] matrix, and a [6, 2] matrix behind. */
const matrices = (constants: string, body: string, shape = "2,4,3") =>
  `g (float[${shape}] x) => (float[] y) <float[3,6] a = {...}, float[6,2] b = {...}${constants && `, ${constants}`}> {
    h = MatMul (x, a) ${body} y = MatMul (u, b) }`;

/** A 1×1 convolution to 6 channels before, and one from them behind, of an 8×8 image. */
const convolutions = (constants: string, body: string, inputs = "", image = "1,3,8,8") =>
  `g (float[${image}] x${inputs}) => (float[] y) <float[6,3,1,1] a = {...}, float[2,6,1,1] b = {...}${constants && `, ${constants}`}> {
    h = Conv (x, a) ${body} y = Conv (u, b) }`;

const rows: readonly Row[] = [
  {
    name: "GatherElements couples what it reads with the columns of the indices that were found in it",
    opset: 13,
    graph: matrices(
      "float[3,6] c = {...}, int64[1] two = {2}",
      "k = MatMul (x, c) v, i = TopK <axis = 1> (h, two) u = GatherElements <axis = 1> (k, i)",
    ),
    groups: ["a:1 6"],
  },
  {
    name: "GatherElements with constant indices over the first columns leaves the others free",
    opset: 13,
    graph: `g (float[4,3] x) => (float[] y) <float[3,6] a = {...}, float[4,2] b = {...}, int64[2,4] i = {0, 3, 1, 2, -1, 0, 2, 1}> {
      h = MatMul (x, a) u = GatherElements (h, i) y = MatMul (u, b) }`,
    groups: ["a:1 6"],
  },
  {
    name: "GatherND keeps batch and the axes behind its coordinates",
    opset: 13,
    graph: matrices("int64[2,5,1] i = {0, 3, 1, 2, -1, 0, 2, 1, 3, 0}", "u = GatherND <batch_dims = 1> (h, i)"),
    groups: ["a:1 6"],
  },
  {
    name: "ScatterElements couples data, indices and updates but for the axis it writes along",
    opset: 18,
    graph: matrices(
      "float[3,6] c = {...}, int64[1] two = {2}",
      'k = MatMul (x, c) v, i = TopK <axis = 1> (k, two) u = ScatterElements <axis = 1, reduction = "add"> (h, i, v)',
    ),
    groups: ["a:1 6"],
  },
  {
    name: "Scatter, its predecessor, does too",
    opset: 10,
    graph: matrices(
      "float[3,6] c = {...}, int64[1] two = {2}",
      "k = MatMul (x, c) v, i = TopK <axis = 1> (k, two) u = Scatter <axis = 1> (h, i, v)",
    ),
    groups: ["a:1 6"],
  },
  {
    name: "ScatterND couples data and updates behind the coordinates",
    opset: 16,
    graph: matrices(
      "float[3,6] c = {...}, int64[2,2] i = {0, 3, 1, 1}, int64[2] at = {0, 1}, int64[1] end = {0}",
      "k = MatMul (x, c) s = Gather (k, end) t = Squeeze (s, end) v = Gather (t, at) u = ScatterND (h, i, v)",
    ),
    groups: ["a:1 6"],
  },
  {
    name: "ReverseSequence passes all but time",
    opset: 10,
    graph: matrices("int64[2] n = {4, 2}", "u = ReverseSequence <batch_axis = 0, time_axis = 1> (h, n)"),
    groups: ["a:1 6"],
  },
  {
    name: "Compress by a condition known at run time passes the other axes",
    opset: 11,
    graph: matrices(
      "float zero = {0}, int64[1] ends = {2}",
      "s = ReduceMax <axes = [0, 2], keepdims = 0> (x) c = Less (zero, s) u = Compress <axis = 1> (h, c)",
    ),
    groups: ["a:1 6"],
  },
  {
    name: "Compress by a constant condition picks, and what it drops is free",
    opset: 11,
    graph: `g (float[2,3] x) => (float[] y) <float[3,6] a = {...}, float[3,2] b = {...}, bool[5] c = {1, 0, 1, 0, 1}> {
      h = MatMul (x, a) u = Compress <axis = 1> (h, c) y = MatMul (u, b) }`,
    groups: ["a:1 6"],
  },
  {
    name: "Compress of the flattened input follows its product",
    opset: 11,
    graph: `g (float[1,3] x) => (float[] y) <float[3,6] a = {...}, float[4,2] b = {...}, bool[6] c = {1, 0, 1, 1, 0, 1}> {
      h = MatMul (x, a) u = Compress (h, c) y = MatMul (u, b) }`,
    groups: ["a:1 6"],
  },
  {
    name: "OneHot passes the axes of the indices",
    opset: 13,
    graph: `g (float[4,3] x) => (float[] y) <float[3,6] a = {...}, float[6,2] b = {...}, int64 depth = {4}, float[2] v = {0, 1}> {
      h = MatMul (x, a) i = ArgMax <axis = 0, keepdims = 0> (h) u = OneHot <axis = 0> (i, depth, v) y = MatMul (u, b) }`,
    groups: ["a:1 6"],
  },
  {
    name: "GridSample passes channels",
    opset: 16,
    graph: convolutions("", "u = GridSample (h, grid)", ", float[1,5,4,2] grid"),
    groups: ["a:0 6"],
  },
  {
    name: "AffineGrid makes a grid of fixed extents",
    opset: 20,
    graph: convolutions("int64[4] size = {1, 3, 5, 4}", "grid = AffineGrid (theta, size) u = GridSample (h, grid)", ", float[1,2,3] theta"),
    groups: ["a:0 6"],
  },
  {
    name: "RoiAlign passes channels",
    opset: 16,
    graph: convolutions(
      "float[2,4] rois = {0, 0, 4, 4, 1, 2, 7, 6}, int64[2] of = {0, 0}",
      "u = RoiAlign <output_height = 3, output_width = 2> (h, rois, of)",
    ),
    groups: ["a:0 6"],
  },
  {
    name: "MaxRoiPool passes channels",
    opset: 13,
    graph: convolutions("float[2,5] rois = {0, 0, 0, 4, 4, 0, 1, 2, 7, 6}", "u = MaxRoiPool <pooled_shape = [2, 2]> (h, rois)"),
    groups: ["a:0 6"],
  },
  {
    name: "MaxUnpool couples its channels with those its indices count, through a layer between",
    opset: 13,
    graph: convolutions(
      "float[6,6,1,1] c = {...}, float[1,6,8,8] h",
      `p, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (h) q = Conv (p, c)
       u = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (q, i)`,
    ),
    groups: ["a:0 6"],
  },
  {
    name: "MaxUnpool to a stated shape follows",
    opset: 22,
    graph: convolutions(
      "int64[4] size = {1, 6, 8, 8}, float[1,6,8,8] h",
      `p, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (h)
       u = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (p, i, size)`,
    ),
    groups: ["a:0 6"],
  },
  {
    name: "MaxUnpool to other extents than the pool had keeps channels: its indices would run across them",
    opset: 22,
    graph: convolutions(
      "int64[4] size = {1, 6, 9, 9}, float[1,6,8,8] h",
      `p, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (h)
       u = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (p, i, size)`,
    ),
    groups: [],
  },
  {
    name: "Col2Im reads channels times blocks",
    opset: 18,
    graph: `g (float[1,3,9] x) => (float[] y) <float[24,3,1] a = {...}, float[2,6,1,1] b = {...}, int64[2] image = {4, 4}, int64[2] block = {2, 2}> {
      h = Conv (x, a) u = Col2Im (h, image, block) y = Conv (u, b) }`,
    groups: ["a:0 6"],
  },
  {
    name: "CenterCropPad passes axes that it does not change, and says their new extent",
    opset: 18,
    graph: convolutions("int64[2] size = {6, 5}", "u = CenterCropPad <axes = [1, 2]> (h, size)"),
    groups: ["a:0 6"],
  },
  {
    name: "CenterCropPad keeps an axis whose middle it takes",
    opset: 18,
    graph: `g (float[2,3] x) => (float[] y) <float[3,6] a = {...}, float[4,2] b = {...}, int64[1] size = {4}> {
      h = MatMul (x, a) u = CenterCropPad <axes = [1]> (h, size) y = MatMul (u, b) }`,
    groups: [],
  },
  {
    name: "TensorScatter couples cache and update",
    opset: 24,
    ir: 10,
    graph: matrices(
      "float[3,6] c = {...}, int64[2] at = {1, 3}, int64[1] one = {1}",
      "k = MatMul (x, c) t = Gather <axis = 1> (k, one) u = TensorScatter (h, t, at)",
    ),
    groups: ["a:1 6"],
  },
  {
    name: "DeformConv is a convolution",
    opset: 19,
    graph: `g (float[1,3,6,6] x, float[1,8,5,5] at, float[1,4,5,5] m) => (float[] y) <
      float[6,3,1,1] a = {...}, float[5,6,2,2] w = {...}, float[5] bias = {...}, float[2,5,1,1] b = {...}> {
      h = Conv (x, a) u = DeformConv (h, w, at, bias, m) y = Conv (u, b) }`,
    groups: ["a:0 6", "w:0 5"],
  },
  {
    name: "DeformConv with offset groups keeps as many channels in each",
    opset: 19,
    graph: `g (float[1,3,6,6] x, float[1,16,5,5] at) => (float[] y) <
      float[6,3,1,1] a = {...}, float[5,6,2,2] w = {...}, float[2,5,1,1] b = {...}> {
      h = Conv (x, a) u = DeformConv <offset_group = 2> (h, w, at) y = Conv (u, b) }`,
    groups: ["a:0 3", "w:0 5"],
  },
  {
    name: "DFT passes all but the transformed axis",
    opset: 20,
    tolerance: 1e-5,
    graph: matrices(
      "int64[1] last = {-1}, int64 axis = {1}",
      "s = Unsqueeze (h, last) d = DFT (s, , axis) r = ReduceSum <keepdims = 0> (d, last) u = Identity (r)",
    ),
    groups: ["a:1 6"],
  },
  {
    name: "DFT before opset 20, too",
    opset: 17,
    graph: matrices(
      "int64[1] last = {-1}",
      "s = Unsqueeze (h, last) d = DFT <axis = 1, onesided = 1> (s) u = ReduceSum <keepdims = 0> (d, last)",
    ),
    groups: ["a:1 6"],
  },
  {
    name: "Det passes the axes of the batch",
    opset: 11,
    graph: `g (float[1,3,3,3] x) => (float[] y) <float[6,3,1,1] a = {...}, float[6,2] b = {...}> {
      h = Conv (x, a) u = Det (h) y = MatMul (u, b) }`,
    groups: ["a:0 6"],
  },
  {
    name: "NegativeLogLikelihoodLoss without a reduction passes the axes behind the classes",
    opset: 13,
    graph: `g (float[1,4,3] x) => (float[] y) <float[3,6] a = {...}, int64[1,6] t = {0, 3, 1, 2, 0, 1}, float[4] w = {...}, float[6,2] b = {...}> {
      h = MatMul (x, a) u = NegativeLogLikelihoodLoss <reduction = "none"> (h, t, w) y = MatMul (u, b) }`,
    groups: ["a:1 6"],
  },
  {
    name: "SoftmaxCrossEntropyLoss, too, and its log_prob",
    opset: 13,
    graph: `g (float[1,4,3] x) => (float[] y) <float[3,6] a = {...}, int64[1,6] t = {0, 3, 1, 2, 0, 1}, float[6,2] b = {...}> {
      h = MatMul (x, a) l, p = SoftmaxCrossEntropyLoss <reduction = "none"> (h, t) u = Add (l, p) y = MatMul (u, b) }`,
    groups: ["a:1 6"],
  },
  {
    name: "a reduced loss keeps all",
    opset: 13,
    graph: `g (float[1,4,3] x) => (float[] y) <float[3,6] a = {...}, int64[1,6] t = {0, 3, 1, 2, 0, 1}> {
      h = MatMul (x, a) y = SoftmaxCrossEntropyLoss (h, t) }`,
    groups: [],
  },
  {
    name: "CumProd passes all but its axis, BitCast all",
    opset: 26,
    ir: 10,
    graph: matrices("int64 axis = {1}", "p = CumProd (h, axis) i = BitCast <to = 6> (p) u = BitCast <to = 1> (i)"),
    groups: ["a:1 6"],
  },
  {
    name: "OptionalGetElement of a tensor is the tensor; OptionalHasElement does not look into it",
    opset: 18,
    graph: matrices("", "e = OptionalGetElement (h) c = OptionalHasElement (h) n = Neg (e) u = Where (c, e, n)"),
    groups: ["a:1 6"],
  },
];

describe("the axis rule of each operator, against the oracle", () => {
  for (const row of rows) test(row.name, () => proveRow(row));
});

async function proveRow({ opset, graph, groups, ir, tolerance = 1e-5 }: Row): Promise<void> {
  const model = modelOf(graph, opset);
  if (ir) model.irVersion = ir;
  const c = findGroups(model);
  expect(c.groups.map((g) => `${g.name} ${g.choices.length}`)).toEqual(groups);
  if (groups.length === 0) return;
  for (const ratio of [0.5, 0.75, undefined]) {
    const removed = randomRemoval(c, `${graph.length}:${ratio}`, ratio);
    if (ratio) expect(removed.size).toBeGreaterThan(0);
    const proof = await prove(c, removed);
    expect({ ratio, maxRel: proof.maxRel, isClose: proof.maxRel <= tolerance }).toMatchObject({ isClose: true });
    if (removed.size > 0) expect(proof.drift).toBeGreaterThan(0);
  }
}
