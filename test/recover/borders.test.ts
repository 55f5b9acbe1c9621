/** Constants that left with channels are given back exactly, wherever a kernel reaches into zero padding. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { infer } from "../../src/graph/infer.js";
import { Tensor } from "../../src/graph/tensor.js";
import { zonesOf } from "../../src/recover/zones.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { findNode, findValue, modelOf } from "../support/build.js";
import { distance, normalSamples, prunedBy, recovered } from "./support.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

const CONSTANT = [2, 3] as const;

/** 1 × 1 → Relu → the case; channels 2 and 3 of the four between are 0.7 and 1.4 everywhere. */
function net(reader: string, weight: string, extents: string, spatial = 2, bias = "") {
  const ones = Array(spatial).fill(1).join(", ");
  const out = Array.from({ length: spatial }, (_, a) => `D${a}`).join(", ");
  const model =
    modelOf(`g (float[N, 3, ${extents}] x) => (float[N, O, ${out}] y) <float[4, 3, ${ones}] w1 = {...}, float[4] b1 = {0.1, 0.2, 0.7, 1.4},
    float[${weight}] w2 = {...}${bias ? `, float[${bias}] b2 = {...}` : ""}> {
    a = Conv (x, w1, b1) r = Relu (a) y = ${reader} (r, w2${bias ? ", b2" : ""}) }`);
  const w1 = findValue(model, "w1");
  const numbers = Float32Array.from((w1.initializer as Tensor).numbers());
  numbers.fill(0, 2 * 3);
  model.graph.setConstant(w1, Tensor.floats([4, 3, ...Array<number>(spatial).fill(1)], numbers));
  return model;
}

const CASES: Readonly<Record<string, Parameters<typeof net>>> = {
  "one pixel of padding": ["Conv <pads = [1, 1, 1, 1]>", "5, 4, 3, 3", "6, 7", 2, "5"],
  "pads that differ from side to side, and no bias": ["Conv <pads = [0, 1, 2, 1]>", "5, 4, 3, 2", "6, 7"],
  "padding as wide as the kernel reaches": ["Conv <pads = [4, 4, 4, 4]>", "2, 4, 5, 5", "3, 4"],
  strides: ["Conv <strides = [2, 3], pads = [1, 1, 1, 1]>", "5, 4, 3, 3", "9, 8", 2, "5"],
  dilations: ["Conv <dilations = [2, 3], pads = [2, 3, 2, 3]>", "5, 4, 3, 3", "9, 8", 2, "5"],
  "dilations under strides": ["Conv <dilations = [2, 2], strides = [2, 1], pads = [3, 1, 0, 2]>", "5, 4, 3, 3", "9, 8", 2, "5"],
  SAME_UPPER: [`Conv <auto_pad = "SAME_UPPER", strides = [2, 2]>`, "5, 4, 4, 3", "7, 8", 2, "5"],
  SAME_LOWER: [`Conv <auto_pad = "SAME_LOWER">`, "5, 4, 4, 2", "7, 8", 2, "5"],
  "a single tap, with padding": ["Conv <pads = [1, 0, 0, 1]>", "5, 4, 1, 1", "6, 7", 2, "5"],
  "one axis": ["Conv <pads = [2, 1]>", "5, 4, 4", "12", 1, "5"],
  "three axes": ["Conv <pads = [1, 0, 0, 0, 1, 1]>", "3, 4, 2, 2, 2", "4, 5, 3", 3, "3"],
  "a large map, of which the file holds zones": ["Conv <pads = [1, 1, 1, 1]>", "16, 4, 3, 3", "40, 40", 2, "16"],
  "a transposed convolution, whose taps alternate": [
    "ConvTranspose <strides = [2, 3], pads = [1, 0, 0, 1], output_padding = [1, 0]>",
    "4, 3, 3, 2",
    "5, 4",
    2,
    "3",
  ],
};

describe("mean gives back exactly, borders included", () => {
  for (const [name, of] of Object.entries(CASES)) {
    it(name, async () => {
      const original = net(...of);
      const { removal, pruned } = prunedBy(original, { "w1:0": CONSTANT });
      const { model, recovery } = await recovered(runner, original, pruned, await normalSamples(original, 40), { method: "mean" }, removal);
      expect(await distance(runner, original, pruned)).toBeGreaterThan(0.05);
      expect(await distance(runner, original, model)).toBeLessThan(1e-5);
      const steps = recovery.steps.map((s) => ({ method: s.method, kept: s.kept }));
      expect(steps).toContainEqual({ method: "borders", kept: true });
      // The interface and the declared types are what they were.
      expect(infer(model).conflicts).toEqual([]);
    });
  }

  it("groups, each of which lost its own constants", async () => {
    const original = net("Conv <group = 2, pads = [1, 1, 1, 1]>", "6, 2, 3, 3", "6, 7", 2, "6");
    // One constant channel in each group: 1 and 3.
    const w1 = findValue(original, "w1");
    const numbers = Float32Array.from((w1.initializer as Tensor).numbers());
    numbers.copyWithin(6, 3, 6);
    numbers.fill(0, 3, 6);
    original.graph.setConstant(w1, Tensor.floats([4, 3, 1, 1], numbers));
    const { removal, pruned } = prunedBy(original, { "w1:0": [1, 3] });
    const { model } = await recovered(runner, original, pruned, await normalSamples(original, 40), { method: "mean" }, removal);
    expect(await distance(runner, original, pruned)).toBeGreaterThan(0.05);
    expect(await distance(runner, original, model)).toBeLessThan(1e-5);
  });

  it("in a branch, whose sum is what counts, and in layers one after the other", async () => {
    const original =
      modelOf(`g (float[N, 3, 6, 7] x) => (float[N, 3, 6, 7] y) <float[4, 3, 1, 1] w1 = {...}, float[4] b1 = {0.1, 0.2, 0.7, 1.4},
      float[3, 4, 3, 3] w2 = {...}, float[3] b2 = {...}, float[3, 3, 3, 3] w3 = {...}> {
      a = Conv (x, w1, b1) r = Relu (a) c = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) s = Add (c, x) t = Relu (s)
      y = Conv <pads = [1, 1, 1, 1]> (t, w3) }`);
    const w1 = findValue(original, "w1");
    const numbers = Float32Array.from((w1.initializer as Tensor).numbers());
    numbers.fill(0, 6);
    original.graph.setConstant(w1, Tensor.floats([4, 3, 1, 1], numbers));
    const { removal, pruned } = prunedBy(original, { "w1:0": CONSTANT });
    const { model } = await recovered(runner, original, pruned, await normalSamples(original, 40), { method: "mean" }, removal);
    expect(await distance(runner, original, model)).toBeLessThan(1e-5);
    // One map, and only where something was missing.
    expect(model.graph.nodes.filter((n) => n.opType === "Add")).toHaveLength(2);
  });
});

it("a map of many positions is a number per zone in the file", async () => {
  const original = net(...(CASES["a large map, of which the file holds zones"] as Parameters<typeof net>));
  const { removal, pruned } = prunedBy(original, { "w1:0": CONSTANT });
  const { model } = await recovered(runner, original, pruned, await normalSamples(original, 40), { method: "mean" }, removal);
  expect(model.graph.value("y_borders")?.initializer?.dims).toEqual([1, 16, 3, 3]);
  // Rows and columns have the same classes: one list of indices.
  expect(model.graph.nodes.filter((n) => n.opType === "Gather").map((n) => n.inputs[1]?.name)).toEqual(["border_zones", "border_zones"]);
});

it("channels with a map can be removed later, and the map loses them too", async () => {
  const original =
    modelOf(`g (float[N, 3, 40, 40] x) => (float[N, 2, 40, 40] y) <float[4, 3, 1, 1] w1 = {...}, float[4] b1 = {0.1, 0.2, 0.7, 1.4},
    float[16, 4, 3, 3] w2 = {...}, float[2, 16, 1, 1] w3 = {...}> {
    a = Conv (x, w1, b1) r = Relu (a) c = Conv <pads = [1, 1, 1, 1]> (r, w2) s = Relu (c) y = Conv (s, w3) }`);
  const zeroed = (name: string, is: (i: number) => boolean) => {
    const value = findValue(original, name);
    const tensor = value.initializer as Tensor;
    original.graph.setConstant(
      value,
      Tensor.floats(
        tensor.dims,
        Float32Array.from(tensor.numbers(), (w, i) => (is(i) ? 0 : w)),
      ),
    );
  };
  zeroed("w1", (i) => i >= 6);
  // Nothing reads channel 3 of the map.
  zeroed("w3", (i) => i % 16 === 3);
  const first = prunedBy(original, { "w1:0": CONSTANT });
  const { model } = await recovered(runner, original, first.pruned, await normalSamples(original, 40), { method: "mean" }, first.removal);
  expect(model.graph.value("c_borders")?.initializer?.dims).toEqual([1, 16, 3, 3]);
  const { pruned } = prunedBy(model, { "w2:0": [3] });
  expect(pruned.graph.value("c_borders")?.initializer?.dims).toEqual([1, 15, 3, 3]);
  expect(await distance(runner, original, pruned)).toBeLessThan(1e-5);
});

it("a convolution without padding has one zone, and gets no map", async () => {
  const original = net("Conv", "5, 4, 3, 3", "6, 7", 2, "5");
  const { removal, pruned } = prunedBy(original, { "w1:0": CONSTANT });
  const { model, recovery } = await recovered(runner, original, pruned, await normalSamples(original, 40), { method: "mean" }, removal);
  expect(await distance(runner, original, model)).toBeLessThan(1e-5);
  expect(recovery.steps.map((s) => s.layers.length)).toEqual([2, 0]);
});

it("where height and width are not fixed, the bias is all there is, and a note says so", async () => {
  const original =
    modelOf(`g (float[N, 3, H, W] x) => (float[N, 5, H2, W2] y) <float[4, 3, 1, 1] w1 = {...}, float[4] b1 = {0.1, 0.2, 0.7, 1.4},
    float[5, 4, 3, 3] w2 = {...}, float[5] b2 = {...}> { a = Conv (x, w1, b1) r = Relu (a) y = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) }`);
  const { removal, pruned } = prunedBy(original, { "w1:0": CONSTANT });
  const samples = await normalSamples(net(...(CASES["one pixel of padding"] as Parameters<typeof net>)), 40);
  const { model, recovery } = await recovered(runner, original, pruned, samples, { method: "mean" }, removal);
  expect(recovery.left).toEqual([{ node: "y", why: "its borders, beyond what a bias gives: height and width are not fixed" }]);
  expect(recovery.steps.map((s) => [s.method, s.kept])).toEqual([
    ["mean", true],
    ["borders", false],
  ]);
  expect(model.graph.nodes.map((n) => n.opType)).toEqual(["Conv", "Relu", "Conv"]);
});

describe("zones", () => {
  const zones = (attributes: string, weight: string, inside: number[], out: number[], op = "Conv") =>
    zonesOf(
      findNode(
        modelOf(`g (float[N, 1, H] x) => (float[N, 1, L] y) <float[1, 1, ${weight}] w = {...}> { y = ${op} <${attributes}> (x, w) }`),
        "y",
      ),
      inside,
      out,
    );
  it("are the positions with the same taps inside", () => {
    expect([...(zones("pads = [1, 1]", "3", [5], [5]).classes[0] as Int32Array)]).toEqual([0, 1, 1, 1, 2]);
    expect([...(zones("pads = [1, 1], strides = [2]", "3", [6], [3]).classes[0] as Int32Array)]).toEqual([0, 1, 1]);
    expect([...(zones("pads = [2, 2]", "5", [2], [2]).classes[0] as Int32Array)]).toEqual([0, 1]);
  });
  it("of a transposed convolution alternate with its strides", () => {
    expect([...(zones("strides = [2]", "3", [3], [7], "ConvTranspose").classes[0] as Int32Array)]).toEqual([0, 1, 2, 1, 2, 1, 3]);
  });
});
