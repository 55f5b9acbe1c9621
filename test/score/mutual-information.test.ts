/** Estimators against closed forms, and what must not change them. */
import { describe, expect, test } from "vitest";
import type { Moments } from "../../src/calibrate/statistics/request.js";
import { normal, random } from "../../src/graph/random.js";
import {
  equalBins,
  gaussianEntropy,
  gaussianInformation,
  histogramEntropy,
  histogramInformation,
  leftOut,
  pooledInformation,
  quantileCounts,
  quantiles,
  signalOf,
} from "../../src/score/mutual-information.js";

type Numbers = readonly number[];
const mean = (x: Numbers) => x.reduce((a, b) => a + b, 0) / x.length;
const variance = (x: Numbers) => mean(x.map((u) => (u - mean(x)) ** 2));

/** Moments of one channel from its values and labels. */
function momentsOf(values: Numbers, labels: Numbers): Moments {
  const of = (mine: Numbers) => ({
    samples: mine.length,
    count: mine.length,
    mean: Float64Array.of(mean(mine)),
    variance: Float64Array.of(variance(mine)),
  });
  const classes = Array.from({ length: Math.max(...labels) + 1 }, (_, c) => of(values.filter((_, n) => labels[n] === c)));
  return { ...of(values), classes };
}

/** Moments of one channel with these class means and variances, each class seen `samples` times. */
function momentsWith(means: Numbers, variances: Numbers, samples: number, positions = 1): Moments {
  const classes = means.map((m, c) => ({
    samples,
    count: samples * positions,
    mean: Float64Array.of(m),
    variance: Float64Array.of(variances[c] as number),
  }));
  const total = mean(variances) + variance(means);
  const n = samples * means.length;
  return { samples: n, count: n * positions, mean: Float64Array.of(mean(means)), variance: Float64Array.of(total), classes };
}

const estimators = { gauss: gaussianInformation, pooled: pooledInformation } as const;
const classCode = (n: number, seed = "code") => {
  const uniform = random(seed);
  const labels = Array.from({ length: n }, (_, i) => i % 4);
  return { labels, values: labels.map((c) => [0, 1, 3, -2][c] as number).map((m, i) => m + (0.3 + (i % 4)) * normal(uniform)) };
};

describe.each(Object.entries(estimators))("the information of a Gaussian (%s)", (name, information) => {
  test("is ½ ln(1 + μ²) for two classes at ±μ with unit noise, less the bias", () => {
    for (const mu of [0.5, 1, 3]) {
      const n = 500;
      const bias = name === "gauss" ? 1 / (2 * n) : 1 / (4 * n);
      // The floor, 10⁻⁶ of the variance, costs less than 10⁻⁵ nats here.
      expect(information(momentsWith([mu, -mu], [1, 1], n))[0]).toBeCloseTo(0.5 * Math.log(1 + mu * mu) - bias, 5);
    }
  });

  test("does not change when the channel is shifted and scaled", () => {
    const { values, labels } = classCode(400);
    const nats = information(momentsOf(values, labels))[0] as number;
    expect(nats).toBeGreaterThan(0.1);
    for (const [a, b] of [
      [1000, 7],
      [-1e-4, 0.01],
      [1, 50],
    ] as const) {
      const moved = values.map((u) => a * u + b);
      expect(information(momentsOf(moved, labels))[0]).toBeCloseTo(nats, 9);
    }
  });

  test("does not change when classes are numbered otherwise, or some number is not used", () => {
    const { values, labels } = classCode(200);
    const nats = information(momentsOf(values, labels))[0] as number;
    const renumbered = labels.map((c) => [5, 0, 2, 1][c] as number);
    expect(information(momentsOf(values, renumbered))[0]).toBeCloseTo(nats, 12);
  });

  test("vanishes for labels that have nothing to do with it, once corrected", () => {
    // 2N·I is χ² with 18 (gauss) or 9 (pooled) degrees of freedom: at N = 200 a bias of 0.045 or 0.0225, of which clamping leaves a fifth.
    const uniform = random("shuffled");
    const found = Array.from({ length: 300 }, () => {
      const labels = Array.from({ length: 200 }, (_, i) => i % 10);
      return information(
        momentsOf(
          labels.map(() => normal(uniform)),
          labels,
        ),
      )[0] as number;
    });
    expect(mean(found)).toBeLessThan(0.012);
    expect(Math.min(...found)).toBe(0);
    // Not because everything is clamped.
    expect(found.filter((x) => x > 0).length).toBeGreaterThan(75);
  });

  test("has the bias of so many samples, however many pixels they had", () => {
    expect(information(momentsWith([0, 1], [1, 2], 50, 64))[0]).toBe(information(momentsWith([0, 1], [1, 2], 50))[0]);
    expect(information(momentsWith([0, 1], [1, 2], 50))[0]).toBeLessThan(information(momentsWith([0, 1], [1, 2], 5000))[0] as number);
  });

  test("is 0 for a constant, also one whose variance is nothing but rounding, and finite for a channel that is the class", () => {
    expect(information(momentsWith([0, 0], [0, 0], 50))[0]).toBe(0);
    expect(information(momentsWith([5, 5 + 1e-9], [0, 0], 50))[0]).toBe(0);
    expect(information(momentsWith([-1, 1], [0, 0], 50))[0]).toBeCloseTo(0.5 * Math.log(1e6), 1);
  });
});

test("classes of fewer than 5 samples are left out, as if their samples were not there", () => {
  const { values, labels } = classCode(100);
  const rare = momentsOf([...values, 90, 91, 95], [...labels, 4, 4, 4]);
  expect(gaussianInformation(rare)[0]).toBeCloseTo(gaussianInformation(momentsOf(values, labels))[0] as number, 12);
  expect(leftOut(rare)).toBe("1 of 5 classes have fewer than 5 samples, which are left out");
  expect(leftOut(momentsOf(values, labels))).toBeUndefined();
});

test("with few samples of every class, one variance is taken for all", () => {
  const { values, labels } = classCode(16);
  const few = momentsOf(values, labels);
  expect(gaussianInformation(few)).toEqual(pooledInformation(few));
  expect(leftOut(few)).toContain("one variance is taken for all classes");
});

test("two classes that differ in variance alone are told apart by a variance of each, not by one of all", () => {
  const moments = momentsWith([0, 0], [1, 100], 1000);
  expect(gaussianInformation(moments)[0]).toBeCloseTo(0.5 * Math.log(50.5) - 0.25 * Math.log(100) - 1 / 2000, 4);
  expect(pooledInformation(moments)[0]).toBe(0);
});

test("signal and noise are the variance between and within classes, the former less what chance gives", () => {
  const { signal, noise, power } = signalOf(momentsWith([-2, 2], [1, 3], 100));
  expect(power[0]).toBeCloseTo(6, 12);
  expect(noise[0]).toBeCloseTo(2, 4);
  expect(signal[0]).toBeCloseTo(4 - 2 / 198, 12);
  expect(signalOf(momentsWith([0, 0.01], [1, 1], 100)).signal[0]).toBe(0);
});

describe("a Gaussian's entropy", () => {
  test("is ½ ln 2πe v, and ln a more for a times the channel", () => {
    expect(gaussianEntropy(1)).toBeCloseTo(1.4189385332, 9);
    expect(gaussianEntropy(9) - gaussianEntropy(1)).toBeCloseTo(Math.log(3), 9);
  });
  test("of a dead channel is finite, and less than that of any other", () => {
    expect(gaussianEntropy(0)).toBeCloseTo(1.4189385332 + 0.5 * Math.log(1e-12), 9);
  });
});

describe("a histogram", () => {
  test("has the entropy of its bins, corrected by Miller and Madow", () => {
    expect(histogramEntropy([5, 5, 5, 5, 0], 20)).toBeCloseTo(Math.log(4) + 3 / 40, 12);
    // The correction counts samples, of which each had 16 pixels.
    expect(histogramEntropy([80, 80, 80, 80, 0], 20)).toBeCloseTo(Math.log(4) + 3 / 40, 12);
    expect(histogramEntropy([20, 0], 20)).toBe(0);
  });

  test("has equal bins over the range of the values, whatever their scale", () => {
    expect([...equalBins([0, 1, 2, 3, 4], 4)]).toEqual([1, 1, 1, 2]);
    expect([...equalBins([100, 98, 96, 94, 92], 4)]).toEqual([1, 1, 1, 2]);
    expect([...equalBins([7, 7, 7], 4)]).toEqual([3, 0, 0, 0]);
  });

  test("of NaN has no entropy", () => {
    expect(histogramEntropy(equalBins([1, Number.NaN, 2], 4), 3)).toBeNaN();
  });

  test("tells the class as far as its bins do: ln Q where each class has bins of its own, less the bias", () => {
    const joint = [
      [10, 0, 0, 0],
      [0, 10, 0, 0],
      [0, 0, 10, 0],
      [0, 0, 0, 10],
    ];
    expect(histogramInformation(joint, 40)).toBeCloseTo(Math.log(4) - 9 / 80, 12);
    expect(histogramInformation([...joint].reverse(), 40)).toBeCloseTo(Math.log(4) - 9 / 80, 12);
    expect(
      histogramInformation(
        [
          [5, 5],
          [5, 5],
        ],
        20,
      ),
    ).toBe(0);
  });

  test("vanishes for labels that have nothing to do with it, once corrected", () => {
    // Uncorrected (B−1)(Q−1)/2N = 9·9/1000 = 0.081.
    const uniform = random("histogram");
    const labels = Array.from({ length: 500 }, (_, i) => i % 10);
    const found = Array.from({ length: 200 }, () =>
      histogramInformation(
        quantileCounts(
          labels.map(() => normal(uniform)),
          labels,
          10,
          10,
        ),
        500,
      ),
    );
    expect(mean(found)).toBeLessThan(0.012);
    expect(found.filter((x) => x > 0).length).toBeGreaterThan(50);
  });
});

describe("quantiles", () => {
  test("hold equally many, and equal values share one", () => {
    expect([...quantiles([1, 1, 1, 1, 1, 1], 3)]).toEqual([0, 0, 1, 1, 2, 2]);
    // The zeros of a ReLU are one value.
    expect([...quantiles([6, 1, 1, 1, 1], 2)]).toEqual([0, 1, 1, 1, 1]);
    expect(quantileCounts([0, 0, 0, 0, 1, 2], [0, 1, 0, 1, 1, 0], 2, 3).map((c) => [...c])).toEqual([
      [0, 2, 1],
      [0, 2, 1],
    ]);
  });

  test("do not change under a rising function", () => {
    const { values, labels } = classCode(300);
    const counts = (of: Numbers) => quantileCounts(of, labels, 4, 10).map((c) => [...c]);
    expect(counts(values.map((u) => Math.exp(u) + u))).toEqual(counts(values));
  });
});
