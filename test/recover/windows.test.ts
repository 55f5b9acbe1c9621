/** Windows: where they begin and end, the slopes of their error, and what fitting gives. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Samples } from "../../src/calibrate/samples.js";
import { viewOf } from "../../src/calibrate/views.js";
import { cloneModel } from "../../src/graph/clone.js";
import type { Model, Node } from "../../src/graph/graph.js";
import { infer } from "../../src/graph/infer.js";
import { random } from "../../src/graph/random.js";
import { Tensor } from "../../src/graph/tensor.js";
import { batchesOf, inViews } from "../../src/recover/batches.js";
import { pairingOf } from "../../src/recover/pairing.js";
import type { Stage } from "../../src/recover/stages.js";
import { activationsOf, unitsOf } from "../../src/recover/windows/units.js";
import { bytesOfEnds, dataOf } from "../../src/recover/windows/window-data.js";
import { WindowSession } from "../../src/recover/windows/window-session.js";
import { fitWindows, windowsOf } from "../../src/recover/windows/windows.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";

import { layersOf, type Weights } from "../../src/score/layers.js";
import { modelOf, randomFloats } from "../support/build.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

/** Two residual blocks, the second of which halves the map and doubles the channels (a strided slice, padded with channels), and a head. */
const RESIDUAL = `g (float[N, 3, 8, 8] x) => (float[N, 4] y) <
  float[4, 3, 3, 3] w0 = {...}, float[4] b0 = {...}, float[5, 4, 3, 3] w1 = {...}, float[5] b1 = {...}, float[4, 5, 3, 3] w2 = {...}, float[4] b2 = {...},
  float[6, 4, 3, 3] w3 = {...}, float[6] b3 = {...}, float[8, 6, 3, 3] w4 = {...}, float[8] b4 = {...}, float[4, 8] w5 = {...}, float[4] b5 = {...},
  int64[2] from = {0, 0}, int64[2] to = {100, 100}, int64[2] axes = {2, 3}, int64[2] steps = {2, 2}, int64[8] pads = {0, 2, 0, 0, 0, 2, 0, 0}> {
  a0 = Conv <pads = [1, 1, 1, 1]> (x, w0, b0)  s0 = Relu (a0)
  a1 = Conv <pads = [1, 1, 1, 1]> (s0, w1, b1)  h1 = Relu (a1)  a2 = Conv <pads = [1, 1, 1, 1]> (h1, w2, b2)  t1 = Add (a2, s0)  s1 = Relu (t1)
  a3 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (s1, w3, b3)  h2 = Relu (a3)  a4 = Conv <pads = [1, 1, 1, 1]> (h2, w4, b4)
  k1 = Slice (s1, from, to, axes, steps)  k2 = Pad (k1, pads)  t2 = Add (a4, k2)  s2 = Relu (t2)
  p = GlobalAveragePool (s2)  f = Flatten (p)  y = Gemm <transB = 1> (f, w5, b5) }`;

/** Convolutions with pools between, normalised, and a classifier that reads the flattened map. */
const CHAIN = `g (float[N, 3, 8, 8] x) => (float[N, 3] y) <
  float[6, 3, 3, 3] w0 = {...}, float[6] s = {1, 0.5, 2, 1, 1, -1}, float[6] t = {...}, float[6] m = {...}, float[6] v = {1, 2, 1, 0.5, 1, 1},
  float[6, 3, 3, 3] w1 = {...}, float[6] b1 = {...}, float[96, 3] w2 = {...}, float[3] b2 = {...}> {
  a0 = Conv <pads = [1, 1, 1, 1]> (x, w0)  n0 = BatchNormalization (a0, s, t, m, v)  h0 = Relu (n0)  p0 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (h0)
  a1 = Conv <pads = [1, 1, 1, 1], group = 2> (p0, w1, b1)  h1 = Clip (a1)  f = Flatten (h1)  a2 = MatMul (f, w2)  y = Add (a2, b2) }`;

function unitsFor(model: Model, original = model) {
  const types = infer(model, { bind: { x: [4, 3, 8, 8] } });
  const { layers } = layersOf(model, types);
  const activations = activationsOf(model, types);
  return { types, layers, units: unitsOf(model, types, layers, activations, { samples: 4, original }), activations };
}

describe("units", () => {
  it("are blocks where there is a skip; each may end after its last layer, and after each thing that follows alone", () => {
    const { units } = unitsFor(modelOf(RESIDUAL));
    expect(units.map((u) => [u.from.name, u.ends.map((e) => e.value.name), u.layers.length])).toEqual([
      ["x", ["a0", "s0"], 1],
      ["s0", ["t1", "s1"], 2],
      ["s1", ["t2", "s2", "p", "f"], 2],
      ["f", ["y"], 1],
    ]);
    expect(units.map((u) => u.obstacle)).toEqual([undefined, undefined, undefined, undefined]);
  });

  it("are layers in a chain, maps that a layer's weights stand for being within it", () => {
    const { units } = unitsFor(modelOf(CHAIN));
    expect(units.map((u) => [u.from.name, u.ends.map((e) => e.value.name)])).toEqual([
      ["x", ["n0", "h0", "p0"]],
      ["p0", ["a1", "h1", "f"]],
      ["f", ["y"]],
    ]);
  });

  it("end where the original has a value, too: two factors of a layer are in one", () => {
    const original = modelOf(CHAIN);
    const model = cloneModel(original);
    const node = model.graph.value("a1")?.producer as Node;
    const between = model.graph.insertNode(
      "Conv",
      [node.inputs[0], model.graph.addInitializer("first", Tensor.fromNumbers("float32", [6, 6, 1, 1], randomFloats(1, 36)))],
      {
        before: node,
        outputs: ["between"],
      },
    );
    node.setInput(0, between.outputs[0]);
    const ends = (of: Model) => unitsFor(model, of).units.map((u) => [u.ends.map((e) => e.value.name), u.layers.length]);
    expect(ends(model)).toEqual([
      [["n0", "h0", "p0"], 1],
      [["between"], 1],
      [["a1", "h1", "f"], 1],
      [["y"], 1],
    ]);
    expect(ends(original)).toEqual([
      [["n0", "h0", "p0"], 1],
      [["a1", "h1", "f"], 2],
      [["y"], 1],
    ]);
  });

  it("that cannot be passed say why, and windows stop there", () => {
    const { units } = unitsFor(modelOf(CHAIN.replace("h1 = Clip (a1)", "h1 = Softmax (a1)")));
    expect(units.map((u) => u.obstacle?.why)).toEqual([undefined, "the way back through Softmax is not known", undefined]);
    expect(windowsOf(units, (w) => `${w.from.name} to ${w.to.name}`)).toEqual(["x to p0", "f to y"]);
  });

  it("are none where there are several inputs", () => {
    const model = modelOf(
      "g (float[N, 3] x, float[N, 3] z) => (float[N, 3] y) <float[3, 3] w = {...}> { a = MatMul (x, w) y = Add (a, z) }",
    );
    const types = infer(model, { bind: { x: [4, 3], z: [4, 3] } });
    expect(unitsOf(model, types, layersOf(model, types).layers, activationsOf(model, types), { samples: 4, original: model })).toEqual([]);
  });
});

describe("the slopes of a window", () => {
  const cases: readonly (readonly [name: string, text: string, end: string])[] = [
    ["two residual blocks, read through a Relu", RESIDUAL, "s2"],
    ["two residual blocks, read as a sum", RESIDUAL, "t2"],
    ["with pools and a classifier", RESIDUAL, "y"],
    ["pools, normalisation, groups and a product of matrices", CHAIN.replace("MaxPool", "AveragePool"), "y"],
  ];
  for (const [name, text, end] of cases) {
    it(name, async () => {
      const model = modelOf(text);
      const { types, units, activations } = unitsFor(model);
      const to = model.graph.value(end);
      if (!to) throw new Error("The end is no value.");
      const all = units.filter((_, i) => i < units.length && !units.slice(0, i).some((u) => u.ends.some((e) => e.value === to)));
      const last = all.at(-1)?.ends.find((e) => e.value === to)?.nodes;
      const nodes = all.flatMap((u, i) => (i === all.length - 1 ? u.nodes.slice(0, last) : u.nodes));
      const fitted = all.flatMap((u) => u.layers);
      const window = { from: (units[0] as (typeof units)[number]).from, to, nodes, fitted };
      const session = await WindowSession.open(runner, { window, types, activations, target: to, axis: 1, kept: undefined });
      // Biases so large that nothing between changes its mind: then the error is smooth along small steps.
      const weights = fitted.map((l, i): Weights => {
        const now = l.read();
        const apart = end === "s2" || end === "y" ? 6 : 8;
        // Before a Relu at the end the slope is that of what counts, which is all where all is positive.
        if (i === fitted.length - 1) return end === "s2" ? { ...now, bias: now.bias.map(() => 40) } : now;
        return { weight: now.weight.map((w) => w / 10), bias: now.bias.map((_, k) => (k % 3 === 1 ? -apart : apart)) };
      });
      const dims = types.shape(to) as number[];
      const batch = {
        x: Tensor.floats([4, 3, 8, 8], randomFloats(`${name}/x`, 4 * 3 * 64)),
        target: Tensor.floats(
          dims,
          randomFloats(
            `${name}/target`,
            dims.reduce((n, d) => n * d, 1),
          ).map((v) => (end === "s2" ? Math.abs(v) + 1 : v)),
        ),
      };
      const slopes = await session.slopes(batch, weights);
      expect(slopes.error).toBeCloseTo(await session.error(batch, weights), 3);
      const uniform = random(name);
      for (const [i, layer] of fitted.entries()) {
        const by = (weights[i] as Weights).weight.map(() => uniform() - 0.5);
        const byBias = (weights[i] as Weights).bias.map(() => (layer.hasBias ? uniform() - 0.5 : 0));
        const moved = (step: number) =>
          weights.map((w, k) =>
            k === i
              ? {
                  weight: w.weight.map((x, n) => x + step * (by[n] as number)),
                  bias: w.bias.map((x, n) => x + step * (byBias[n] as number)),
                }
              : w,
          );
        const step = 1e-2;
        const difference = ((await session.error(batch, moved(step))) - (await session.error(batch, moved(-step)))) / (4 * step);
        const mine = slopes.layers[i] as (typeof slopes.layers)[number];
        const product =
          by.reduce((s, d, n) => s + d * Number(mine.weight[n]), 0) + byBias.reduce((s, d, n) => s + d * Number(mine.bias?.[n] ?? 0), 0);
        expect(Math.abs(difference - product), `layer ${layer.node.label}: ${difference} and ${product}`).toBeLessThan(
          0.02 * Math.max(1, Math.abs(difference)),
        );
      }
      await session.release();
    });
  }
});

function samplesOf(count: number): Samples {
  const data = randomFloats("samples", count * 3 * 64);
  return {
    count,
    source: "test",
    fingerprint: "test",
    batch: async (from: number, to: number) => ({ x: Tensor.floats([to - from, 3, 8, 8], data.slice(from * 192, to * 192)) }),
  } as unknown as Samples;
}

/** `model` with noise on all weights. */
function disturbed(model: Model, by: number): Model {
  const copy = cloneModel(model);
  for (const layer of layersOf(copy, infer(copy)).layers) {
    const { weight, bias } = layer.read();
    const noise = randomFloats(`noise ${layer.node.label}`, weight.length);
    layer.write({ weight: weight.map((w, i) => w * (1 + by * (noise[i] as number))), bias });
  }
  return copy;
}

async function fitted(model: Model, original: Model, seed = 1, count = 200, memory = 2 ** 28) {
  const batches = batchesOf(model, samplesOf(count));
  return fitWindows(runner, model, pairingOf(original, model), batches, { seed, memory, equations: 100 });
}

describe("what a window is fitted to", () => {
  it("comes once in each view, but for what judges, and of the channels that are left alone", async () => {
    const model = modelOf(RESIDUAL);
    const { types, units, activations } = unitsFor(model);
    const [unit] = units;
    const to = model.graph.value("s0");
    if (!unit || !to) throw new Error("There is no first unit.");
    const samples = samplesOf(23);
    const batches = batchesOf(model, samples, 7);
    const views = inViews(batches, 3);
    const window = { from: unit.from, to, nodes: unit.nodes, fitted: unit.layers };
    const form = { window, types, activations, target: to, axis: 1, kept: [0, 3] };
    expect(bytesOfEnds(form)).toBe(4 * (3 * 64 + 4 * 64));
    // The original's value: what came in, number of the channel added.
    const stage = (value: typeof to, channels: number): Stage => ({
      close: async () => {},
      run: async (n) => {
        const x = (await views.feeds(n))["x"] as Tensor;
        const rows = x.dims[0] as number;
        const numbers = Array.from({ length: rows * channels * 64 }, (_, i) =>
          channels === 3 ? Number(x.numbers()[i]) : Math.floor(i / 64) % 4,
        );
        return new Map([[value, Tensor.floats([rows, channels, 8, 8], numbers)]]);
      },
    });
    const { fitting, heldOut } = await dataOf(form, stage(unit.from, 3), stage(to, 4), views, 2 ** 28);
    const count = Array.from({ length: batches.count }, (_, b) => b).filter((b) => !batches.isHeldOut(b));
    expect(views.fitting).toBe(3 * batches.fitting);
    expect(fitting.map((f) => f.length)).toEqual([count.length, count.length, count.length]);
    expect(heldOut.length).toBe(batches.count - count.length);
    for (const [view, mine] of fitting.entries()) {
      for (const [i, b] of count.entries()) {
        const size = batches.size(0);
        const wanted = (await viewOf(samples, view, 7).batch(b * size, b * size + batches.size(b)))["x"] as Tensor;
        expect([...(mine[i]?.x.numbers() ?? [])]).toEqual([...wanted.numbers()]);
      }
    }
    expect(fitting[0]?.[0]?.x.numbers()).not.toEqual(fitting[1]?.[0]?.x.numbers());
    const target = heldOut[0]?.target as Tensor;
    expect(target.dims.slice(1)).toEqual([2, 8, 8]);
    expect(new Set(Array.from(target.numbers(), Number))).toEqual(new Set([0, 3]));
  });
});

const weightsOf = (model: Model) => layersOf(model, infer(model)).layers.map((l) => l.read());

describe("fitting windows", () => {
  for (const [name, text] of [
    ["residual blocks", RESIDUAL],
    ["a chain", CHAIN],
  ] as const) {
    it(`${name}: the error falls, and the same seed gives the same weights`, async () => {
      const original = modelOf(text);
      const [a, b] = [disturbed(original, 0.2), disturbed(original, 0.2)];
      const swept = await fitted(a, original);
      expect(swept.layers.length).toBeGreaterThan(0);
      for (const l of swept.layers) expect(l.after).toBeLessThan(0.9 * l.before);
      expect(Math.min(...swept.layers.map((l) => l.after / l.before))).toBeLessThan(0.6);
      await fitted(b, original);
      expect(weightsOf(b)).toEqual(weightsOf(a));
    });
  }

  it("changes nothing where nothing is to be gained", async () => {
    const original = modelOf(RESIDUAL);
    const copy = cloneModel(original);
    const swept = await fitted(copy, original);
    expect(swept.layers.every((l) => !l.changed && l.after === l.before)).toBe(true);
    expect(weightsOf(copy)).toEqual(weightsOf(original));
  });

  it("leaves channels pruned in place at zero", async () => {
    const original = modelOf(RESIDUAL);
    const copy = disturbed(original, 0.2);
    const [, layer] = layersOf(copy, infer(copy)).layers;
    if (!layer) throw new Error("There is no second layer.");
    const { weight, bias } = layer.read();
    layer.write({ weight: weight.map((w, i) => (Math.floor((i % layer.columns) / layer.taps) === 2 ? 0 : w)), bias });
    const swept = await fitted(copy, original);
    expect(swept.layers.some((l) => l.changed)).toBe(true);
    const now = layersOf(copy, infer(copy)).layers[1]?.read().weight as Float64Array;
    expect([...now.keys()].filter((i) => now[i] === 0)).toEqual(
      [...now.keys()].filter((i) => Math.floor((i % layer.columns) / layer.taps) === 2),
    );
  });

  it("with little memory: fewer samples, in smaller parts, and still nearer", async () => {
    const original = modelOf(RESIDUAL);
    const copy = disturbed(original, 0.2);
    for (const l of (await fitted(copy, original, 1, 200, 100_000)).layers) expect(l.after).toBeLessThan(l.before);
    const whole = disturbed(original, 0.2);
    await fitted(whole, original);
    expect(weightsOf(copy)).not.toEqual(weightsOf(whole));
  });

  it("ends a window where enough is said, and leaves what comes after where nothing is", async () => {
    const original = modelOf(RESIDUAL);
    const copy = disturbed(original, 0.2);
    // Four samples fit: 1,024 numbers at the end of the first block are more than the 481 weights up to there, 512 after the second fewer than 1,143.
    expect((await fitted(copy, original, 1, 5)).layers.map((l) => l.node)).toEqual(["a0", "a1", "a2"]);
    const [mine, before] = [weightsOf(copy), weightsOf(disturbed(original, 0.2))];
    expect(mine.slice(3)).toEqual(before.slice(3));
  });
});
