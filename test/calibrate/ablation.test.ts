import { afterAll, beforeAll, expect, test } from "vitest";
import { ablate } from "../../src/calibrate/ablation.js";
import { modelInputs } from "../../src/calibrate/model-inputs.js";
import { openSamples } from "../../src/calibrate/samples.js";
import type { Model } from "../../src/graph/graph.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { edited } from "../score/scoring.js";
import { modelOf } from "../support/build.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

const TEXT = `g (float[N, 3, 5, 5] x) => (float[N, 4, 5, 5] s, float[N, 2, 5, 5] y)
  <float[4, 3, 3, 3] w1 = {...}, float[4] b1 = {...}, float[4, 4, 1, 1] w2 = {...}, float[2, 4, 1, 1] w3 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu (a)
  b = Conv (r, w2) s = Add (r, b) t = Relu (s) y = Conv (t, w3) }`;

/** Outputs of `model` on the samples, in one batch. */
async function outputs(model: Model, where: string) {
  const samples = await openSamples(where, { inputs: modelInputs(model).inputs });
  const session = await runner.load(sourceOf(model), { optimization: "disabled" });
  const out = await session.run(await samples.batch(0, samples.count));
  await session.release();
  return { s: out["s"]?.numbers() as ArrayLike<number>, y: out["y"]?.numbers() as ArrayLike<number> };
}

const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((t, x, i) => t + (x - (b[i] as number)) ** 2, 0) / a.length;

test.each([13, 18])("opset %i: each channel at its mean moves what a filter that always gives this mean moves", async (opset) => {
  const model = modelOf(TEXT, opset);
  const means = Float64Array.of(0.5, 0.25, 1, 2);
  const samples = await openSamples("random:6", { inputs: modelInputs(model).inputs });
  const progress: string[] = [];
  const found = await ablate(runner, model, [{ value: "r", axis: 1, means, targets: ["s", "y"] }], samples, {
    samples: 6,
    copies: 4,
    onProgress: (done, total) => progress.push(`${done}/${total}`),
  });
  const whole = await outputs(model, "random:6");
  for (let k = 0; k < 4; k++) {
    // Relu hands on a bias of m ≥ 0 as it is.
    const constant = edited(
      edited(model, "w1", (w) => w.fill(0, k * 27, (k + 1) * 27)),
      "b1",
      (b) => {
        b[k] = means[k] as number;
      },
    );
    const without = await outputs(constant, "random:6");
    const [s, y] = [distance(whole.s, without.s), distance(whole.y, without.y)];
    expect(s).toBeGreaterThan(0.01);
    expect((found.get("r")?.get("s")?.[k] as number) / s).toBeCloseTo(1, 4);
    expect((found.get("r")?.get("y")?.[k] as number) / y).toBeCloseTo(1, 4);
  }
  // Four channels, three at a time.
  expect(progress).toHaveLength(12);
  expect(progress.at(-1)).toBe("12/12");
});

test("a value that is ablated and watched is watched as it was made", async () => {
  const model = modelOf(TEXT);
  const samples = await openSamples("random:3", { inputs: modelInputs(model).inputs });
  const one = (value: string, targets: readonly string[]) => ({ value, axis: 1, means: new Float64Array(4), targets });
  const alone = await ablate(runner, model, [one("r", ["s"])], samples, { samples: 3 });
  const both = await ablate(runner, model, [one("r", ["s"]), one("s", ["y"])], samples, { samples: 3 });
  expect(both.get("r")).toEqual(alone.get("r"));
  expect(
    both
      .get("s")
      ?.get("y")
      ?.every((x) => x > 0),
  ).toBe(true);
});

test("a model that takes one sample at a time is refused, with what to do", async () => {
  const model = modelOf(TEXT.replaceAll("N", "1"));
  const samples = await openSamples("random:3", { inputs: modelInputs(model).inputs });
  await expect(ablate(runner, model, [], samples, { samples: 3 })).rejects.toMatchObject({ code: "ABLATION_BATCH" });
});

test("it can be stopped", async () => {
  const model = modelOf(TEXT);
  const samples = await openSamples("random:3", { inputs: modelInputs(model).inputs });
  const stop = new AbortController();
  const running = ablate(runner, model, [{ value: "r", axis: 1, means: new Float64Array(4), targets: ["y"] }], samples, {
    samples: 3,
    signal: stop.signal,
    onProgress: () => stop.abort(),
  });
  await expect(running).rejects.toMatchObject({ name: "AbortError" });
});
