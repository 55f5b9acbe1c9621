/** The criteria that measure activations, on activations made up in the test; planted channels in real graphs: wmi-planted.test.ts. */
import { describe, expect, test } from "vitest";
import { keyOf, type StatisticRequest } from "../../src/calibrate/statistics/request.js";
import { statisticsOf } from "../../src/calibrate/statistics/statistics.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import type { Criterion } from "../../src/score/criterion.js";
import { entropy, entropyGauss } from "../../src/score/entropy.js";
import { mi } from "../../src/score/mi.js";
import { outputL1 } from "../../src/score/output-l1.js";
import { wmi } from "../../src/score/wmi.js";
import { modelOf } from "../support/build.js";
import { type Activation, activations, gauss } from "./activations.js";
import { removalOrder, score } from "./scoring.js";

const family = [outputL1, entropy, entropyGauss, mi, wmi] as unknown as readonly Criterion[];

const requestsOf = <O>(criterion: Criterion<O>, model: Model, options: unknown = {}): readonly StatisticRequest[] => {
  const coupling = findGroups(model);
  return criterion.statistics?.(criterion.options.parse(options), { model, coupling, seed: 0, note: () => undefined }) ?? [];
};

/** `channels` channels after an activation, read by a convolution of weights `u`. */
const layer = (channels: number, u: string, out = 1) =>
  modelOf(`g (float[N, 3, 4, 4] x) => (float[] y) <float[${channels}, 3, 1, 1] w = {...}, float[${out}, ${channels}, 1, 1] u = {${u}}> {
    c = Conv (x, w) r = Relu (c) y = Conv (r, u) }`);

/**
 * 0: the class and a little noise. 1: much noise. 2: dead. 3, 4: alike, half noise. 5: as 0.
 * What they mean to the readers below: 4 is read with weights 3 times those of 3, and 5 is not read.
 */
const plantedWith =
  (noise: number): Activation =>
  (_, k, n) => {
    const code = [1, -1, 2, 0][n % 4] as number;
    if (k === 0 || k === 5) return code + 0.1 * gauss(`a ${k} ${n}`);
    if (k === 1) return noise * gauss(`b ${n}`);
    if (k === 2) return 0;
    return code + gauss(`c ${n}`);
  };
const planted = plantedWith(100);
const plantedLayer = layer(6, "1, 1, 1, 1, 3, 0, 1, 1, 1, -1, -3, 0", 2);
const plantedScores = <O>(criterion: Criterion<O>, options: unknown = {}, of = planted) =>
  score(criterion, plantedLayer, options, "w:0", 0, activations(200, of, 4));

describe("of planted channels", () => {
  test.each(["gauss", "pooled", "hist"])("mi has the class code first, and what tells nothing last (%s)", (estimator) => {
    for (const variable of ["gap", "gmp", "pixels"]) {
      const { scores } = plantedScores(mi, { estimator, variable });
      const [code, noise, dead, a, b, again] = scores as unknown as [number, number, number, number, number, number];
      expect(Math.min(code, again)).toBeGreaterThan(a);
      expect(a).toBeGreaterThan(noise);
      expect(a).toBe(b);
      // 2N·I of the histogram is χ² with (10−1)(4−1) = 27 degrees of freedom: 0.018 is a standard deviation.
      expect(noise).toBeLessThan(0.08);
      expect(dead).toBe(0);
    }
  });

  test.each(["gauss", "pooled", "hist"])(
    "wmi has what tells more before what tells less, and what passes nothing on last (%s)",
    (estimator) => {
      for (const reading of ["literal", "snr"]) {
        // Noise of one channel is noise of the whole filter: by snr 100 would drown all the others.
        const { scores } = plantedScores(wmi, { estimator, reading }, plantedWith(3));
        const [code, noise, dead, a, b, unread] = scores as unknown as [number, number, number, number, number, number];
        // By snr a channel's own noise is but a part of the filter's: the class means of both are equally far apart.
        if (reading === "literal") expect(code).toBeGreaterThan(a);
        expect(a).toBeGreaterThan(noise);
        // Larger outgoing weights count, of channels that tell the same.
        expect(b).toBeGreaterThan(a);
        // Nothing passes through either.
        expect(noise).toBeGreaterThanOrEqual(Math.max(dead, unread));
        expect(removalOrder({ scores }).slice(0, reading === "snr" ? 3 : 2)).toEqual(expect.arrayContaining([2, 5]));
        if (reading === "snr") expect([dead, unread]).toEqual([0, 0]);
      }
    },
  );

  test("magnitude and entropy take noise for the best, and the dead channel for the worst", () => {
    for (const criterion of [outputL1, entropyGauss] as unknown as Criterion[]) {
      const order = removalOrder(plantedScores(criterion));
      expect([order[0], order.at(-1)]).toEqual([2, 1]);
    }
    const { scores } = plantedScores(entropy);
    expect(scores[2]).toBe(0);
    // Its histogram is that of any Gaussian: scale counts for nothing.
    expect(Math.abs((scores[1] as number) - (scores[3] as number))).toBeLessThan(0.3);
    for (const k of [0, 1, 3, 4, 5]) expect(scores[k]).toBeGreaterThan(1);
  });

  test("labels in another order leave nothing to tell", () => {
    const shuffled = activations(200, planted, 4, 1, (n) => Math.floor(Math.abs(gauss(`label ${n}`)) * 1000) % 4);
    for (const options of [{}, { estimator: "pooled" }, { estimator: "hist" }])
      expect(Math.max(...score(mi, plantedLayer, options, "w:0", 0, shuffled).scores)).toBeLessThan(0.05);
    expect(Math.max(...score(wmi, plantedLayer, { reading: "snr" }, "w:0", 0, shuffled).scores)).toBeLessThan(0.05);
  });

  test("classes may be numbered otherwise", () => {
    const renumbered = activations(200, planted, 4, 1, (n) => [2, 0, 3, 1][n % 4] as number);
    for (const criterion of [mi, wmi] as unknown as Criterion[]) {
      const [a, b] = [plantedScores(criterion).scores, score(criterion, plantedLayer, {}, "w:0", 0, renumbered).scores];
      a.forEach((s, k) => {
        expect(b[k]).toBeCloseTo(s, 10);
      });
    }
  });
});

describe("figures by hand", () => {
  /** Two classes at ±1 (channel 0) and ±2 (channel 1), noise exactly ±1 within each. */
  const exact: Activation = (_, k, n) => (n % 2 === 0 ? 1 : -1) * (k + 1) + (n % 4 < 2 ? 1 : -1);
  const measured = activations(400, exact, 2);
  const I = [0.5 * Math.log(2), 0.5 * Math.log(5)].map((x) => x - 1 / 400) as [number, number];
  const model = layer(2, "1, 2, 3, 0.5, 1, 1", 3);

  test("output-l1 is the mean magnitude, over that of the group or as it is", () => {
    // |±1 ± 1| is 2 or 0, |±2 ± 1| is 3 or 1.
    expect([...score(outputL1, model, { scale: "raw" }, "w:0", 0, measured).scores]).toEqual([1, 2]);
    expect([...score(outputL1, model, {}, "w:0", 0, measured).scores]).toEqual([2 / 3, 4 / 3]);
  });

  test("entropy-gauss is that of the variances 2 and 5", () => {
    const { scores } = score(entropyGauss, model, {}, "w:0", 0, measured);
    expect(scores[0]).toBeCloseTo(0.5 * Math.log(2 * Math.PI * Math.E * 2), 9);
    expect(scores[1]).toBeCloseTo(0.5 * Math.log(2 * Math.PI * Math.E * 5), 9);
  });

  test("wmi adds the mean logarithm of the outgoing gains, or their sum", () => {
    // Filters 0 to 2 read channel 0 by 1, 3, 1 and channel 1 by 2, 0.5, 1.
    const terms = [Math.log(3), Math.log(1)].map((ln, k) => 3 * (I[k] as number) + ln);
    const [mean, sum] = [score(wmi, model, {}, "w:0", 0, measured), score(wmi, model, { sum: true }, "w:0", 0, measured)];
    terms.forEach((t, k) => {
      expect(mean.scores[k]).toBeCloseTo(t / 3, 5);
      expect(sum.scores[k]).toBeCloseTo(t, 4);
    });
  });

  test("wmi by signal-to-noise sends the class means against all else that a filter reads", () => {
    const { scores } = score(wmi, model, { reading: "snr" }, "w:0", 0, measured);
    // Within 1, between 1 and 4, less 1/398 of the noise for chance; variances 2 and 5.
    const [b0, b1] = [1 - 1 / 398, 4 - 1 / 398];
    const gains = [
      [1, 2],
      [3, 0.5],
      [1, 1],
    ] as const;
    const mean = (f: (g: readonly [number, number]) => number) => gains.reduce((n, g) => n + f(g), 0) / 3;
    expect(scores[0]).toBeCloseTo(
      mean(([g, h]) => 0.5 * Math.log(1 + (g * g * b0) / (g * g + h * h * 5))),
      5,
    );
    expect(scores[1]).toBeCloseTo(
      mean(([g, h]) => 0.5 * Math.log(1 + (h * h * b1) / (h * h + g * g * 2))),
      5,
    );
    // Never more than the channel itself tells.
    const pooled = score(mi, model, { estimator: "pooled" }, "w:0", 0, measured).scores;
    scores.forEach((s, k) => {
      expect(s).toBeLessThanOrEqual((pooled[k] as number) + 1 / 400);
    });
  });

  test("wmi by a filter's own weights adds the information of its inputs and the mean logarithm of its weights", () => {
    const text = `g (float[N, 2, 4, 4] x) => (float[] y) <float[2, 2, 1, 2] w = {1, 2, 4, 0.5, 1, 1, -1, 2}, float[1, 2, 1, 1] u = {1, 1}> {
      c = Conv (x, w) y = Conv (c, u) }`;
    const { scores } = score(wmi, modelOf(text), { reading: "own" }, "w:0", 0, measured);
    const about = (I[0] + I[1]) / 2;
    expect(scores[0]).toBeCloseTo(about + (Math.log(2) + Math.log(2)) / 4, 5);
    expect(scores[1]).toBeCloseTo(about + Math.log(2) / 4, 5);
  });

  test("weights that are transposed or dequantised first count as what is multiplied", () => {
    const plain = `g (float[N, 2] x) => (float[N, 2] y) <float[2, 2] w = {1, 2, 4, 0.5}, float[2, 2] u = {3, 5, 2, -1}> { c = MatMul (x, w) y = MatMul (c, u) }`;
    const moved = `g (float[N, 2] x) => (float[N, 2] y) <float[2, 2] w = {1, 4, 2, 0.5}, int8[2, 2] u = {6, 10, 4, -2}, float s = {0.5}> {
      t = Transpose <perm = [1, 0]> (w) c = MatMul (x, t) q = DequantizeLinear (u, s) y = MatMul (c, q) }`;
    for (const reading of ["literal", "own", "snr"]) {
      const [a, b] = [plain, moved].map((text) => score(wmi, modelOf(text), { reading }, undefined, 0, measured).scores);
      expect(a).toEqual(b);
      expect(a?.[0]).not.toBe(a?.[1]);
    }
  });

  test("a filter of a convolution in groups reads the inputs of its group", () => {
    const text = `g (float[N, 4, 4, 4] x) => (float[] y) <float[4, 2, 1, 1] w = {1, 1, 1, 1, 1, 1, 1, 1}, float[1, 4, 1, 1] u = {...}> {
      c = Conv <group = 2> (x, w) y = Conv (c, u) }`;
    // Channels 0 and 1 of the input tell I₀, 2 and 3 tell I₁.
    const twice = activations(400, (tap, k, n, p) => exact(tap, Math.floor(k / 2), n, p), 2);
    const coupling = findGroups(modelOf(text));
    const scores = coupling.groups
      .filter((g) => g.name.startsWith("w:0"))
      .flatMap((g) => [...score(wmi, modelOf(text), { reading: "own" }, g.name, 0, twice).scores]);
    expect(scores.map((s) => s.toFixed(4)).sort()).toEqual([I[0], I[0], I[1], I[1]].map((s) => s.toFixed(4)));
  });
});

describe("a residual stream", () => {
  // The stream r is read after the first block's sum by a, and after the second's by b.
  const model = modelOf(`g (float[N, 3, 4, 4] x) => (float[] y)
    <float[2, 3, 1, 1] w = {...}, float[1, 2, 1, 1] a = {2, 4}, float[2, 1, 1, 1] a2 = {...}, float[3, 2, 1, 1] b = {1, 1, 1, 1, 1, 1}> {
    c = Conv (x, w) r = Relu (c)
    d = Conv (r, a) e = Relu (d) f = Conv (e, a2) s = Add (r, f) q = Relu (s)
    y = Conv (q, b) }`);
  /** Channel 0 tells more at r, channel 1 at q. */
  const twoPlaces: Activation = ({ value }, k, n) => {
    const strong = (value === "r") === (k === 0);
    return (n % 2 === 0 ? 1 : -1) * (strong ? 2 : 1) + (n % 4 < 2 ? 1 : -1);
  };
  const measured = activations(400, twoPlaces, 2);
  const [weak, strong] = [0.5 * Math.log(2), 0.5 * Math.log(5)].map((x) => x - 1 / 400) as [number, number];

  test("is measured after each sum that is read", () => {
    expect(requestsOf(mi, model).map((r) => r.value)).toEqual(expect.arrayContaining(["r", "q"]));
    const { scores } = score(mi, model, {}, "w:0", 0, measured);
    for (const s of scores) expect(s).toBeCloseTo((weak + strong) / 2, 5);
  });

  test("counts for each filter with what that filter reads", () => {
    const { scores } = score(wmi, model, {}, "w:0", 0, measured);
    // One filter at r, three at q.
    expect(scores[0]).toBeCloseTo((strong + Math.log(2) + 3 * weak) / 4, 5);
    expect(scores[1]).toBeCloseTo((weak + Math.log(4) + 3 * strong) / 4, 5);
  });
});

describe("what is measured", () => {
  const model = plantedLayer;

  test("is one statistic, where two criteria ask for the same", () => {
    const keys = (criterion: Criterion<never>, options: unknown = {}) => requestsOf(criterion as Criterion, model, options).map(keyOf);
    const a = keys(mi as Criterion<never>);
    expect(a).toEqual(["moments(gap, by class) of r:1"]);
    for (const options of [{}, { reading: "snr" }, { estimator: "pooled" }]) expect(keys(wmi as Criterion<never>, options)).toEqual(a);
    expect(keys(mi as Criterion<never>, { estimator: "hist" })).toEqual(keys(entropy as Criterion<never>));
  });

  test.each(family)("is read by $name and nothing else, in every variable and place", (criterion) => {
    const variants = ["gap", "gmp", "pixels"].flatMap((variable) =>
      ["read", "pre-activation"].flatMap((at) =>
        ["gauss", "pooled", "hist"].flatMap((estimator) =>
          ["literal", "own", "snr"].map((reading) => ({ variable, at, estimator, reading })),
        ),
      ),
    );
    const accepted = variants.flatMap((all) => {
      const options = Object.fromEntries(
        Object.entries(all).filter(([name]) => criterion.options.safeParse({ [name]: all[name as "at"] }).success),
      );
      return criterion.options.safeParse(options).success ? [options] : [];
    });
    expect(accepted.length).toBe(variants.length);
    for (const options of accepted) {
      const read = new Set<string>();
      const requested = requestsOf(criterion, model, options).map(keyOf);
      const { scores } = score(criterion, model, options, "w:0", 0, (requests, coupling) => {
        const found = activations(40, planted, 4, 2)(requests, coupling);
        return {
          ...found,
          of: (request) => {
            read.add(keyOf(request));
            return found.of(request);
          },
        };
      });
      expect(scores.every(Number.isFinite)).toBe(true);
      expect([...read].every((key) => requested.includes(key))).toBe(true);
      expect(new Set(requested).size).toBe(requested.length);
    }
  });

  test("lies before the activation where that is asked for", () => {
    expect(requestsOf(mi, model, { at: "pre-activation" }).map((r) => r.value)).toEqual(["c"]);
    expect(requestsOf(entropyGauss, model, { at: "pre-activation" }).map((r) => r.value)).toEqual(["c"]);
    const swish = modelOf(`g (float[N, 3, 4, 4] x) => (float[] y) <float[2, 3, 1, 1] w = {...}, float[1, 2, 1, 1] u = {1, 1}> {
      c = Conv (x, w) s = Sigmoid (c) m = Mul (c, s) y = Conv (m, u) }`);
    // Two operators: not followed.
    expect(requestsOf(mi, swish, { at: "pre-activation" }).map((r) => r.value)).toEqual(["m"]);
  });

  test("needs labels for what asks about the class, and more than one class", () => {
    const none = activations(40, planted);
    for (const criterion of [mi, wmi] as unknown as Criterion[]) {
      expect(() => score(criterion, model, {}, "w:0", 0, none)).toThrow(
        expect.objectContaining({ code: "CRITERION_NEEDS_LABELS", exitCode: 1 }),
      );
      expect(() => score(criterion, model, {}, "w:0", 0, activations(40, planted, 1))).toThrow("all samples are of one class");
      for (const estimator of ["gauss", "pooled", "hist"])
        expect(() => score(criterion, model, { estimator }, "w:0", 0, activations(7, planted, 4))).toThrow(
          "seen were 7 samples of 4 classes",
        );
    }
    for (const criterion of [outputL1, entropy, entropyGauss] as unknown as Criterion[])
      expect(score(criterion, model, {}, "w:0", 0, none).scores.every(Number.isFinite)).toBe(true);
  });

  test("must have been measured", () => {
    for (const criterion of family) expect(() => score(criterion, model)).toThrow(expect.objectContaining({ code: "CALIBRATION_MISSING" }));
  });

  test("is nothing of channels that no activation carries: they stay, and the reason is given", () => {
    // A hidden layer of weights alone: the product of two matrices is what multiplies x.
    const folded = modelOf(
      "g (float[N, 3] x) => (float[N, 5] y) <float[3, 4] w = {...}, float[4, 5] u = {...}> { p = MatMul (w, u) y = MatMul (x, p) }",
    );
    for (const criterion of family) {
      const { whole } = score(criterion, folded, {}, undefined, 0, () => statisticsOf([], { samples: 8, classes: 2 }));
      expect(whole).toContain("no activation of the main graph");
    }
  });

  test("NaN stays NaN, which the planner refuses", () => {
    for (const criterion of family) {
      const { scores } = score(
        criterion,
        model,
        {},
        "w:0",
        0,
        activations(40, (tap, k, n, p) => (k === 3 ? Number.NaN : planted(tap, k, n, p)), 4),
      );
      expect(scores[3]).toBeNaN();
    }
  });
});

test("rare classes are left out by mi and wmi, and a note tells once", () => {
  const rare = activations(203, planted, 5, 1, (n) => (n >= 200 ? 4 : n % 4));
  for (const criterion of [mi, wmi] as unknown as Criterion[]) {
    const { notes } = score(criterion, plantedLayer, {}, "w:0", 0, rare);
    expect(notes.map((n) => [n.code, n.about])).toEqual([["FEW_SAMPLES", criterion.name]]);
  }
});
