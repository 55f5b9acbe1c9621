/** The axis rule of each operator with axes of its own, end to end: what may leave is listed, and what is left computes what the oracle says. */
import { describe, expect, test } from "vitest";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { findNode, modelOf } from "../../support/build.js";
import { convolutions, matrices, type OpRow, proveRow } from "../../support/op-rows.js";
import { prove } from "../../support/oracle.js";

const rows: readonly OpRow[] = [
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
  {
    name: "Gather by a matrix of indices known at run time keeps the rows of a table and passes its columns",
    opset: 13,
    graph: `g (int64[2,3] x) => (float[] y) <float[9,6] a = {...}, float[6,2] b = {...}, int64 most = {8}, int64 none = {0}> {
      p = Min (x, most) i = Max (p, none) u = Gather (a, i) y = MatMul (u, b) }`,
    groups: ["a:1 6"],
  },
  {
    name: "MatMul with a vector sums over it",
    opset: 13,
    graph: `g (float[2,3] x) => (float[] y) <float[3,6] a = {...}, float[6] b = {...}> { h = MatMul (x, a) y = MatMul (h, b) }`,
    groups: ["a:1 6"],
  },
  {
    name: "MatMul of a vector makes one",
    opset: 13,
    graph: `g (float[3] x) => (float[] y) <float[3,6] a = {...}, float[6,2] b = {...}> { h = MatMul (x, a) y = MatMul (h, b) }`,
    groups: ["a:1 6"],
  },
  {
    name: "Trilu tells rows from columns, and passes what is before",
    opset: 14,
    graph: `g (float[1,3,4,4] x) => (float[] y) <float[6,3,1,1] a = {...}, float[2,6,1,1] b = {...}> {
      h = Conv (x, a) u = Trilu (h) y = Conv (u, b) }`,
    groups: ["a:0 6"],
  },
  {
    name: "STFT passes the batch",
    opset: 17,
    tolerance: 2e-5,
    graph: `g (float[16,3] x) => (float[] y) <float[3,6] a = {...}, float[6,2] b = {...}, int64 step = {4}, int64 frame = {8}, int64[1] last = {2}, int64[3] all = {1, 2, 3}> {
      h = MatMul (x, a) t = Transpose (h) s = Unsqueeze (t, last) f = STFT (s, step, , frame) q = Mul (f, f) u = ReduceSum <keepdims = 0> (q, all) y = MatMul (u, b) }`,
    groups: ["a:1 6"],
  },
  {
    name: "GlobalLpPool, LpPool and Upsample pass channels",
    opset: 9,
    graph: `g (float[1,3,8,8] x) => (float[] y) <float[6,3,1,1] a = {...}, float[2,6,1,1] b = {...}, float[4] twice = {1, 1, 2, 2}> {
      h = Conv (x, a) p = LpPool <kernel_shape = [2, 2]> (h) r = Upsample (p, twice) u = GlobalLpPool (r) y = Conv (u, b) }`,
    groups: ["a:0 6"],
  },
  {
    name: "RMSNormalization over space passes channels",
    opset: 23,
    ir: 10,
    graph: convolutions("float[8] scale = {...}", "u = RMSNormalization <axis = -1> (h, scale)"),
    groups: ["a:0 6"],
  },
  {
    name: "MeanVarianceNormalization over space passes channels",
    opset: 13,
    graph: convolutions("", "u = MeanVarianceNormalization <axes = [2, 3]> (h)"),
    groups: ["a:0 6"],
  },
  {
    name: "Hardmax and ArgMin along another axis pass the rest",
    opset: 13,
    graph: matrices("", "m = Hardmax <axis = 1> (h) i = ArgMin <axis = 1> (h) f = Cast <to = 1> (i) p = Mul (m, h) u = Add (p, f)"),
    groups: ["a:1 6"],
  },
  {
    name: "Softmax before opset 13 normalises over all axes from its own on",
    opset: 11,
    graph: `g (float[1,3,8] x) => (float[] y) <float[6,3,1] a = {...}, float[2,6,1] b = {...}> {
      h = Conv (x, a) u = Softmax <axis = 2> (h) y = Conv (u, b) }`,
    groups: ["a:0 6"],
  },
  {
    name: "Softmax before opset 13 along channels keeps them",
    opset: 11,
    graph: `g (float[1,3,8] x) => (float[] y) <float[6,3,1] a = {...}, float[2,6,1] b = {...}> {
      h = Conv (x, a) u = Softmax <axis = 1> (h) y = Conv (u, b) }`,
    groups: [],
  },
];

describe("the axis rule of each operator, against the oracle", () => {
  for (const row of rows) test(row.name, () => proveRow(row));
});

test("Squeeze without axes names those it drops once another axis is left with one index", async () => {
  for (const opset of [11, 13]) {
    const c = findGroups(
      modelOf(
        `g (float[1,3] x) => (float[] y) <float[3,6] a = {...}, float[6,2] b = {...}> { h = MatMul (x, a) u = Squeeze (h) y = MatMul (u, b) }`,
        opset,
      ),
    );
    const proof = await prove(c, c.groups[0]?.choices.slice(1) ?? []);
    expect(proof.maxRel).toBeLessThanOrEqual(1e-5);
    const squeeze = findNode(proof.sliced, "u");
    expect(squeeze.ints("axes") ?? squeeze.inputs[1]?.constant?.ints()).toEqual([0]);
  }
});
