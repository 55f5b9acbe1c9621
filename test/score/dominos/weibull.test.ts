import { expect, test } from "vitest";
import { random } from "../../../src/graph/random.js";
import {
  fitCurves,
  fitLifetimes,
  type Lifetime,
  lifetimeOf,
  restrictedMean,
  shrunk,
  survivalOf,
} from "../../../src/score/dominos/weibull.js";

const TRUTH = { shape: 1.7, scale: 4 };
/** 20,000 lifetimes of Weibull(1.7, 4), seen for 6 at most: 14 % outlive that. */
const simulated = (): Lifetime[] => {
  const uniform = random(1);
  return Array.from({ length: 20_000 }, () => {
    const time = TRUTH.scale * (-Math.log(1 - uniform())) ** (1 / TRUTH.shape);
    return { time: Math.min(time, 6), died: time <= 6 };
  });
};

test("shape and scale of censored lifetimes are recovered within 2 %", () => {
  const fit = fitLifetimes(simulated());
  expect(fit?.shape).toBeGreaterThan(1.7 * 0.98);
  expect(fit?.shape).toBeLessThan(1.7 * 1.02);
  expect(fit?.scale).toBeGreaterThan(4 * 0.98);
  expect(fit?.scale).toBeLessThan(4 * 1.02);
});

test("they are not when censored lifetimes pass for deaths", () => {
  const fit = fitLifetimes(simulated().map(({ time }) => ({ time, died: true })));
  expect(fit?.shape).toBeGreaterThan(1.9);
  expect(fit?.scale).toBeLessThan(3.9);
});

test("the fit is where the likelihood of deaths and survivals is highest", () => {
  // With κ fitted, λ^κ = Σ T^κ / Σ δ holds at whatever κ is.
  const lives: Lifetime[] = [1, 2, 2.5, 4, 7].map((time, i) => ({ time, died: i !== 3 }));
  const { shape, scale } = fitLifetimes(lives) ?? { shape: 0, scale: 0 };
  const powers = lives.reduce((s, l) => s + l.time ** shape, 0);
  expect(scale ** shape).toBeCloseTo(powers / 4, 8);
  // κ zeroes the derivative of the log-likelihood Σδ(ln κ − κ ln λ + (κ−1) ln T) − Σ(T/λ)^κ.
  const likelihood = (k: number, l: number) =>
    lives.reduce((s, { time, died }) => s + (died ? Math.log(k) - k * Math.log(l) + (k - 1) * Math.log(time) : 0) - (time / l) ** k, 0);
  for (const [k, l] of [
    [shape * 1.01, scale],
    [shape * 0.99, scale],
    [shape, scale * 1.01],
    [shape, scale * 0.99],
  ] as const)
    expect(likelihood(k, l)).toBeLessThan(likelihood(shape, scale));
});

test("without deaths there is no fit, and equal deaths give the steepest curve there is", () => {
  expect(fitLifetimes([{ time: 3, died: false }])).toBeUndefined();
  expect(fitLifetimes([])).toBeUndefined();
  const fit = fitLifetimes([2, 2, 2].map((time) => ({ time, died: true })));
  expect(fit?.shape).toBeCloseTo(20, 6);
  expect(fit?.scale).toBeCloseTo(2, 6);
});

test("survival never rises, and none begins without an influence", () => {
  expect([...(survivalOf([2, 1, 1.5, 0.5, 3]) ?? [])]).toEqual([1, 0.5, 0.5, 0.25, 0.25]);
  expect(survivalOf([0, 1])).toBeUndefined();
});

test("a lifetime ends where the logarithm of survival, linear between layers, is −1", () => {
  // S = e^−0.5 at 1 and e^−2 at 2: −1 lies a third of the way.
  expect(lifetimeOf(Float64Array.of(1, Math.exp(-0.5), Math.exp(-2)))).toEqual({ time: expect.closeTo(4 / 3, 12), died: true });
  expect(lifetimeOf(Float64Array.of(1, 0.9, 0.8))).toEqual({ time: 2, died: false });
  const sudden = lifetimeOf(Float64Array.of(1, 0, 0));
  expect(sudden.died).toBe(true);
  expect(sudden.time).toBeGreaterThan(0);
});

test("least squares on curves of one Weibull model give that model", () => {
  const curve = Float64Array.from({ length: 7 }, (_, t) => Math.exp(-((t / 4) ** 1.7)));
  expect(fitCurves([curve, curve])).toEqual({ shape: expect.closeTo(1.7, 9), scale: expect.closeTo(4, 9) });
  expect(fitCurves([Float64Array.of(1, 1, 1)])).toBeUndefined();
});

test("a filter's scale lies between its lifetime and its layer's, and a censored one only lengthens", () => {
  const layer = { shape: 2, scale: 3 };
  expect(shrunk(layer, { time: 5, died: true }).scale).toBeCloseTo(Math.sqrt((25 + 9) / 2), 12);
  expect(shrunk(layer, { time: 1, died: true }).scale).toBeCloseTo(Math.sqrt((1 + 9) / 2), 12);
  expect(shrunk(layer, { time: 5, died: false }).scale).toBeCloseTo(Math.sqrt(25 + 9), 12);
  expect(shrunk({ shape: 1, scale: Number.POSITIVE_INFINITY }, { time: 5, died: false }).scale).toBe(Number.POSITIVE_INFINITY);
});

test("the restricted mean survival is between the next layer alone and all of them", () => {
  expect(restrictedMean({ shape: 1, scale: 1e-9 }, 6)).toBe(1);
  expect(restrictedMean({ shape: 1, scale: Number.POSITIVE_INFINITY }, 6)).toBe(6);
  expect(restrictedMean({ shape: 1, scale: 2 }, 3)).toBeCloseTo(1 + Math.exp(-0.5) + Math.exp(-1), 12);
});
