/** The criteria that measure activations, in graphs that ONNX Runtime runs: planted channels, permutations, rescaling, an oracle. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Samples } from "../../src/calibrate/samples.js";
import { collect } from "../../src/calibrate/statistics/collect.js";
import { statisticsFrom } from "../../src/calibrate/statistics/summary.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { applyPlan } from "../../src/passes/remove-filters.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Runner } from "../../src/runtime/runner.js";
import { makePlan } from "../../src/score/budget.js";
import type { Criterion } from "../../src/score/criterion.js";
import { entropy, entropyGauss } from "../../src/score/entropy.js";
import { mi } from "../../src/score/mi.js";
import { outputL1 } from "../../src/score/output-l1.js";
import { wmi } from "../../src/score/wmi.js";
import { modelOf } from "../support/build.js";
import { run } from "../support/run.js";
import { gauss } from "./activations.js";
import { edited, removalOrder, score } from "./scoring.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

const CLASSES = 4;
const SAMPLES = 160;

/** Samples x [C, 4, 4] of class n mod 4; `of` gives a position of an input channel. */
function samplesOf(channels: number, of: (c: number, n: number, p: number) => number): Samples {
  return {
    count: SAMPLES,
    labels: Int32Array.from({ length: SAMPLES }, (_, n) => n % CLASSES),
    source: "test",
    bad: [],
    batch: async (from, to) => {
      const data = Float32Array.from({ length: (to - from) * channels * 16 }, (_, i) =>
        of(Math.floor(i / 16) % channels, from + Math.floor(i / 16 / channels), i % 16),
      );
      return { x: Tensor.floats([to - from, channels, 4, 4], data) };
    },
  };
}

/** Scores of a group with statistics that the engine takes. */
async function measuredScore(criterion: Criterion, model: Model, samples: Samples, options: unknown = {}, name?: string) {
  const requests = requestsOf(criterion, model, options);
  const statistics = statisticsFrom(await collect(runner, model, requests, samples));
  return score(criterion, model, options, name, 0, () => statistics);
}

function requestsOf(criterion: Criterion, model: Model, options: unknown) {
  const coupling = findGroups(model);
  return criterion.statistics?.(criterion.options.parse(options), { model, coupling, seed: 0, note: () => undefined }) ?? [];
}

const family = [outputL1, entropy, entropyGauss, mi, wmi] as unknown as readonly Criterion[];
const variants: readonly (readonly [string, Criterion, Record<string, unknown>])[] = [
  ...family.map((c) => [c.name, c, {}] as const),
  ["mi hist", mi as unknown as Criterion, { estimator: "hist" }],
  ["wmi own", wmi as unknown as Criterion, { reading: "own" }],
  ["wmi snr", wmi as unknown as Criterion, { reading: "snr" }],
];

/**
 * Channels of w are the inputs themselves: 0 the class code with a little noise, 1 noise, 2 dead (a bias below all
 * that comes), 3 and 4 alike, code and noise of deviation 1; of these 4 has outgoing weights 3 times as large. 5 is as 0, but not read.
 */
const planted = modelOf(`g (float[N, 6, 4, 4] x) => (float[N, 2, 4, 4] y)
  <float[6, 6, 1, 1] w = {1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1},
   float[6] b = {8, 80, -1000, 8, 8, 8}, float[2, 6, 1, 1] u = {1, 1, 1, 1, 3, 0, 1, 1, 1, -1, -3, 0}> {
  c = Conv (x, w, b) r = Relu (c) y = Conv (r, u) }`);
const noisy = (deviation: number) =>
  samplesOf(6, (c, n, p) => {
    const code = [1, -1, 2, 0][n % CLASSES] as number;
    if (c === 1) return deviation * gauss(`noise ${n}`);
    return code + (c === 0 || c === 5 ? 0.1 : 1) * gauss(`${c === 4 ? 3 : c} ${n}`) + 0.01 * gauss(`${p} ${n}`);
  });

const inputs = noisy(20);

describe("planted in a graph", () => {
  test.each([
    ["gauss", "gap"],
    ["pooled", "gmp"],
    ["hist", "gap"],
    ["gauss", "pixels"],
    ["hist", "pixels"],
  ])("the class code is first by mi, noise and dead channels are last (%s, %s)", async (estimator, variable) => {
    const result = await measuredScore(mi as unknown as Criterion, planted, inputs, { estimator, variable }, "w:0");
    const order = removalOrder(result);
    expect(new Set(order.slice(0, 2))).toEqual(new Set([1, 2]));
    expect(new Set(order.slice(-2))).toEqual(new Set([0, 5]));
    expect(result.scores[2]).toBe(0);
    expect(result.scores[4]).toBeCloseTo(result.scores[3] as number, 4);
  });

  test("wmi prefers the larger outgoing weights of two alike, and removes first what passes nothing on", async () => {
    for (const reading of ["literal", "snr"]) {
      const result = await measuredScore(wmi as unknown as Criterion, planted, noisy(3), { reading }, "w:0");
      expect(result.scores[2]).toBe(Math.min(...result.scores));
      for (const k of [0, 3, 4]) expect(result.scores[k]).toBeGreaterThan(Math.max(...[1, 2, 5].map((j) => result.scores[j] as number)));
      expect(result.scores[4]).toBeGreaterThan(result.scores[3] as number);
    }
  });

  test("noise is first by magnitude and by Gaussian entropy, the dead channel last by each", async () => {
    for (const criterion of [outputL1, entropyGauss, entropy] as unknown as Criterion[]) {
      const order = removalOrder(await measuredScore(criterion, planted, inputs, {}, "w:0"));
      expect(order[0]).toBe(2);
      if (criterion.name !== "entropy") expect(order.at(-1)).toBe(1);
    }
  });

  test.each(["output-l1", "entropy", "entropy-gauss", "wmi"])(
    "a plan by %s takes the dead channel first, and outputs stay bit for bit",
    async (name) => {
      const criterion = family.find((c) => c.name === name) as Criterion;
      const { plan } = await planned(criterion, planted, inputs, 5 / 6);
      expect(plan.remove).toEqual({ "w:0": [2] });
      expect(await run(applyPlan(planted, plan).result)).toEqual(await run(planted));
    },
  );
});

async function planned(criterion: Criterion, model: Model, samples: Samples, ratio: number, options: unknown = {}) {
  const statistics = statisticsFrom(await collect(runner, model, requestsOf(criterion, model, options), samples));
  return makePlan(model, {
    criterion,
    options: criterion.options.parse(options),
    statistics,
    target: { ratio },
    scope: "global",
    align: 1,
    seed: 0,
    measure: () => 1,
    note: () => undefined,
  });
}

/** Two blocks with a residual sum and a classifier on a flattened map. */
const net = modelOf(`g (float[N, 3, 4, 4] x) => (float[N, 4] y)
  <float[5, 3, 3, 3] w = {...}, float[5] b = {...}, float[6, 5, 1, 1] a = {...}, float[5, 6, 3, 3] d = {...}, float[4, 80] u = {...}> {
  c = Conv <pads = [1, 1, 1, 1]> (x, w, b) r = Relu (c)
  e = Conv (r, a) f = Relu (e) h = Conv <pads = [1, 1, 1, 1]> (f, d) s = Add (r, h) q = Relu (s)
  k = Flatten (q) y = Gemm <transB = 1> (k, u) }`);
const images = samplesOf(3, (c, n, p) => gauss(`${c} ${n} ${p}`) + (c === n % CLASSES ? 1 : 0));

/** `net` with the six inner channels in another order, or with inner channel 2 made `by` times as large and read as much weaker. */
const inner = [4, 0, 5, 2, 1, 3];
const permuted = edited(
  edited(net, "a", (w) => w.set(Float32Array.from(w, (_, i) => w[(inner[Math.floor(i / 5)] as number) * 5 + (i % 5)] as number))),
  "d",
  (w) =>
    w.set(Float32Array.from(w, (_, i) => w[Math.floor(i / 54) * 54 + (inner[Math.floor(i / 9) % 6] as number) * 9 + (i % 9)] as number)),
);
const rescaled = (by: number) =>
  edited(
    edited(net, "a", (w) => w.set(w.map((x, i) => (Math.floor(i / 5) === 2 ? x * by : x)))),
    "d",
    (w) => w.set(w.map((x, i) => (Math.floor(i / 9) % 6 === 2 ? x / by : x))),
  );

test.each(variants)("%s: channels in another order get their scores in that order", async (_, criterion, options) => {
  const [a, b] = [
    await measuredScore(criterion, net, images, options, "a:0"),
    await measuredScore(criterion, permuted, images, options, "a:0"),
  ];
  inner.forEach((from, to) => {
    expect(b.scores[to]).toBeCloseTo(a.scores[from] as number, 4);
  });
  expect(removalOrder(b).map((k) => inner[k])).toEqual(removalOrder(a));
});

describe("a channel 8 times as large that is read 8 times weaker, so that the network computes the same,", () => {
  const both = async (criterion: Criterion, options: unknown) => {
    const of = async (model: Model) => (await measuredScore(criterion, model, images, options, "a:0")).scores;
    return [await of(net), await of(rescaled(8))] as const;
  };

  test.each(variants.filter(([name]) => ["entropy", "mi", "mi hist", "wmi snr"].includes(name)))(
    "%s scores as before",
    async (_, criterion, options) => {
      const [a, b] = await both(criterion, options);
      a.forEach((s, k) => {
        expect(b[k]).toBeCloseTo(s, 4);
      });
    },
  );

  test("wmi scores ln 8 less, entropy-gauss as much more, and output-l1 8 times more", async () => {
    const [a, b] = await both(wmi as unknown as Criterion, {});
    expect((a[2] as number) - (b[2] as number)).toBeCloseTo(Math.log(8), 4);
    expect(b[1]).toBeCloseTo(a[1] as number, 4);
    const [c, d] = await both(entropyGauss as unknown as Criterion, {});
    expect((d[2] as number) - (c[2] as number)).toBeCloseTo(Math.log(8), 4);
    const [e, f] = await both(outputL1 as unknown as Criterion, { scale: "raw" });
    expect((f[2] as number) / (e[2] as number)).toBeCloseTo(8, 4);
    // By their own weights it is the filter that grew.
    const [g, h] = await both(wmi as unknown as Criterion, { reading: "own" });
    expect((h[2] as number) - (g[2] as number)).toBeCloseTo(Math.log(8), 4);
  });
});

test.each(variants)("%s: a budget of everything removes nothing, and outputs stay bit for bit", async (_, criterion, options) => {
  const { plan } = await planned(criterion, net, images, 1, options);
  expect(plan.remove).toEqual({});
  expect(await run(applyPlan(net, plan).result)).toEqual(await run(net));
});

test("a small share over all layers never empties a layer, negative scores or not", async () => {
  for (const [, criterion, options] of variants) {
    const { plan } = await planned(criterion, net, images, 0.4, options);
    const gone = Object.values(plan.remove).map((of) => of.length);
    expect(gone.reduce((a, b) => a + b, 0)).toBeGreaterThan(0);
    expect((plan.remove["w:0"]?.length ?? 0) < 5 && (plan.remove["a:0"]?.length ?? 0) < 6).toBe(true);
  }
});
