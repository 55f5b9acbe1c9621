import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readModel } from "../../src/export/read.js";
import { cloneModel } from "../../src/graph/clone.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { foldGates } from "../../src/passes/fold-gates.js";
import { emitGate, type Gate, identityGate } from "../../src/passes/gates/emit.js";
import { gateSites } from "../../src/passes/gates/sites.js";
import { insertGates } from "../../src/passes/insert-gates.js";
import { removeDead } from "../../src/passes/remove-dead.js";
import { runPass } from "../../src/passes/run-pass.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Runner } from "../../src/runtime/runner.js";
import { randomFeeds } from "../../src/verify/feeds.js";
import { modelOf, randomFloats } from "../support/build.js";
import { difference, run } from "../support/run.js";
import { bytesAtLevels } from "../support/run-levels.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

const NET = `g (float[N, 3, 8, 8] x) => (float[N, 5] y)
  <float[8, 3, 3, 3] w1 = {...}, float[6, 8, 3, 3] w2 = {...}, float[7, 6, 1, 1] w3 = {...}, float[5, 112] w5 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1) ra = Relu (a)
  b = Conv <pads = [1, 1, 1, 1]> (ra, w2) rb = Relu (b)
  d = Conv (rb, w3) rd = Relu (d) m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (rd) f = Flatten (m) y = Gemm <transB = 1> (f, w5) }`;

const ops = (model: Model) => model.graph.nodes.map((n) => n.opType);
const floats = (seed: string, n: number, scale = 1, shift = 0) => Float64Array.from(randomFloats(seed, n), (v) => shift + scale * v);

/** A copy of `model` with `gate(channels)` on each place. */
function withGates(model: Model, gate: (channels: number, name: string) => Gate): Model {
  const copy = cloneModel(model);
  for (const site of gateSites(findGroups(copy), "inner").sites) emitGate(copy, site, gate(site.channels, site.value.name));
  return copy;
}

describe("fold-gates", () => {
  test("a gate that was inserted and never fitted disappears", () => {
    const before = modelOf(NET);
    const { model: gated } = runPass(insertGates, before);
    const { model, changed, notes } = runPass(foldGates, gated);
    expect(ops(model)).toEqual(ops(before));
    expect(model.graph.initializers.map((v) => v.name)).toEqual(before.graph.initializers.map((v) => v.name));
    expect({ changed, notes }).toEqual({ changed: true, notes: [] });
  });

  test("insert-gates then fold-gates gives back a committed model bit for bit", async () => {
    const before = await readModel("models/cifar10_resnet20.onnx");
    const { model } = runPass(foldGates, runPass(insertGates, before).model);
    const feeds = randomFeeds(before, 5);
    expect(await bytesAtLevels(runner, model, feeds)).toEqual(await bytesAtLevels(runner, before, feeds));
  });

  test.each([
    ["static", (c: number, n: string): Gate => ({ kind: "static", factor: floats(`f${n}`, c, 0.2, 1).map(Math.abs) })],
    ["a gate with zero weights and a bias", (c: number, n: string): Gate => ({ ...identityGate(c, 2, n), b2: floats(`b${n}`, c) })],
    [
      "a diagonal gate that does not look at its input",
      (c: number, n: string): Gate => ({ kind: "diagonal", scale: new Float64Array(c), shift: floats(`s${n}`, c, 0.4, 1) }),
    ],
  ])("%s goes into the weights that read the map: nothing of it is left, outputs equal to 1e-6", async (_, gate) => {
    const before = modelOf(NET);
    const gated = withGates(before, gate);
    const { model } = runPass(foldGates, gated);
    expect(ops(runPass(removeDead, model).model)).toEqual(ops(before));
    const want = await run(gated);
    expect(difference(want, await run(before))).toBeGreaterThan(0.05);
    expect(difference(want, await run(model))).toBeLessThan(1e-6);
  });

  test("the factor 2 of a fitted gate goes into the weights, without a rounding", async () => {
    const gated = withGates(modelOf(NET), (c, n) => ({ ...identityGate(c, 2, n), W2: floats(n, 2 * c), b2: floats(`b${n}`, c) }));
    const { model } = runPass(foldGates, gated);
    expect(ops(model).filter((o) => o === "Mul").length).toBe(3);
    expect(ops(gated).filter((o) => o === "Mul").length).toBe(6);
    expect(difference(await run(gated), await run(model))).toBeLessThan(1e-6);
  });

  test("factors that are negative do not pass a maximum; the gate stays, and the note says why", () => {
    const gated = withGates(modelOf(NET), (c) => ({ kind: "static", factor: Float64Array.from({ length: c }, (_, k) => k - 2.5) }));
    const { model, notes } = runPass(foldGates, gated);
    expect(ops(model).filter((o) => o === "Mul").length).toBe(1);
    expect(notes.map((n) => n.why)).toEqual(["some factors are negative, and a maximum is taken of the product"]);
  });

  test("a map that more than linear layers read keeps its gate", async () => {
    const before = modelOf(`g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y, float[N, 4, 8, 8] t)
      <float[4, 3, 3, 3] w1 = {...}, float[4, 1, 1] s = {0.5, 2, 3, 1}, float[4, 4, 1, 1] w2 = {...}> {
      a = Conv <pads = [1, 1, 1, 1]> (x, w1) g = Mul (a, s) y = Conv (g, w2) t = Tanh (g) }`);
    const { changed, notes } = runPass(foldGates, before);
    expect(changed).toBe(false);
    expect(notes.map((n) => n.why)).toEqual(['its factors cannot move into weights: Tanh "t" reads it']);
  });

  test("convolutions in groups, shared weights and tokens: equal to 1e-6", async () => {
    for (const text of [
      `g (float[N, 4, 6, 6] x) => (float[N, 6, 4, 4] y) <float[1, 4, 1, 1] s = {0.5, 2, -3, 1}, float[6, 2, 3, 3] w = {...}> {
        g = Mul (x, s) y = Conv <group = 2> (g, w) }`,
      `g (float[N, 4, 6, 6] x) => (float[N, 4, 6, 6] y) <float[4, 1, 1] s = {0.5, 2, -3, 1}, float[4, 4, 1, 1] w = {...}> {
        g = Mul (s, x) a = Conv (g, w) y = Conv (a, w) }`,
      `g (float[N, 4, 3, 3] x) => (float[N, 2, 7, 7] y) <float[4, 1, 1] s = {0.5, 2, -3, 1}, float[4, 2, 3, 3] w = {...}> {
        g = Mul (x, s) y = ConvTranspose <strides = [2, 2]> (g, w) }`,
      `g (float[N, 5, 4] x) => (float[N, 5, 3] y) <float[4] s = {0.5, 2, -3, 1}, float[4, 3] w = {...}> { g = Mul (x, s) y = MatMul (g, w) }`,
    ]) {
      const before = modelOf(text);
      const { model } = runPass(foldGates, before);
      expect(ops(model)).not.toContain("Mul");
      expect(difference(await run(before), await run(model))).toBeLessThan(1e-6);
    }
  });
});
