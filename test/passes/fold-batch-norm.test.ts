import { describe, expect, test } from "vitest";
import type { Model } from "../../src/graph/graph.js";
import { print } from "../../src/graph/print.js";
import { Tensor } from "../../src/graph/tensor.js";
import { foldBatchNorm } from "../../src/passes/fold-batch-norm.js";
import { runPass } from "../../src/passes/run-pass.js";
import { findValue, modelOf, randomFloats } from "../support/build.js";
import { difference, run } from "../support/run.js";

const norm = (c: number, p = "") =>
  `float[${c}] g${p} = {...}, float[${c}] b${p} = {...}, float[${c}] m${p} = {...}, float[${c}] v${p} = {...}`;

/** The model of `text`, its values called v… positive: they are variances. */
function withNorm(text: string, opset = 15): Model {
  const model = modelOf(text, opset);
  for (const v of model.graph.initializers) {
    const t = v.initializer as Tensor;
    if (/^v/.test(v.name))
      model.graph.setConstant(
        v,
        Tensor.fromNumbers(
          t.dtype,
          t.dims,
          randomFloats(v.name, t.size).map((x) => 0.1 + x * x),
        ),
      );
  }
  return model;
}

const opTypes = (model: Model) => model.graph.nodes.map((n) => n.opType);

/** Folds everything there is and compares what ONNX Runtime computes. 1e-5: float32, sums of some dozens of terms. */
async function expectFolded(model: Model, left: readonly string[]): Promise<Model> {
  const { model: folded, changed, notes } = runPass(foldBatchNorm, model);
  expect(changed).toBe(true);
  expect(notes).toEqual([]);
  expect(opTypes(folded)).toEqual(left);
  expect(difference(await run(model), await run(folded))).toBeLessThan(1e-5);
  return folded;
}

function expectKept(model: Model): string {
  const result = runPass(foldBatchNorm, model);
  expect(result.changed).toBe(false);
  expect(result.model).toBe(model);
  expect(result.notes.map((n) => n.code)).toEqual(["BATCH_NORM_KEPT"]);
  return `${result.notes[0]?.about}: ${result.notes[0]?.why}`;
}

describe("fold-batch-norm", () => {
  test("a Conv takes over the normalisation and keeps the name of the graph output", async () => {
    const folded = await expectFolded(
      withNorm(`g (float[2, 3, 5, 5] x) => (float[2, 4, 5, 5] y) <float[4, 3, 3, 3] w = {...}, ${norm(4)}> {
      c = Conv <pads = [1, 1, 1, 1]> (x, w)
      y = BatchNormalization <epsilon = 0.01> (c, g, b, m, v)
    }`),
      ["Conv"],
    );
    expect(folded.graph.nodes[0]?.outputs[0]?.name).toBe("y");
  });

  test("a Conv with groups and a bias", async () => {
    await expectFolded(
      withNorm(`g (float[2, 6, 5, 5] x) => (float[] y) <float[4, 3, 3, 3] w = {...}, float[4] cb = {...}, ${norm(4)}> {
      c = Conv <group = 2> (x, w, cb)
      n = BatchNormalization (c, g, b, m, v)
      y = Relu (n)
    }`),
      ["Conv", "Relu"],
    );
  });

  test("a ConvTranspose with groups: output channels lie along axis 1, group by group", async () => {
    await expectFolded(
      withNorm(`g (float[2, 4, 5, 5] x) => (float[] y) <float[4, 3, 2, 2] w = {...}, float[6] cb = {...}, ${norm(6)}> {
      c = ConvTranspose <group = 2> (x, w, cb)
      y = BatchNormalization (c, g, b, m, v)
    }`),
      ["ConvTranspose"],
    );
  });

  test.each([0, 1])("a Gemm with alpha, beta and transB = %i", async (transB) => {
    await expectFolded(
      withNorm(`g (float[2, 3] x) => (float[] y) <float[${transB ? "5, 3" : "3, 5"}] w = {...}, float[1, 5] cb = {...}, ${norm(5)}> {
      c = Gemm <transB = ${transB}, alpha = 0.5, beta = 3.0> (x, w, cb)
      y = BatchNormalization (c, g, b, m, v)
    }`),
      ["Gemm"],
    );
  });

  test("a MatMul of matrices gains an Add", async () => {
    await expectFolded(
      withNorm(`g (float[N, 3] x) => (float[N, 5] y) <float[3, 5] w = {...}, ${norm(5)}> {
      c = MatMul (x, w)
      y = BatchNormalization (c, g, b, m, v)
    }`),
      ["MatMul", "Add"],
    );
  });

  test("two in a row", async () => {
    await expectFolded(
      withNorm(`g (float[2, 3, 5, 5] x) => (float[] y) <float[4, 3, 1, 1] w = {...}, ${norm(4)}, ${norm(4, "2")}> {
      c = Conv (x, w)
      n = BatchNormalization (c, g, b, m, v)
      y = BatchNormalization (n, g2, b2, m2, v2)
    }`),
      ["Conv"],
    );
  });

  test("a weight with another reader is copied, not changed", async () => {
    const model =
      withNorm(`g (float[2, 3, 5, 5] x) => (float[] y, float[] z) <float[3, 3, 1, 1] w = {...}, float[3] cb = {...}, ${norm(3)}> {
      c = Conv (x, w, cb)
      y = BatchNormalization (c, g, b, m, v)
      z = Conv (x, w, cb)
    }`);
    const folded = await expectFolded(model, ["Conv", "Conv"]);
    expect(findValue(folded, "w").constant).toBe(findValue(model, "w").constant);
  });

  test("weights in Constant nodes", async () => {
    await expectFolded(
      withNorm(`g (float[2, 1, 3, 3] x) => (float[] y) <${norm(2)}> {
      w = Constant <value = float[2, 1, 1, 1] {2, 3}> ()
      c = Conv (x, w)
      y = BatchNormalization (c, g, b, m, v)
    }`),
      ["Constant", "Conv"],
    );
  });

  test("float16 weights stay float16, and are rounded once", () => {
    const { model } = runPass(
      foldBatchNorm,
      modelOf(
        `g (float16[1, 1, 3, 3] x) => (float16[1, 1, 3, 3] y)
      <float16[1, 1, 1, 1] w = {0.1}, float[1] g = {0.3}, float[1] b = {0.0}, float[1] m = {0.0}, float[1] v = {1.0}> {
      c = Conv (x, w)
      y = BatchNormalization <epsilon = 0.0> (c, g, b, m, v)
    }`,
        15,
      ),
    );
    // 0.1 and 0.3 are 0.09997559 and 0.30000001 as stored; their product 0.02999268 lies 941.6 units of 2^-16 above 2^-6.
    expect(findValue(model, "w").constant?.dtype).toBe("float16");
    expect(Array.from(findValue(model, "w").constant?.data ?? [])).toEqual([0x27ae]);
  });

  test("what is left alone is told, with the reason", () => {
    const conv = `c = Conv (x, w)`;
    const bn = `y = BatchNormalization (c, g, b, m, v)`;
    const graph = (body: string, more = "", outputs = "float[] y") =>
      `g (float[2, 4, 5, 5] x) => (${outputs}) <float[4, 4, 1, 1] w = {...}, ${norm(4)}${more}> { ${body} }`;
    const told = [
      graph(`y0 = BatchNormalization (x, g, b, m, v) y = Conv (y0, w)`),
      graph(`c = Relu (x) ${bn}`),
      graph(`${conv} ${bn} z = Relu (c)`, "", "float[] y, float[] z"),
      graph(`${conv} ${bn}`, "", "float[] y, float[] c"),
      graph(`u = Abs (w) c = Conv (x, u) ${bn}`),
      graph(`${conv} y = BatchNormalization <training_mode = 1> (c, g, b, m, v)`),
    ].map((text) => expectKept(withNorm(text)));
    told.push(expectKept(modelOf(graph(`${conv} ${bn}`).replace("float[4] v = {...}", "float[4] v = {1, 1, -1, 1}"), 15)));
    expect(told).toMatchInlineSnapshot(`
      [
        "y0: a graph input or a constant feeds it",
        "y: Relu "c" feeds it, not a Conv, ConvTranspose, Gemm or MatMul",
        "y: the output of Conv "c" has other readers",
        "y: the output of Conv "c" has other readers",
        "y: the weight of Conv "c" is not a constant",
        "y: it is in training mode",
        "y: its variance or another parameter is not a positive finite number",
      ]
    `);
  });

  test("a MatMul of rank 3 is left alone: axis 1 is not its channels", () => {
    expect(
      expectKept(
        withNorm(`g (float[2, 4, 3] x) => (float[] y) <float[3, 4] w = {...}, ${norm(4)}> {
      c = MatMul (x, w)
      y = BatchNormalization (c, g, b, m, v)
    }`),
      ),
    ).toMatchInlineSnapshot(`"y: the output of MatMul "c" is not a matrix"`);
  });

  test("the input model is as it was", () => {
    const model = withNorm(`g (float[2, 3, 5, 5] x) => (float[] y) <float[4, 3, 1, 1] w = {...}, ${norm(4)}> {
      c = Conv (x, w)
      y = BatchNormalization (c, g, b, m, v)
    }`);
    const before = print(model);
    runPass(foldBatchNorm, model);
    expect(print(model)).toBe(before);
  });
});
