import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { decode } from "../../src/graph/codec.js";
import { cost } from "../../src/graph/cost.js";
import { modelOf } from "../support/build.js";

const conv = `g (float[N, 3, H, W] x) => (float[] y) <float[8, 3, 3, 3] w = {...}, float[8] b = {...}, int64[1] axes = {0}> {
  c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
  r = Relu (c)
  y = Unsqueeze (r, axes)
}`;

describe("cost", () => {
  it("counts one image, and extents of 224 where the model leaves them open", () => {
    expect(cost(modelOf(conv)).macs).toBe(224 * 224 * 8 * 27);
  });

  it("takes the extents it is given, as symbols or as input shapes", () => {
    const symbols = new Map([
      ["H", 10],
      ["W", 20],
    ]);
    expect(cost(modelOf(conv), undefined, { symbols }).macs).toBe(10 * 20 * 8 * 27);
    expect(cost(modelOf(conv), undefined, { inputShapes: { x: [2, 3, 10, 20] } }).macs).toBe(2 * 10 * 20 * 8 * 27);
  });

  it("counts float elements as parameters and every constant in bytes", () => {
    const { parameters, parameterBytes } = cost(modelOf(conv));
    expect(parameters).toBe(8 * 27 + 8);
    expect(parameterBytes).toBe(4 * parameters + 8);
  });

  it("counts quantised weights as parameters, indices and shapes not", () => {
    const { parameters } = cost(
      modelOf(`g (float[N, 4] x) => (float[] y) <int8[4, 3] w = {...}, float[3] s = {...}, int8[3] z = {...}, int64[1] i = {0}, int32[1] j = {0}> {
        d = DequantizeLinear <axis = 1> (w, s, z)
        m = MatMul (x, d)
        u = Unsqueeze (m, i)
        y = Gather (u, j)
      }`),
    );
    expect(parameters).toBe(12 + 3 + 3);
  });

  it("counts a shared tensor once, for its first reader, and none that nothing depends on", () => {
    const model = modelOf(`g (float[N, 4] x) => (float[] y) <float[4, 4] w = {...}, float[7] dead = {...}> {
      h = MatMul (x, w)
      unused = Neg (dead)
      y = MatMul (h, w)
    }`);
    const { parameters, byNode } = cost(model);
    expect(parameters).toBe(16);
    expect(byNode.map((n) => [n.label, n.macs, n.parameters])).toEqual([
      ["h", 16, 16],
      ["unused", 0, 0],
      ["y", 16, 0],
    ]);
  });

  it("adds up the activations that are alive at once", () => {
    // x and c; c and r, x being dead; a Reshape counts as a copy.
    const symbols = new Map([
      ["H", 10],
      ["W", 10],
    ]);
    expect(cost(modelOf(conv), undefined, { symbols }).activationBytes).toBe(4 * 100 * (8 + 8));
  });

  it("lists operators it cannot count", () => {
    const model = modelOf(`<ir_version: 8, opset_import: ["" : 13, "com.example" : 1]>
      g (float[N, 4] x) => (float[N, 4] y) { h = com.example.Mystery (x) y = Relu (h) }`);
    expect(cost(model).notCounted).toEqual(["com.example.Mystery"]);
  });

  it("takes the dearer branch of an If and every iteration of a Loop", () => {
    const branches = `g (bool c, float[1, 4] x) => (float[] y) <float[4, 4] w = {...}, float[4, 8] v = {...}> {
      y = If <then_branch = a () => (float[] t) { t = MatMul (x, w) }, else_branch = b () => (float[] e) { e = MatMul (x, v) }> (c)
    }`;
    expect(cost(modelOf(branches)).macs).toBe(32);
    expect(cost(modelOf(branches)).parameters).toBe(16 + 32);
    const loop = `g (float[1, 4] x) => (float[] y) <int64 m = {3}, bool go = {1}, float[4, 4] w = {...}> {
      y = Loop <body = b (int64 i, bool c, float[] s) => (bool c2, float[] s2) { c2 = Identity (c) s2 = MatMul (s, w) }> (m, go, x)
    }`;
    expect(cost(modelOf(loop)).macs).toBe(3 * 16);
  });

  it("agrees with a count by hand on a fixture", () => {
    // Conv 3→8 and 8→4, 3x3 padded, on 8x8.
    const model = decode(readFileSync(new URL("../fixtures/topologies/cat_same_twice.onnx", import.meta.url)));
    const { macs, parameters, nodes } = cost(model);
    expect(nodes).toBe(model.graph.nodes.length);
    const weights = model.graph.initializers.map((v) => v.initializer).filter((t) => t !== undefined);
    expect(parameters).toBe(weights.reduce((n, t) => n + t.size, 0));
    expect(macs).toBe(weights.filter((t) => t.dims.length === 4).reduce((n, t) => n + t.size * 64, 0));
  });
});
