/** Intervals and tests against published tables and exact arithmetic. */
import { describe, expect, it } from "vitest";
import { pairedAccuracy } from "../../src/compare/paired-accuracy.js";
import { mcnemar, pairedDifference, wilson } from "../../src/compare/statistics.js";

const rounded = (x: number, digits: number) => Number(x.toFixed(digits));

describe("Wilson's interval", () => {
  it("solves |p̂ - p| = z·√(p(1-p)/n) at both ends", () => {
    for (const [hits, n] of [
      [1, 10],
      [47, 50],
      [1234, 2000],
    ] as const) {
      const { value, low, high } = wilson(hits, n);
      for (const p of [low, high]) expect(Math.abs(value - p)).toBeCloseTo(1.959963984540054 * Math.sqrt((p * (1 - p)) / n), 12);
      expect(low < value && value < high).toBe(true);
    }
  });

  // Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3.
  it.each([
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ])("%i of %i is [%f, %f], as published", (hits, n, low, high) => {
    const found = wilson(hits, n);
    expect([rounded(found.low, 4), rounded(found.high, 4)]).toEqual([low, high]);
  });

  it("ends at 1 where all are right", () => {
    expect(wilson(20, 20).high).toBe(1);
  });
});

describe("Newcombe's interval for paired proportions", () => {
  // Fagerland, Lydersen and Laake 2014 (Statistics in Medicine 33:2850), airway hyper-responsiveness before and after transplantation.
  it("gives the published interval of 1, 1, 7, 12", () => {
    const { value, low, high } = pairedDifference({ both: 1, lost: 1, gained: 7, neither: 12 });
    expect([rounded(value, 3), rounded(low, 3), rounded(high, 3)]).toEqual([-0.286, -0.507, -0.026]);
  });

  // Newcombe 1998 (Statistics in Medicine 17:2635), table II, method 10.
  it("gives the published interval of 36, 12, 2, 0", () => {
    const { low, high } = pairedDifference({ both: 36, lost: 12, gained: 2, neither: 0 });
    expect([rounded(low, 4), rounded(high, 4)]).toEqual([0.0569, 0.3404]);
  });

  it("turns around when the classifiers change places, and holds the estimate", () => {
    const one = pairedDifference({ both: 700, lost: 40, gained: 25, neither: 235 });
    const other = pairedDifference({ both: 700, lost: 25, gained: 40, neither: 235 });
    expect([-other.high, -other.low]).toEqual([one.low, one.high]);
    expect(one.low < one.value && one.value < one.high).toBe(true);
  });

  it("is narrow, around 0, for answers that are all alike", () => {
    const { value, low, high } = pairedDifference({ both: 900, lost: 0, gained: 0, neither: 100 });
    expect(value).toBe(0);
    expect(low).toBeLessThanOrEqual(0);
    expect(high).toBeGreaterThanOrEqual(0);
    // None of 1000 discordant: by the rule of three at most 3 in 1000 either way are plausible.
    expect(high - low).toBeLessThan(0.008);
  });

  it("is no number larger than the truth can be: all right against all wrong", () => {
    const { value, low, high } = pairedDifference({ both: 0, lost: 50, gained: 0, neither: 0 });
    expect(value).toBe(1);
    expect(low).toBeGreaterThan(0.85);
    expect(high).toBe(1);
  });

  it("covers the true difference about 95 times of 100", () => {
    // Pairs drawn with P(lost) 0.08 and P(gained) 0.05 by a fixed linear congruence; 3σ of 2,000 draws is 1.5 %.
    let state = 12345;
    const uniform = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    let covered = 0;
    for (let trial = 0; trial < 2000; trial++) {
      const pairs = { both: 0, lost: 0, gained: 0, neither: 0 };
      for (let i = 0; i < 200; i++) {
        const u = uniform();
        pairs[u < 0.08 ? "lost" : u < 0.13 ? "gained" : u < 0.8 ? "both" : "neither"]++;
      }
      const { low, high } = pairedDifference(pairs);
      if (low <= 0.03 && 0.03 <= high) covered++;
    }
    expect(covered / 2000).toBeGreaterThan(0.935);
    expect(covered / 2000).toBeLessThan(0.975);
  });
});

/** 2·P(Binomial(m, 1/2) ≤ k) and P(= k) in integers. */
function binomial(m: number, k: number): { twice: number; at: number } {
  let choose = 1n;
  let sum = 0n;
  for (let i = 0; i <= k; i++) {
    sum += choose;
    if (i < k) choose = (choose * BigInt(m - i)) / BigInt(i + 1);
  }
  const scale = 10n ** 40n;
  const over = (x: bigint) => Number((x * scale) / 2n ** BigInt(m)) / 1e40;
  return { twice: over(2n * sum), at: over(choose) };
}

describe("McNemar's test", () => {
  it("is exact for few discordant samples: 1 against 7 is 0.0703, as published", () => {
    expect(mcnemar(1, 7)).toEqual({ p: 18 / 256, method: "exact" });
    expect(mcnemar(7, 1).p).toBe(18 / 256);
  });

  it("has p 1 without a discordant sample, and for as many on either side", () => {
    expect(mcnemar(0, 0)).toEqual({ p: 1, method: "exact" });
    expect(mcnemar(5, 5).p).toBe(1);
  });

  it.each([
    [0, 24],
    [3, 9],
    [11, 13],
  ])("exact: %i against %i is what integers give", (lost, gained) => {
    const { p, method } = mcnemar(lost, gained);
    expect(method).toBe("exact");
    expect(p / Math.min(1, binomial(lost + gained, Math.min(lost, gained)).twice)).toBeCloseTo(1, 12);
  });

  it.each([
    [5, 20],
    [150, 86],
    [30, 30],
    [700, 800],
  ])("mid-p: %i against %i is what integers give", (lost, gained) => {
    const { p, method } = mcnemar(lost, gained);
    const { twice, at } = binomial(lost + gained, Math.min(lost, gained));
    expect(method).toBe("mid-p");
    expect(p / (lost === gained ? 1 - at / 2 : twice - at)).toBeCloseTo(1, 10);
  });

  it("comes near χ² with one degree of freedom for many: (150 - 86)² / 236 = 17.36, p = 3.1e-5", () => {
    expect(mcnemar(150, 86).p).toBeGreaterThan(2.5e-5);
    expect(mcnemar(150, 86).p).toBeLessThan(4e-5);
  });

  it("does not underflow for a hundred thousand", () => {
    const { p } = mcnemar(50_000, 50_400);
    // z = 400 / √100400 = 1.2624, two-sided 0.2068.
    expect(p).toBeCloseTo(0.2068, 3);
  });
});

it("drops are of the counts: 3 lost of 1000 are exactly 0.3 points", () => {
  const { a, b, drop } = pairedAccuracy({ both: 900, lost: 3, gained: 0, neither: 97 });
  expect([a.value, b.value, drop.value]).toEqual([0.903, 0.9, 0.3]);
});
