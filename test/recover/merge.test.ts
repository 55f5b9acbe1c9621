/** What left is folded into whatever reads it: groups, transposed convolutions, and constants under padding. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { findValue, modelOf } from "../support/build.js";
import { distance, normalSamples, prunedBy, recovered } from "./support.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

/** `rows` of the constant `name`: row → the rows it becomes the sum of, plus `constant` for a vector. */
function rewrite(model: Model, name: string, rows: Readonly<Record<number, readonly number[]>>, constant = 0): void {
  const value = findValue(model, name);
  const tensor = value.initializer as Tensor;
  const width = tensor.size / (tensor.dims[0] as number);
  const numbers = Float32Array.from(tensor.numbers());
  for (const [row, of] of Object.entries(rows)) {
    for (let k = 0; k < width; k++) {
      numbers[Number(row) * width + k] = of.reduce((s, r) => s + (numbers[r * width + k] as number), constant);
    }
  }
  model.graph.setConstant(value, Tensor.floats(tensor.dims, numbers));
}

async function merged(original: Model, remove: Record<string, number[]>) {
  const { removal, pruned } = prunedBy(original, remove);
  expect(await distance(runner, original, pruned)).toBeGreaterThan(0.03);
  const { model, recovery } = await recovered(runner, original, pruned, await normalSamples(original, 60), { method: "merge" }, removal);
  return { model, recovery, distance: await distance(runner, original, model) };
}

describe("merging gives back exactly what is a linear map of channels that stay", () => {
  const READERS: Readonly<Record<string, [reader: string, weight: string]>> = {
    "a transposed convolution": ["ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]>", "6, 3, 3, 3"],
    "a transposed convolution in groups": ["ConvTranspose <group = 2, strides = [2, 1]>", "6, 2, 3, 2"],
    "a convolution in groups": ["Conv <group = 2, pads = [1, 1, 1, 1]>", "4, 3, 3, 3"],
    "a convolution under padding": ["Conv <pads = [1, 1, 1, 1]>", "5, 6, 3, 3"],
    "a dilated convolution with strides": ["Conv <pads = [2, 2, 2, 2], dilations = [2, 2], strides = [2, 1]>", "5, 6, 3, 3"],
  };
  for (const [name, [reader, weight]] of Object.entries(READERS)) {
    for (const constant of [0, 0.8]) {
      it(`${name}, ${constant ? "and a constant" : "without a constant"}`, async () => {
        const original =
          modelOf(`g (float[N, 5, 7, 6] x) => (float[N, O, H, W] y) <float[6, 5, 1, 1] w1 = {...}, float[6] b1 = {...}, float[${weight}] w2 = {...}> {
          a = Conv (x, w1, b1) y = ${reader} (a, w2) }`);
        // Channels 2 and 5 are sums of two others of their half.
        for (const w of ["w1", "b1"]) rewrite(original, w, { 2: [0, 1], 5: [3, 4] }, w === "b1" ? constant : 0);
        const { distance: left, recovery } = await merged(original, { "w1:0": [2, 5] });
        expect(recovery.left).toEqual([]);
        expect(left).toBeLessThan(1e-5);
      });
    }
  }

  it("and nothing across groups: what another group reads is no help", async () => {
    const original =
      modelOf(`g (float[N, 8, 7, 6] x) => (float[N, 4, 7, 6] y) <float[6, 8, 1, 1] w1 = {...}, float[6] b1 = {...}, float[4, 3, 3, 3] w2 = {...}> {
      a = Conv (x, w1, b1) y = Conv <group = 2, pads = [1, 1, 1, 1]> (a, w2) }`);
    for (const w of ["w1", "b1"]) rewrite(original, w, { 2: [3, 4], 5: [0, 1] });
    const { distance: left, recovery } = await merged(original, { "w1:0": [2, 5] });
    expect(recovery.after).toBeLessThanOrEqual(recovery.before);
    expect(left).toBeGreaterThan(0.01);
  });

  it("a duplicate through a depthwise convolution, in what reads that", async () => {
    const original =
      modelOf(`g (float[N, 3, 7, 6] x) => (float[N, 4, 7, 6] y) <float[5, 3, 1, 1] w1 = {...}, float[5] b1 = {...}, float[5, 1, 3, 3] w2 = {...},
      float[5] b2 = {...}, float[4, 5, 1, 1] w3 = {...}, float[4] b3 = {...}> {
      a = Conv (x, w1, b1) r = Relu (a) d = Conv <group = 5, pads = [1, 1, 1, 1]> (r, w2, b2) s = Relu (d) y = Conv (s, w3, b3) }`);
    for (const w of ["w1", "b1", "w2", "b2"]) rewrite(original, w, { 4: [0] });
    const { distance: left, recovery } = await merged(original, { "w1:0": [4] });
    // The depthwise one reads nothing that left, and is not called left out.
    expect(recovery.left).toEqual([]);
    expect(recovery.steps[0]?.layers.map((l) => l.node)).toEqual(["y"]);
    expect(left).toBeLessThan(1e-5);
  });
});
