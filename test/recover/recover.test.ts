/** What recovery gives back in closed form, and what it never does. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cloneModel } from "../../src/graph/clone.js";
import { encode, joinChunks } from "../../src/graph/codec.js";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { RECOVERY_METHODS } from "../../src/recover/recover.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { modelOf, randomFloats } from "../support/build.js";
import { distance, normalSamples, prunedBy, recovered } from "./support.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

const list = (values: Iterable<number>) => `{${[...values].join(", ")}}`;
const filters = (name: string, channels: number, edit: (all: Float32Array[]) => Float32Array[]) =>
  list(edit(Array.from({ length: channels }, (_, c) => randomFloats(`${name} ${c}`, 2 * 9))).flatMap((f) => [...f]));

/** Conv → Relu → padded Conv → Relu → Conv, whose first six filters are `edit`ed. */
const net = (edit: (all: Float32Array[]) => Float32Array[], activation = "Relu") =>
  modelOf(`g (float[N, 2, 7, 7] x) => (float[N, 3, 7, 7] y) <float[6, 2, 3, 3] w1 = ${filters("w1", 6, edit)}, float[6] b1 = {1, 1, 0.5, 0.5, 0, 1},
    float[5, 6, 3, 3] w2 = {...}, float[5] b2 = {...}, float[3, 5, 1, 1] w3 = {...}, float[3] b3 = {...}> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = ${activation} (a) c = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) s = Relu (c) y = Conv (s, w3, b3) }`);
const sum = (...of: Float32Array[]) => (of[0] as Float32Array).map((_, i) => of.reduce((s, f) => s + (f[i] as number), 0));
const at = (all: Float32Array[], i: number) => all[i] as Float32Array;
const bytes = (m: Model) => Buffer.from(joinChunks(encode(m)));

describe("least squares gives back exactly", () => {
  it("what a duplicate of a removed channel can say", async () => {
    const original = net((f) => [...f.slice(0, 5), at(f, 0)]);
    const { removal, pruned } = prunedBy(original, { "w1:0": [5] });
    expect(await distance(runner, original, pruned)).toBeGreaterThan(0.05);
    const { model } = await recovered(runner, original, pruned, await normalSamples(original, 60), undefined, removal);
    expect(await distance(runner, original, model)).toBeLessThan(1e-5);
  });

  it("what a removed channel that is a sum of others was, where nothing nonlinear lies between", async () => {
    // b: 1 + 1 − 1 = 1, the bias of the last.
    const original = net((f) => [...f.slice(0, 5), sum(at(f, 0), at(f, 1), at(f, 4))], "Identity");
    const { removal, pruned } = prunedBy(original, { "w1:0": [5] });
    const { model } = await recovered(runner, original, pruned, await normalSamples(original, 60), undefined, removal);
    // The constant 1 − (1 + 1 + 0) is not padded with zeros: the bias alone cannot give it at the border.
    expect(await distance(runner, original, model)).toBeLessThan(0.5 * (await distance(runner, original, pruned)));
  });

  it("a model from which only a channel without effect was taken: it stays as it is", async () => {
    const original = net((f) => [...f.slice(0, 5), new Float32Array(18).fill(0)].map((x) => x));
    original.graph.setConstant(
      original.graph.value("b1") as NonNullable<ReturnType<typeof original.graph.value>>,
      Tensor.floats([6], [1, 1, 0.5, 0.5, 0, -1]),
    );
    const { removal, pruned } = prunedBy(original, { "w1:0": [5] });
    const { model } = await recovered(runner, original, pruned, await normalSamples(original, 60), undefined, removal);
    expect(await distance(runner, original, model)).toBeLessThan(1e-5);
  });
});

describe("merging gives back exactly", () => {
  it("a removed channel that is a linear map of others, where no padding comes in", async () => {
    const original =
      modelOf(`g (float[N, 2, 7, 7] x) => (float[N, 3, 3, 3] y) <float[6, 2, 3, 3] w1 = ${filters("w1", 6, (f) => [...f.slice(0, 5), sum(at(f, 0), at(f, 4))])},
      float[6] b1 = {1, 1, 0.5, 0.5, 0, 7}, float[3, 6, 3, 3] w2 = {...}, float[3] b2 = {...}> { a = Conv (x, w1, b1) y = Conv (a, w2, b2) }`);
    const { removal, pruned } = prunedBy(original, { "w1:0": [5] });
    expect(await distance(runner, original, pruned)).toBeGreaterThan(0.05);
    const { model } = await recovered(runner, original, pruned, await normalSamples(original, 60), { method: "merge" }, removal);
    expect(await distance(runner, original, model)).toBeLessThan(1e-5);
  });

  it("a duplicate under padding, because it has no constant", async () => {
    const original = net((f) => [...f.slice(0, 5), at(f, 1)]);
    const { removal, pruned } = prunedBy(original, { "w1:0": [5] });
    const { model, recovery } = await recovered(runner, original, pruned, await normalSamples(original, 60), { method: "merge" }, removal);
    expect(recovery.steps[0]?.layers.map((l) => l.node)).toEqual(["c"]);
    expect(await distance(runner, original, model)).toBeLessThan(1e-5);
  });
});

describe("singular cases", () => {
  const cases: Readonly<Record<string, (f: Float32Array[]) => Float32Array[]>> = {
    "channels that are the same": (f) => [at(f, 0), at(f, 0), at(f, 0), at(f, 0), at(f, 4), at(f, 5)],
    "channels that are dead": (f) => f.map((x, i) => (i < 3 ? x.map(() => -100 / 18) : x)),
    "channels that are all zero": (f) => f.map(() => new Float32Array(18)),
  };
  for (const method of RECOVERY_METHODS) {
    for (const [name, edit] of Object.entries(cases)) {
      for (const samples of [1, 2, 40]) {
        it(`${method} with ${name}, on ${samples} samples: finite, and held-out outputs are never farther away`, async () => {
          const original = net(edit);
          const { removal, pruned } = prunedBy(original, { "w1:0": [1, 5] });
          const { model, recovery } = await recovered(
            runner,
            original,
            pruned,
            await normalSamples(original, samples),
            { method },
            removal,
          );
          expect(await distance(runner, original, model)).toBeLessThan(Number.POSITIVE_INFINITY);
          expect(recovery.after).toBeLessThanOrEqual(recovery.before);
          if (samples === 1) expect({ same: model === pruned, steps: recovery.steps }).toEqual({ same: true, steps: [] });
        });
      }
    }
  }
});

describe("acceptance", () => {
  it("undoes a correction that held-out samples do not confirm", async () => {
    // A pruned model that is the original: nothing can come nearer.
    const original = net((f) => f);
    const { model, recovery } = await recovered(runner, original, original, await normalSamples(original, 40));
    expect(model).toBe(original);
    expect(recovery).toMatchObject({ before: 0, after: 0, steps: [{ kept: false }] });
  });

  it("each kept step brings held-out outputs nearer, and the next begins there", async () => {
    const original = net((f) => f);
    const { removal, pruned } = prunedBy(original, { "w1:0": [1, 5], "w2:0": [0] });
    const method = "least-squares+normalise";
    const { recovery } = await recovered(runner, original, pruned, await normalSamples(original, 80), { method }, removal);
    let distance = recovery.before;
    for (const step of recovery.steps) {
      expect(step.before).toBe(distance);
      expect(step.kept).toBe(step.after < step.before);
      if (step.kept) distance = step.after;
    }
    expect(recovery.after).toBe(distance);
    expect(recovery.after).toBeLessThan(recovery.before);
    expect([recovery.fitted, recovery.heldOut]).toEqual([64, 16]);
  });
});

describe("recovery", () => {
  it("gives the same bytes for the same samples and seed, whatever memory it may take", async () => {
    const original = net((f) => f);
    const { removal, pruned } = prunedBy(original, { "w1:0": [1, 5] });
    const samples = await normalSamples(original, 40);
    const once = await recovered(runner, original, pruned, samples, { method: "least-squares", equations: 3 }, removal);
    const again = await recovered(runner, original, pruned, samples, { method: "least-squares", equations: 3 }, removal);
    const poor = await recovered(runner, original, pruned, samples, { method: "least-squares", equations: 3, memory: 0 }, removal);
    expect(bytes(again.model).equals(bytes(once.model))).toBe(true);
    expect(bytes(poor.model).equals(bytes(once.model))).toBe(true);
    expect(once.model).not.toBe(pruned);
  });

  it("joint: brings outputs nearer than least squares of each layer does, where hidden channels are few", async () => {
    const original = net((f) => f);
    const { removal, pruned } = prunedBy(original, { "w1:0": [1, 3, 5] });
    const samples = await normalSamples(original, 200);
    const [one, both] = [
      await recovered(runner, original, pruned, samples, { method: "least-squares" }, removal),
      await recovered(runner, original, pruned, samples, { method: "joint" }, removal),
    ];
    expect(both.recovery.after).toBeLessThan(0.9 * one.recovery.after);
    // On other samples than those it saw, too.
    expect(await distance(runner, original, both.model, 200)).toBeLessThan(await distance(runner, original, one.model, 200));
    const again = await recovered(runner, original, pruned, samples, { method: "joint" }, removal);
    expect(bytes(again.model).equals(bytes(both.model))).toBe(true);
  });

  it("spends nothing on what a rectifier lets not through", async () => {
    const original =
      modelOf(`g (float[N, 12] x) => (float[N, 8] y) <float[12, 16] w1 = {...}, float[16] b1 = {...}, float[16, 8] w2 = {...}, float[8] b2 = {...}> {
      a = Gemm (x, w1, b1) r = Relu (a) c = Gemm (r, w2, b2) y = Relu (c) }`);
    const { removal, pruned } = prunedBy(original, { "w1:1": [0, 3, 5, 6, 9, 11] });
    const samples = await normalSamples(original, 400);
    const distanceWith = async (rectify: boolean) =>
      (await recovered(runner, original, pruned, samples, { method: "least-squares", rectify }, removal)).recovery.after;
    // 1 − cosine of the outputs. Measured: 0.03005 against 0.03026.
    expect(await distanceWith(true)).toBeLessThan(await distanceWith(false));
  });

  it("fits a branch to the block's sum, so that errors of the skip are made good", async () => {
    // The stream loses what block one gave it (its filters are set to 0); block two can still restore the sum.
    const original =
      modelOf(`g (float[N, 3, 6, 6] x) => (float[N, 3, 6, 6] y) <float[3, 3, 1, 1] w1 = {...}, float[3, 3, 1, 1] w2 = {...}, float[3] b = {...}> {
      a = Conv (x, w1) s = Add (a, x) c = Conv (x, w2, b) y = Add (c, s) }`);
    const broken = cloneModel(original);
    const w1 = broken.graph.value("w1") as NonNullable<ReturnType<typeof broken.graph.value>>;
    broken.graph.setConstant(
      w1,
      Tensor.floats(
        [1, 3, 1, 1].map((d, i) => (i === 0 ? 3 : d)),
        new Float32Array(9),
      ),
    );
    // The first layer may not be corrected: it is shared.
    broken.graph.addOutput(w1);
    broken.graph.setOutputs([broken.graph.value("y") as typeof w1, w1]);
    const samples = await normalSamples(original, 60);
    const { model, recovery } = await recovered(runner, original, broken, samples);
    expect(recovery.left).toEqual([{ node: "a", why: "its weight is shared" }]);
    expect(await distance(runner, original, model)).toBeLessThan(1e-5);
  });
});
