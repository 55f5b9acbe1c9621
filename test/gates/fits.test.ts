import { describe, expect, test } from "vitest";
import { type ChoiceOptions, chooseGate } from "../../src/gates/choose.js";
import { diagonalFactors, diagonalGate, staticGate } from "../../src/gates/closed-form.js";
import { divisionOf, type Looks, looksAt } from "../../src/gates/looks.js";
import { lossOf, type Quadratics, rescaled } from "../../src/gates/quadratics.js";
import { solveRidge } from "../../src/gates/solve.js";
import { squeezeExciteFactors, squeezeExciteGate, squeezeExciteObjective } from "../../src/gates/squeeze-excite.js";
import { Adam } from "../../src/gradient/adam.js";
import { identityGate } from "../../src/passes/gates/emit.js";
import { randomFloats } from "../support/build.js";
import { directLoss, quadraticsOf, type Toy, toy } from "./toy.js";

const all = (q: Quadratics) => (q.k.length === 0 ? [] : Array.from(q.k, (_, x) => x));
const ones = new Float64Array(12).fill(1);
const OPTIONS: ChoiceOptions = { kinds: "auto", reduction: 2, gain: 0.01, ridge: 1e-3, steps: 600, rate: 0.01, seed: "0" };

const divided = (t: Toy) => {
  const q = quadraticsOf(t);
  return [q, halves(q)] as const;
};
/** Every fifth sample judges. */
const halves = (q: Quadratics) => divisionOf({ size: 1, starts: all(q), period: 5 }, q.k.length);

describe("quadratics", () => {
  test("sᵀGs − 2hᵀs + k is the squared distance, whatever the factors", () => {
    const t = toy("direct", 6, "dynamic");
    const q = quadraticsOf(t);
    for (const x of all(q)) {
      const s = Float64Array.from(randomFloats(`s${x}`, 12));
      const direct = directLoss(t, x, s);
      // G and h are kept in float32.
      expect(Math.abs(lossOf(q, [x], () => s) - direct)).toBeLessThan(1e-5 * direct);
    }
  });

  test("what remains after factors are folded has the same losses", () => {
    const q = quadraticsOf(toy("rescaled", 4, "dynamic"));
    const factor = Float64Array.from(randomFloats("factor", 12));
    const s = Float64Array.from(randomFloats("rest", 12));
    const want = lossOf(q, all(q), () => s.map((v, c) => v * (factor[c] as number)));
    expect(Math.abs(lossOf(rescaled(q, factor), all(q), () => s) - want)).toBeLessThan(1e-5 * want);
  });
});

describe("fits", () => {
  test("a teacher with a true dynamic gate: constant, affine and squeeze-and-excitation gates do better in this order", () => {
    const q = quadraticsOf(toy("truth", 64, "dynamic"));
    const samples = all(q);
    const base = lossOf(q, samples, () => ones);
    const constant = staticGate(q, samples, 1e-3);
    const diagonal = diagonalGate(q, samples, 1e-3);
    const se = squeezeExciteGate(q, samples, samples, { hidden: 6, seed: "0", steps: 1500, rate: 0.01 });
    const relative = [
      lossOf(q, samples, () => constant.factor) / base,
      lossOf(q, samples, diagonalFactors(q, diagonal)) / base,
      lossOf(q, samples, squeezeExciteFactors(q, se)) / base,
    ];
    expect(relative[0]).toBeLessThan(0.5);
    expect(relative[1]).toBeLessThan(relative[0] as number);
    expect(relative[2]).toBeLessThan(relative[1] as number);
    expect(relative[2]).toBeLessThan(0.05);
  });

  test("constant factors are those of least squares on all positions, found by descent", () => {
    const t = toy("static", 8, "static");
    const q = quadraticsOf(t);
    const { factor } = staticGate(q, all(q), 1e-9);
    const straight = (s: ArrayLike<number>) => all(q).reduce((sum, x) => sum + directLoss(t, x, s), 0);
    // Coordinate descent on the loss itself: each coordinate's parabola through three points.
    const s = Float64Array.from(ones);
    for (let round = 0; round < 400; round++) {
      for (let c = 0; c < 12; c++) {
        const at = (d: number) => straight(s.map((v, k) => (k === c ? v + d : v)));
        const [low, mid, high] = [at(-1), at(0), at(1)];
        s[c] = (s[c] as number) + (low - high) / (2 * (low - 2 * mid + high));
      }
      if (round > 3 && straight(s) < 1e-10) break;
    }
    for (let c = 0; c < 12; c++) expect(factor[c]).toBeCloseTo(s[c] as number, 3);
  });

  test("a squeeze-and-excitation gate is exactly 1 before the first step", () => {
    const q = quadraticsOf(toy("start", 3, "dynamic"));
    const factors = squeezeExciteFactors(q, identityGate(12, 6, "start"));
    for (const x of all(q)) expect(factors(x)).toEqual(ones);
  });

  test("gradients of the objective are those of finite differences", () => {
    const q = quadraticsOf(toy("gradient", 5, "dynamic"));
    const gate = identityGate(12, 4, "gradient");
    for (const [i, p] of [gate.b1, gate.W2, gate.b2].entries()) p.set(randomFloats(`p${i}`, p.length).map((v) => 0.2 * v));
    const { gradients } = squeezeExciteObjective(q, all(q), gate);
    const step = 1e-5;
    for (const [v, p] of [gate.W1, gate.b1, gate.W2, gate.b2].entries()) {
      for (let i = 0; i < p.length; i += 5) {
        const was = p[i] as number;
        p[i] = was + step;
        const above = squeezeExciteObjective(q, all(q), gate).loss;
        p[i] = was - step;
        const below = squeezeExciteObjective(q, all(q), gate).loss;
        p[i] = was;
        expect(gradients[v]?.[i]).toBeCloseTo((above - below) / (2 * step), 5);
      }
    }
  });

  test("Adam's first step is the rate in the direction of each gradient's sign, and it finds the least of a parabola", () => {
    const p = Float64Array.of(3, -2);
    const adam = new Adam([p], { rate: 0.1 });
    adam.step([Float64Array.of(40, -1e-3)]);
    expect(p[0]).toBeCloseTo(2.9, 6);
    expect(p[1]).toBeCloseTo(-1.9, 5);
    for (let t = 0; t < 2000; t++) adam.step([p.map((v, i) => v - (i + 1))]);
    expect(p[0]).toBeCloseTo(1, 3);
    expect(p[1]).toBeCloseTo(2, 3);
  });

  test("duplicates and dead channels give finite factors", () => {
    const t = toy("degenerate", 12, "dynamic");
    const X = t.X.map((x) => x.map((map, c) => (c === 3 ? (x[2] as Float64Array) : c === 5 ? new Float64Array(25) : map)));
    const W = t.W.map((w) => w.map((v, c) => (c === 3 ? (w[2] as number) : v)));
    const q = quadraticsOf({ ...t, X, W });
    const choice = chooseGate(q, halves(q), OPTIONS);
    expect(choice.factor?.every(Number.isFinite)).toBe(true);
    expect(choice.after).toBeLessThanOrEqual(choice.before);
    expect(solveRidge(new Float64Array(4), Float64Array.of(1, 2), 1e-3)).toEqual(new Float64Array(2));
  });
});

describe("acceptance", () => {
  test("a teacher that no gate explains: nothing is kept", () => {
    for (const seed of ["a", "b", "c"]) {
      const t = toy(`noise ${seed}`, 60, "noise");
      // The best constant factors are taken out, so that only noise is left.
      const raw = quadraticsOf(t);
      const q = rescaled(raw, staticGate(raw, all(raw), 1e-9).factor);
      const choice = chooseGate(q, halves(q), { ...OPTIONS, seed });
      expect([choice.factor, choice.gate]).toEqual([undefined, undefined]);
      expect(choice.after).toBe(choice.before);
    }
  });

  test("a teacher with constant factors: they are folded, and no gate is paid for", () => {
    const choice = chooseGate(...divided(toy("constant", 60, "static")), { ...OPTIONS, ridge: 1e-9 });
    expect(choice.factor).toBeDefined();
    expect(choice.gate).toBeUndefined();
    expect(choice.after).toBeLessThan(1e-4 * choice.before);
  });

  test("a teacher with a dynamic gate: a gate that looks at its input stays", () => {
    const choice = chooseGate(...divided(toy("dynamic", 200, "dynamic")), OPTIONS);
    expect(choice.factor).toBeDefined();
    expect(choice.gate?.kind).toBe("se");
    expect(choice.after).toBeLessThan(0.7 * choice.folded);
  });

  test("the same seed gives the same gate", () => {
    const q = quadraticsOf(toy("seed", 120, "dynamic"));
    const short = { ...OPTIONS, kinds: "se" as const, steps: 200 };
    expect(chooseGate(q, halves(q), short).gate?.kind).toBe("se");
    expect(chooseGate(q, halves(q), short)).toEqual(chooseGate(q, halves(q), short));
    expect(chooseGate(q, halves(q), { ...short, seed: "1" })).not.toEqual(chooseGate(q, halves(q), short));
  });
});

describe("which samples are looked at", () => {
  test("runs are spread over the source, a fifth of them judges, and no sample is in both parts", () => {
    const looks = looksAt(1000, undefined, { samples: 100, holdOut: 0.2, seed: 3 }) as Looks;
    expect([looks.size, looks.starts.length]).toEqual([4, 25]);
    expect(Math.min(...looks.starts)).toBe(0);
    expect(Math.max(...looks.starts)).toBe(996);
    const { fit, held } = divisionOf(looks, 100);
    expect([fit.length, held.length]).toEqual([80, 20]);
    const number = (x: number) => (looks.starts[Math.floor(x / 4)] as number) + (x % 4);
    expect(new Set([...fit, ...held].map(number)).size).toBe(100);
    expect(looksAt(1000, undefined, { samples: 100, holdOut: 0.2, seed: 3 })).toEqual(looks);
    expect(looksAt(1000, undefined, { samples: 100, holdOut: 0.2, seed: 4 })).not.toEqual(looks);
  });

  test("few samples: runs of one; too few, or too few batches of a fixed size: none", () => {
    const options = { samples: 256, holdOut: 0.2, seed: 0 };
    expect(looksAt(7, undefined, options)?.size).toBe(1);
    expect(looksAt(4, undefined, options)).toBeUndefined();
    expect(looksAt(40, 8, options)?.starts.length).toBe(5);
    expect(looksAt(39, 8, options)).toBeUndefined();
  });
});
