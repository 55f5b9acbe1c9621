import { expect, test } from "vitest";
import { random } from "../../../src/graph/random.js";
import { blockThreshold, dominoInfluence, importance, relativeInfluence } from "../../../src/score/dominos/importance.js";

const curve = (...influence: number[]) => Float64Array.from(influence);
const MLE = { survival: "per-layer", fit: "mle" } as const;

test("with one layer after it, a filter's influence is that on it", () => {
  expect([...(dominoInfluence([[curve(0.5), curve(0.25)]], MLE)[0] as Float64Array)]).toEqual([0.5, 0.25]);
});

test("a network in which nothing decays counts every layer, and one that nothing reads none", () => {
  const [layer] = dominoInfluence([[curve(0.5, 0.5, 0.6), curve(0, 0, 0)]], { survival: "per-filter", fit: "mle" });
  expect([...(layer as Float64Array)]).toEqual([1.5, 0]);
});

test("a layer with too few deaths has the fit of the network, and a censored layer divides nothing by 0", () => {
  // S(t) = e^{-t/2}: lifetimes of 2 exactly.
  const decaying = Array.from({ length: 6 }, () => Float64Array.from({ length: 5 }, (_, t) => Math.exp(-t / 2)));
  const [, flat] = dominoInfluence([decaying, [curve(1, 0.9, 0.9)]], { survival: "global", fit: "mle" });
  const [, alone] = dominoInfluence([decaying, [curve(1, 0.9, 0.9)]], MLE);
  expect(flat).toEqual(alone);
  const [value] = flat as Float64Array;
  expect(value).toBeGreaterThan(1);
  expect(value).toBeLessThan(3);
});

test("a filter whose influence lasts counts more than one of the same first influence that does not", () => {
  const short = Array.from({ length: 5 }, () => curve(1, 0.2, 0.1, 0.05));
  const long = Array.from({ length: 5 }, () => curve(1, 0.9, 0.5, 0.2));
  for (const fit of ["mle", "curve"] as const) {
    const [perFilter] = dominoInfluence([[...short, ...long]], { survival: "per-filter", fit });
    expect((perFilter as Float64Array)[9]).toBeGreaterThan((perFilter as Float64Array)[0] as number);
    const [perLayer] = dominoInfluence([[...short, ...long]], { survival: "per-layer", fit });
    expect((perLayer as Float64Array)[9]).toBe((perLayer as Float64Array)[0]);
  }
});

test("the shape of a Weibull layer is found, and D is the sum of its survival", () => {
  // Exactly Weibull(1, 3) curves: every lifetime is 3, which pins λ; the curve fit pins κ too.
  const curves = Array.from({ length: 6 }, () => Float64Array.from({ length: 5 }, (_, t) => 0.7 * Math.exp(-t / 3)));
  const [d] = dominoInfluence([curves], { survival: "per-layer", fit: "curve" });
  const sum = [0, 1, 2, 3, 4].reduce((s, t) => s + Math.exp(-t / 3), 0);
  expect((d as Float64Array)[0]).toBeCloseTo(0.7 * sum, 9);
});

test("influence is relative to its layer, and a layer without any has none", () => {
  expect([...relativeInfluence(Float64Array.of(1, 3))]).toEqual([0.5, 1.5]);
  expect([...relativeInfluence(Float64Array.of(0, 0))]).toEqual([0, 0]);
});

test("either factor alone justifies removal, unless it is given no weight", () => {
  expect(importance(0.25, 4, 0.5)).toBe(1);
  expect(importance(0, 9, 0.5)).toBe(0);
  expect(importance(1, 0, 0.5)).toBe(0);
  expect(importance(0.3, 0, 1)).toBe(0.3);
  expect(importance(0, 0.7, 0)).toBe(0.7);
});

test("a block leaves past the least threshold at which enough of its filters are below", () => {
  const uniform = random("blocks");
  for (let round = 0; round < 50; round++) {
    const values = Array.from({ length: 1 + Math.floor(uniform() * 12) }, () => Math.round(uniform() * 8) / 4);
    const omegaMin = (1 + Math.floor(uniform() * 10)) / 10;
    const at = blockThreshold(values, omegaMin);
    const share = (theta: number) => values.filter((v) => v < theta).length / values.length;
    expect(share(at)).toBeLessThan(omegaMin);
    expect(share(at + 1e-9)).toBeGreaterThanOrEqual(omegaMin - 1e-9);
  }
});

test("a block of zeros leaves at any threshold above 0", () => {
  expect(blockThreshold(new Float64Array(8), 0.5)).toBe(0);
  expect(blockThreshold(new Float64Array(8), 1)).toBe(0);
});
