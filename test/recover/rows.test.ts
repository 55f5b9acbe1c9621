/** A layer with more inputs than samples: solved by rows, it is what moments give. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cloneModel } from "../../src/graph/clone.js";
import type { Model } from "../../src/graph/graph.js";
import { infer } from "../../src/graph/infer.js";
import { Tensor } from "../../src/graph/tensor.js";
import { batchesOf } from "../../src/recover/batches.js";
import { withMeans } from "../../src/recover/moments.js";
import { Products } from "../../src/recover/products.js";
import { ridge } from "../../src/recover/ridge.js";
import { refitByRows } from "../../src/recover/rows.js";
import type { Seen } from "../../src/recover/session.js";
import { bestOf, momentsOf } from "../../src/recover/sweep.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { type Layer, layersOf } from "../../src/score/layers.js";
import { findValue, modelOf, randomFloats } from "../support/build.js";
import { distance, normalSamples, prunedBy, recovered } from "./support.js";

let runner: Runner;
let products: Products;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
  products = new Products(runner);
});
afterAll(async () => {
  await products.release();
  await runner.close();
});

const CASES: Readonly<Record<string, string>> = {
  "a Gemm": `g (float[N, 40] x) => (float[N, 5] y) <float[40, 5] w = {...}, float[5] b = {...}> { y = Gemm (x, w, b) }`,
  "a Gemm that had no bias": `g (float[N, 40] x) => (float[N, 5] y) <float[5, 40] w = {...}> { y = Gemm <transB = 1> (x, w) }`,
  "a product without a place for a bias": `g (float[N, 40] x) => (float[N, 5] y) <float[40, 5] w = {...}> { y = MatMul (x, w) }`,
  tokens: `g (float[N, 3, 40] x) => (float[N, 3, 5] y) <float[40, 5] w = {...}, float[5] b = {...}> { h = MatMul (x, w) y = Add (h, b) }`,
};

describe("by rows and by moments alike", () => {
  for (const [name, text] of Object.entries(CASES)) {
    for (const other of [false, true]) {
      it(`${name}${other ? ", before a sum" : ""}, of which channels were removed`, async () => {
        const model = modelOf(text);
        const samples = await normalSamples(model, 20);
        const batches = batchesOf(model, samples);
        const kept = [0, 1, 3, 5, 6];
        const read = async (batch: number): Promise<Seen> => {
          const x = (await batches.feeds(batch))["x"] as Tensor;
          const dims = x.dims.slice(0, -1);
          const tensor = (what: string, width: number) =>
            Tensor.floats([...dims, width], randomFloats(`${what} ${batch}`, (x.size / 40) * width));
          return { x, target: tensor("target", 7), other: other ? tensor("other", 5) : undefined };
        };
        const layerOf = (m: Model) => layersOf(m, infer(m)).layers[0] as Layer;
        const [byRows, byMoments] = [layerOf(cloneModel(model)), layerOf(cloneModel(model))];
        const strengths = [1, 0.1, 1e-3];
        const result = await refitByRows(products, byRows, kept, read, batches, strengths);
        const { fitting, heldOut } = await momentsOf(runner, byMoments, kept, read, batches, { equations: 1e6 }, "seed");
        const now = byMoments.read();
        const fits = async function* () {
          if (byMoments.hasBias) yield withMeans(fitting, now);
          for (const strength of strengths) yield await ridge(products, fitting, now, strength, byMoments.hasBias);
        };
        const { best, before, after } = await bestOf(products, heldOut, now, fits());
        expect(result.before).toBeCloseTo(before, 8);
        expect(result.after).toBeCloseTo(after, 8);
        expect(result.changed).toBe(best !== undefined);
        if (best) byMoments.write(best);
        const [a, b] = [byRows.read(), byMoments.read()];
        for (const [i, w] of b.weight.entries()) expect(Math.abs((a.weight[i] as number) - w)).toBeLessThan(1e-6);
        for (const [i, w] of b.bias.entries()) expect(Math.abs((a.bias[i] as number) - w)).toBeLessThan(1e-6);
      });
    }
  }
});

describe("a layer too wide for moments", () => {
  const wide = () => {
    // The features are one number each, scaled: what left is what stayed.
    const model =
      modelOf(`g (float[N, 4, 40, 50] x) => (float[N, 3] y) <float[5, 4, 1, 1] w1 = {...}, float[5] b1 = {...}, float[10000, 3] w2 = {...}, float[3] b2 = {...}> {
      a = Conv (x, w1, b1) r = Relu (a) f = Flatten (r) y = Gemm (f, w2, b2) }`);
    const w1 = findValue(model, "w1");
    const numbers = Float32Array.from((w1.initializer as Tensor).numbers());
    numbers.copyWithin(16, 0, 4);
    model.graph.setConstant(w1, Tensor.floats([5, 4, 1, 1], numbers));
    return prunedBy(model, { "w1:0": [4] });
  };
  it("is refitted from few samples, and comes nearer on those it has not seen", async () => {
    const { removal, pruned } = wide();
    const original = removal.source;
    const samples = await normalSamples(original, 40);
    const { model, recovery } = await recovered(runner, original, pruned, samples, { method: "least-squares" }, removal);
    expect(recovery.left).toEqual([]);
    expect(recovery.after).toBeLessThan(0.95 * recovery.before);
    expect(await distance(runner, original, model)).toBeLessThan(Number.POSITIVE_INFINITY);
  });
  it("gets its mean back, and is left by normalise, with the reason", async () => {
    const { removal, pruned } = wide();
    const original = removal.source;
    const samples = await normalSamples(original, 40);
    const { recovery } = await recovered(runner, original, pruned, samples, { method: "mean" }, removal);
    expect(recovery.left).toEqual([]);
    expect(recovery.steps[0]?.layers.find((l) => l.node === "y")?.changed).toBe(true);
    const normalised = await recovered(runner, original, pruned, samples, { method: "normalise" }, removal);
    expect(normalised.recovery.left).toEqual([{ node: "y", why: "8000 inputs per output are more than 6144" }]);
  });
});
