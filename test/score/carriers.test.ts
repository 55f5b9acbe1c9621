import { expect, test } from "vitest";
import { readModel } from "../../src/export/read.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { carriersOf } from "../../src/score/carriers.js";
import { modelOf } from "../support/build.js";

/** Group: each carrier as value:axis, its extent, where channel 1 lies, and how many weights read it. */
const shown = (model: Model) => {
  const coupling = findGroups(model);
  return Object.fromEntries(
    coupling.groups.map((g) => [
      g.name,
      carriersOf(g, coupling).map(
        (c) => `${c.value.name}:${c.axis} of ${c.extent}, channel 1 at ${c.positions(1).join(",")}, read ${c.readers.length}×`,
      ),
    ]),
  );
};

test("a feature map is seen after its activation, before pooling and flattening", () => {
  const model = modelOf(`g (float[N, 3, 8, 8] x) => (float[N, 10] y)
    <float[4, 3, 3, 3] w1 = {...}, float[10, 64] w2 = {...}> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1)
    b = Relu (a)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, w2)
  }`);
  expect(shown(model)).toEqual({ "w1:0": ["b:1 of 4, channel 1 at 1, read 1×"] });
});

test("parts of a concatenation are seen together, each at its place, where nothing but the whole is read", () => {
  const model = modelOf(`g (float[N, 3, 4, 4] x) => (float[N, 2, 4, 4] y)
    <float[4, 3, 1, 1] w1 = {...}, float[5, 3, 1, 1] w2 = {...}, float[2, 9, 1, 1] w3 = {...}> {
    a = Conv (x, w1)
    b = Conv (x, w2)
    c = Concat <axis = 1> (a, b)
    r = Relu (c)
    y = Conv (r, w3)
  }`);
  expect(shown(model)).toEqual({
    "w1:0": ["r:1 of 9, channel 1 at 1, read 1×"],
    "w2:0": ["r:1 of 9, channel 1 at 5, read 1×"],
  });
});

test("a convolution in groups reads each channel where it lies among all groups", () => {
  const model = modelOf(`g (float[N, 3, 4, 4] x) => (float[N, 4, 2, 2] y)
    <float[6, 3, 1, 1] w1 = {...}, float[6, 1, 3, 3] d = {...}, float[4, 3, 1, 1] w2 = {...}> {
    a = Conv (x, w1)
    b = Relu (a)
    c = Conv <group = 6> (b, d)
    e = Clip (c)
    y = Conv <group = 2> (e, w2)
  }`);
  // Not before the depthwise convolution: it makes the channels that are read. Once by the filters of each group.
  expect(shown(model)["w1:0"]).toEqual(["e:1 of 6, channel 1 at 1, read 2×"]);
});

test("weights may be transposed or dequantised before they are multiplied", () => {
  const model = modelOf(`g (float[N, 6] x) => (float[N, 5] y)
    <float[4, 6] w1 = {...}, int8[4, 5] w2 = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2}, float s = {0.5}> {
    t = Transpose <perm = [1, 0]> (w1)
    a = MatMul (x, t)
    b = Relu (a)
    q = DequantizeLinear (w2, s)
    y = MatMul (b, q)
  }`);
  expect(shown(model)).toEqual({ "w1:0": ["b:1 of 4, channel 1 at 1, read 1×"] });
});

test("tokens carry their features on the last axis", () => {
  const model = modelOf(`g (float[N, 7, 6] x) => (float[N, 7, 6] y) <float[6, 8] w1 = {...}, float[8, 6] w2 = {...}> {
    a = MatMul (x, w1)
    b = Relu (a)
    y = MatMul (b, w2)
  }`);
  expect(shown(model)).toEqual({ "w1:1": ["b:2 of 8, channel 1 at 1, read 1×"] });
});

test("a residual stream is seen once for each block that reads it", async () => {
  const counts = Object.values(shown(await readModel("models/cifar10_resnet20.onnx"))).map((of) => of.length);
  // Three streams (the later two in two parts, as the padded shortcuts make them), and nine channels inside blocks.
  expect(counts.filter((n) => n === 1)).toHaveLength(9);
  expect(counts.filter((n) => n > 1).sort((a, b) => a - b)).toEqual([3, 3, 6, 6, 10]);
});
