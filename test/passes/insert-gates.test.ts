import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readModel } from "../../src/export/read.js";
import type { Model } from "../../src/graph/graph.js";
import { infer } from "../../src/graph/infer.js";
import { insertGates } from "../../src/passes/insert-gates.js";
import { runPass } from "../../src/passes/run-pass.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Runner } from "../../src/runtime/runner.js";
import { randomFeeds } from "../../src/verify/feeds.js";
import { modelOf } from "../support/build.js";
import { bytesAtLevels } from "../support/run-levels.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

/** Names of what is multiplied by a gate. */
const gated = (model: Model) => model.graph.nodes.filter((n) => n.name.endsWith("_gated")).map((n) => n.inputs[0]?.name);

const BLOCK = `g (float[N, 3, 8, 8] x) => (float[N, 5] y)
  <float[8, 3, 3, 3] w1 = {...}, float[6, 8, 3, 3] w2 = {...}, float[8, 6, 1, 1] w3 = {...}, float[4, 8, 1, 1] w4 = {...}, float[5, 64] w5 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1) ra = Relu (a)
  b = Conv <pads = [1, 1, 1, 1]> (ra, w2) rb = Relu (b)
  c = Conv (rb, w3) s = Add (c, ra) rs = Relu (s)
  d = Conv (rs, w4) rd = Relu (d) m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (rd) f = Flatten (m) y = Gemm <transB = 1> (f, w5) }`;

describe("insert-gates", () => {
  test("gates go on the last map of inner groups; channels of the residual stream get none, with the reason", () => {
    const { model, notes } = runPass(insertGates, modelOf(BLOCK));
    expect(gated(model)).toEqual(["rb", "rd"]);
    expect(notes.map((n) => [n.about, n.why])).toEqual([
      ["ra", "its channels are linked through a residual sum"],
      ["rs", "its channels are linked through a residual sum"],
    ]);
  });

  test("a gate is pool, two 1×1 convolutions with C/r channels between, Sigmoid, twice, and product", () => {
    const { model } = runPass(insertGates, modelOf(BLOCK), { at: ["rb"], reduction: 3 });
    const types = infer(model);
    const at = model.graph.nodes.findIndex((n) => n.opType === "GlobalAveragePool");
    expect(model.graph.nodes.slice(at, at + 7).map((n) => [n.opType, types.shape(n.outputs[0] as never)?.join()])).toEqual([
      ["GlobalAveragePool", "N,6,1,1"],
      ["Conv", "N,2,1,1"],
      ["Relu", "N,2,1,1"],
      ["Conv", "N,6,1,1"],
      ["Sigmoid", "N,6,1,1"],
      ["Mul", "N,6,1,1"],
      ["Mul", "N,6,8,8"],
    ]);
  });

  test("`where: all` gates the stream too, and outputs stay the same bits but for one fusion of ONNX Runtime", async () => {
    const before = modelOf(BLOCK);
    const { model } = runPass(insertGates, before, { where: "all" });
    expect(gated(model)).toEqual(["ra", "rb", "rs", "rd"]);
    const feeds = randomFeeds(before, 1);
    // At level "all" the blocked convolution takes the residual sum as its start value, and with a gate on the skip it does not.
    const { all: _, ...got } = await bytesAtLevels(runner, model, feeds);
    const { all: __, ...want } = await bytesAtLevels(runner, before, feeds);
    expect(got).toEqual(want);
  });

  test.each([13, 18])("tokens [N, T, C] are averaged over T (opset %i)", async (opset) => {
    const before = modelOf(
      `g (float[N, 7, 6] x) => (float[N, 7, 6] y) <float[6, 10] w1 = {...}, float[10] b1 = {...}, float[10, 6] w2 = {...}> {
      a = MatMul (x, w1) b = Add (a, b1) r = Relu (b) c = MatMul (r, w2) y = Add (c, x) }`,
      opset,
    );
    const { model } = runPass(insertGates, before);
    expect(gated(model)).toEqual(["r"]);
    const feeds = randomFeeds(before, 1);
    expect(await bytesAtLevels(runner, model, feeds)).toEqual(await bytesAtLevels(runner, before, feeds));
  });

  test("half floats: sigmoid is exact at 0", async () => {
    const before = modelOf(
      `g (float16[N, 3, 6, 6] x) => (float16[N, 4, 4, 4] y) <float16[8, 3, 3, 3] w1 = {...}, float16[4, 8, 1, 1] w2 = {...}> {
      a = Conv (x, w1) r = Relu (a) y = Conv (r, w2) }`,
    );
    const { model } = runPass(insertGates, before);
    expect(gated(model)).toEqual(["r"]);
    const feeds = randomFeeds(before, 1);
    expect(await bytesAtLevels(runner, model, feeds)).toEqual(await bytesAtLevels(runner, before, feeds));
  });

  test("what is read as its mean alone, one position, a vector, and what is an output get no gate", () => {
    const { changed, notes } = runPass(
      insertGates,
      modelOf(`g (float[N, 3, 6, 6] x) => (float[N, 2] y, float[N, 4, 6, 6] out)
      <float[8, 3, 1, 1] w1 = {...}, float[6, 8] w2 = {...}, float[2, 6] w3 = {...}, float[4, 3, 1, 1] w4 = {...}, float[2, 4, 1, 1] w5 = {...}> {
      a = Conv (x, w1) ra = Relu (a) p = GlobalAveragePool (ra) f = Flatten (p) b = Gemm <transB = 1> (f, w2) rb = Relu (b)
      y0 = Gemm <transB = 1> (rb, w3) out = Conv (x, w4) c = Conv (out, w5) d = GlobalAveragePool (c) e = Flatten (d) y = Add (e, y0) }`),
    );
    expect(changed).toBe(false);
    expect(Object.fromEntries(notes.map((n) => [n.about, n.why]))).toMatchObject({
      ra: "all that is read of it is its mean",
      rb: "its shape is [N, 6] with channels on axis 1; gates are made for [N, C, H, W] and tokens [N, T, C]",
    });
  });

  test("gates can be put on gates: names stay unique", async () => {
    const before = modelOf(BLOCK);
    const { model } = runPass(insertGates, runPass(insertGates, before, { at: ["rb"] }).model, { at: ["rb_gated"] });
    expect(gated(model)).toEqual(["rb", "rb_gated"]);
    const { model: twice } = runPass(insertGates, model, { at: ["rd"] });
    const feeds = randomFeeds(before, 1);
    expect(await bytesAtLevels(runner, twice, feeds)).toEqual(await bytesAtLevels(runner, before, feeds));
  });

  test("a name that no place has is refused with the nearest", () => {
    expect(() => runPass(insertGates, modelOf(BLOCK), { at: ["rbb"] })).toThrow('No gate can stand at "rbb"');
  });

  test.each(["cifar10_resnet20", "cifar10_resnet56", "mnist_lenet5"])(
    "%s: outputs are the same bits at every optimisation level",
    async (name) => {
      const before = await readModel(`models/${name}.onnx`);
      const { model, changed } = runPass(insertGates, before);
      expect(changed).toBe(true);
      const feeds = randomFeeds(before, 3);
      expect(await bytesAtLevels(runner, model, feeds)).toEqual(await bytesAtLevels(runner, before, feeds));
    },
  );
});
