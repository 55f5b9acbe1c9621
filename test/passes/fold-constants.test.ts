import { describe, expect, test } from "vitest";
import { print } from "../../src/graph/print.js";
import { foldConstants } from "../../src/passes/fold-constants.js";
import { removeDead } from "../../src/passes/remove-dead.js";
import { runPass } from "../../src/passes/run-pass.js";
import { findValue, modelOf } from "../support/build.js";
import { difference, run } from "../support/run.js";

describe("fold-constants", () => {
  test("a chain of nodes on constants becomes one initializer, which keeps its name and readers", async () => {
    const model = modelOf(`g (float[2, 3] x) => (float[2, 2] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}, float[2, 3] d = {1, 1, 1, 2, 2, 2}> {
      s = Sub (w, d)
      t = Transpose <perm = [1, 0]> (s)
      y = MatMul (x, t)
    }`);
    const folded = runPass(removeDead, runPass(foldConstants, model).model).model;
    expect(print(folded)).toMatchInlineSnapshot(`
      "<ir_version: 8, opset_import: ["" : 13]>
      g (float[2,3] x) => (float[2,2] y) <
        float[3,2] t = {0, 2, 1, 3, 2, 4}
      > {
        y = MatMul (x, t)
      }
      "
    `);
    expect(difference(await run(model), await run(folded))).toBe(0);
  });

  // The statistics are tensors of their own: with one tensor for B and input_mean, ONNX Runtime 1.30 without optimisation computes wrongly.
  test("weight standardisation written as a batch normalisation in training mode becomes a plain weight", async () => {
    const model = modelOf(
      `g (float[1, 3, 5, 5] x) => (float[1, 4, 3, 3] y)
      <float[4, 3, 3, 3] w = {...}, float[4] s = {...}, float[4] b = {0, 0, 0, 0}, float[4] m = {0, 0, 0, 0}, float[4] o = {1, 1, 1, 1}, int64[3] rows = {1, 4, -1}, int64[4] back = {4, 3, 3, 3}> {
      r = Reshape (w, rows)
      n, mean, var = BatchNormalization <training_mode = 1, epsilon = 0.001> (r, s, b, m, o)
      k = Reshape (n, back)
      y = Conv (x, k)
    }`,
      15,
    );
    const folded = runPass(removeDead, runPass(foldConstants, model).model).model;
    expect(folded.graph.nodes.map((n) => n.opType)).toEqual(["Conv"]);
    expect(difference(await run(model), await run(folded))).toBeLessThan(1e-5);
  });

  test("arithmetic on shapes folds where every extent is a number, and not where one is a symbol", () => {
    const text = (n: string) => `g (float[${n}, 4, 3] x) => (float[] y) <int64[1] i = {0}, int64[1] rest = {-1}> {
      s = Shape (x)
      b = Gather (s, i)
      to = Concat <axis = 0> (b, rest)
      y = Reshape (x, to)
    }`;
    const { model } = runPass(foldConstants, modelOf(text("2")));
    expect(model.graph.nodes.map((n) => n.opType)).toEqual(["Reshape"]);
    expect(findValue(model, "to").constant?.ints()).toEqual([2, -1]);
    expect(runPass(foldConstants, modelOf(text("N"))).changed).toBe(false);
  });

  test("a parameter inside symbolic arithmetic folds by itself", () => {
    const { model } = runPass(
      foldConstants,
      modelOf(`g (float[N, 4, 3] x) => (float[] y) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1}> {
      s = Shape (x)
      n = Gather (s, zero)
      c = Gather (s, one)
      to = Concat <axis = 0> (n, c, rest)
      y = Reshape (x, to)
    }`),
    );
    expect(model.graph.nodes.map((n) => n.label)).toEqual(["s", "n", "to", "y"]);
    expect(findValue(model, "c").constant?.ints()).toEqual([4]);
  });

  test("dequantised weights, random numbers, graph outputs and nodes with subgraphs stay", () => {
    const { changed } = runPass(
      foldConstants,
      modelOf(`g (float[2] x) => (float[2] y, float[2] z, float[2] r, float[2] k) <int8[2] q = {1, 2}, float s = {0.5}, bool c = {1}, float[2] w = {1, 2}> {
      y0 = DequantizeLinear (q, s)
      y = Mul (x, y0)
      i = If <then_branch = a () => (float[2] t) { t = Neg (w) }, else_branch = b () => (float[2] e) { e = Abs (w) }> (c)
      z = Mul (x, i)
      r0 = RandomNormal <shape = [2]> ()
      r = Mul (x, r0)
      k = Neg (w)
    }`),
    );
    expect(changed).toBe(false);
  });

  test("a result that would grow the file by more than 16 MiB stays, and is told", () => {
    const { changed, notes } = runPass(
      foldConstants,
      modelOf(`g (float x) => (float[] y) <float w = {1}, int64[2] to = {2049, 2048}> {
      e = Expand (w, to)
      y = Add (e, x)
    }`),
    );
    expect(changed).toBe(false);
    expect(notes).toMatchInlineSnapshot(`
      [
        {
          "about": "e",
          "code": "CONSTANT_KEPT",
          "why": "its outputs have 16785408 bytes, over 16777216 more than its inputs",
        },
      ]
    `);
  });

  test("Constant nodes become initializers when asked for", async () => {
    const model = modelOf(`g (float[2] x) => (float[2] y) {
      k = Constant <value = float[2] {2, 3}> ()
      y = Mul (x, k)
    }`);
    expect(runPass(foldConstants, model).changed).toBe(false);
    const { model: folded } = runPass(foldConstants, model, { initializers: true });
    expect(print(folded)).toMatchInlineSnapshot(`
      "<ir_version: 8, opset_import: ["" : 13]>
      g (float[2] x) => (float[2] y) <
        float[2] k = {2, 3}
      > {
        y = Mul (x, k)
      }
      "
    `);
    expect(difference(await run(model), await run(folded))).toBe(0);
  });

  test("a folded value that a subgraph captures is the same to it", async () => {
    const model = modelOf(`g (bool[1] c, float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
      n = Neg (w)
      d = Relu (x)
      b = Squeeze (c)
      y = If <then_branch = a () => (float[2] t) { t = Mul (d, n) }, else_branch = f () => (float[2] e) { e = Add (d, n) }> (b)
    }`);
    const { model: folded, changed } = runPass(foldConstants, model);
    expect(changed).toBe(true);
    expect(folded.graph.nodes.map((n) => n.label)).toEqual(["d", "b", "y"]);
  });
});
