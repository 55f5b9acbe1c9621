import { describe, expect, test } from "vitest";
import { UnsupportedError } from "../../../src/errors.js";
import { random } from "../../../src/graph/random.js";
import { allocate, curveOf } from "../../../src/score/row-column/allocate.js";
import { annealFixed, annealFrom, annealShape } from "../../../src/score/row-column/anneal.js";
import { independentMarginals, sequentialResidual } from "../../../src/score/row-column/approximate.js";
import { cellBound, lagrangianBound, lowerBound, relaxed } from "../../../src/score/row-column/bound.js";
import { optimum } from "../../../src/score/row-column/exact.js";
import {
  columnSums,
  columnsBeside,
  costOf,
  count,
  isFeasible,
  type Problem,
  problemOf,
  rowSums,
  type Selection,
  shapesOf,
  transposed,
} from "../../../src/score/row-column/problem.js";
import { METHODS, solve } from "../../../src/score/row-column/solve.js";
import { coclustered, randomMatrix } from "./matrices.js";

/** Rows 2–6, columns 2–7, sparsity up to 0.9. */
function smallProblem(seed: number): Problem {
  const next = random(`problem ${seed}`);
  const [m, n] = [2 + Math.floor(5 * next()), 2 + Math.floor(6 * next())];
  return problemOf(randomMatrix(seed, m, n), m, n, 0.9 * next());
}

/** The least f over every set of rows and every set of columns: nothing is taken for granted. */
function bruteForce(problem: Problem): number {
  const { m, n } = problem;
  let least = Number.POSITIVE_INFINITY;
  const bits = (x: number, k: number) => Uint8Array.from({ length: k }, (_, i) => (x >> i) & 1);
  for (let R = 0; R < 1 << m; R++) {
    for (let C = 0; C < 1 << n; C++) {
      const [rows, columns] = [bits(R, m), bits(C, n)];
      if (isFeasible(problem, { rows, columns })) least = Math.min(least, costOf(problem, rows, columns));
    }
  }
  return least;
}

const tight = (epsilon: number): Problem => ({
  ...problemOf(Float64Array.from([1, 0, 0, 0, 0, 1 - epsilon, 0, 1 - epsilon, 100]), 3, 3, 0),
  budget: 4,
});

function expectSound(problem: Problem, found: Selection): void {
  expect(isFeasible(problem, found)).toBe(true);
  expect(found.cost).toBeCloseTo(costOf(problem, found.rows, found.columns), 9);
}

describe("approximations", () => {
  test("3,000 random matrices: IM and SR lose at most twice the optimum, SR no more than IM", () => {
    let worst = 0;
    for (let seed = 0; seed < 3000; seed++) {
      const problem = smallProblem(seed);
      const least = optimum(problem).cost;
      const im = independentMarginals(problem);
      const sr = sequentialResidual(problem);
      for (const found of [im, sr]) {
        if (!isFeasible(problem, found)) throw new Error(`seed ${seed}: infeasible`);
        if (found.cost > 2 * least + 1e-9 || found.cost < least - 1e-9) throw new Error(`seed ${seed}: ${found.cost} for ${least}`);
      }
      expect(sr.cost).toBeLessThanOrEqual(im.cost + 1e-9);
      if (least > 0) worst = Math.max(worst, im.cost / least);
    }
    // The bound is reached, or this test would see little.
    expect(worst).toBeGreaterThan(1.4);
  });

  test("the optimum is that of all sets of rows and columns", () => {
    for (let seed = 0; seed < 60; seed++) {
      const next = random(seed);
      const [m, n] = [2 + Math.floor(4 * next()), 2 + Math.floor(4 * next())];
      const problem = problemOf(randomMatrix(seed, m, n), m, n, 0.9 * next());
      const found = optimum(problem);
      expectSound(problem, found);
      expect(found.cost).toBeCloseTo(bruteForce(problem), 9);
    }
  });

  test.each([0.1, 0.01, 0.001])("on the tight instance both pay 2 − 2ε where 1 would do (ε = %f)", (epsilon) => {
    const problem = tight(epsilon);
    expect(optimum(problem).cost).toBe(1);
    for (const found of [independentMarginals(problem), sequentialResidual(problem)]) expect(found.cost).toBeCloseTo(2 - 2 * epsilon, 12);
  });

  test("transposing changes no role of SR and no optimum; reordering rows and columns changes no cost", () => {
    for (let seed = 0; seed < 50; seed++) {
      const problem = smallProblem(seed);
      const other = transposed(problem);
      expect(sequentialResidual(other).cost).toBeCloseTo(sequentialResidual(problem).cost, 9);
      expect(optimum(other).cost).toBeCloseTo(optimum(problem).cost, 9);
      const { a, m, n } = problem;
      const turned = { ...problem, a: Float64Array.from(a, (_, at) => a[(m - 1 - Math.floor(at / n)) * n + (n - 1 - (at % n))] as number) };
      if (seed % 3 !== 1) expect(independentMarginals(turned).cost).toBeCloseTo(independentMarginals(problem).cost, 9);
    }
  });

  test("zero rows and columns leave for nothing", () => {
    const [m, n] = [8, 10];
    const a = randomMatrix(3, m, n).map((x, at) => (Math.floor(at / n) % 2 === 0 && at % n < 5 ? x + 0.1 : 0));
    const problem = problemOf(a, m, n, 0.75);
    for (const method of METHODS) expect(solve(problem, method, 0).cost).toBe(0);
  });
});

describe("annealing", () => {
  test("is never worse than SR, feasible, and f is that of the matrix", () => {
    for (let seed = 0; seed < 40; seed++) {
      const [m, n] = [6 + (seed % 5), 9 + (seed % 7)];
      const problem = problemOf(randomMatrix(seed, m, n), m, n, 0.3 + 0.6 * ((seed % 10) / 10));
      const sr = sequentialResidual(problem).cost;
      for (const anneal of [annealFixed, annealShape]) {
        const found = anneal(problem, { seed, proposals: 2000 });
        expectSound(problem, found);
        expect(found.cost).toBeLessThanOrEqual(sr + 1e-12);
      }
    }
  });

  test("escapes the tight instance, where alternating cannot: a row and a column must change at once", () => {
    expect(annealShape(tight(0.01), { seed: 1, proposals: 2000 }).cost).toBeCloseTo(1, 9);
  });

  test("reaches the optimum of 8 × 12 matrices more often than SR does", () => {
    let bySr = 0;
    let byAnnealing = 0;
    for (let seed = 0; seed < 30; seed++) {
      const problem = problemOf(randomMatrix(3 * seed + 2, 8, 12), 8, 12, 0.7);
      const least = optimum(problem).cost * (1 + 1e-9);
      if (sequentialResidual(problem).cost <= least) bySr++;
      if (annealShape(problem, { seed, proposals: 6000, restarts: 3 }).cost <= least) byAnnealing++;
    }
    expect(byAnnealing).toBeGreaterThan(bySr);
    expect(byAnnealing).toBeGreaterThanOrEqual(27);
  });

  test("finds planted clusters of rows and columns that marginal sums do not show", () => {
    const [m, n, k] = [32, 96, 4];
    const problem = { ...problemOf(coclustered(5, m, n, k, 3), m, n, 0), budget: (m * n) / (k * k) };
    const planted = costOf(
      problem,
      Uint8Array.from({ length: m }, (_, i) => Number(i % k !== 0)),
      Uint8Array.from({ length: n }, (_, j) => Number(j % k !== 0)),
    );
    const found = annealShape(problem, { seed: 2, proposals: 60_000, restarts: 4 });
    expect(found.cost).toBeLessThan(independentMarginals(problem).cost);
    expect(found.cost).toBeLessThanOrEqual(planted);
    const clusters = new Set([...found.columns.keys()].filter((j) => !found.columns[j]).map((j) => j % k));
    expect(clusters.size).toBe(1);
  });

  test("is a function of the seed", () => {
    const problem = problemOf(coclustered(1, 16, 36, 4, 2), 16, 36, 0.8);
    for (const anneal of [annealFixed, annealShape]) {
      expect(anneal(problem, { seed: 7, proposals: 3000 })).toEqual(anneal(problem, { seed: 7, proposals: 3000 }));
    }
  });

  test("without heat only improvements are accepted", () => {
    const problem = problemOf(randomMatrix(9, 10, 14), 10, 14, 0.6);
    const start = independentMarginals(problem);
    const found = annealFrom(problem, start, random(1), { proposals: 3000, heat: 1e-9 }, 0);
    expect(found.cost).toBeLessThanOrEqual(start.cost);
    expect(count(found.rows)).toBe(count(start.rows));
  });
});

describe("lower bounds", () => {
  test("lie at or below the optimum, and within 1.3 of it with multipliers", () => {
    for (let seed = 0; seed < 60; seed++) {
      const [m, n] = [6, 8];
      const problem = problemOf(randomMatrix(3 * seed, m, n), m, n, 0.2 + 0.6 * ((seed % 10) / 10));
      const least = optimum(problem).cost;
      expect(cellBound(problem)).toBeLessThanOrEqual(least + 1e-9);
      expect(lagrangianBound(problem, 8)).toBeLessThanOrEqual(least + 1e-9);
      const bound = lowerBound(problem);
      expect(bound).toBeLessThanOrEqual(least + 1e-9);
      expect(least).toBeLessThanOrEqual(1.3 * bound);
    }
  });

  test("the relaxation is the minimum over all rows and columns", () => {
    const problem = problemOf(randomMatrix(6, 4, 4), 4, 4, 0);
    const bits = (x: number) => Uint8Array.from({ length: 4 }, (_, i) => (x >> i) & 1);
    for (const [lambda, mu] of [
      [0.3, 0.8],
      [1, 0.2],
      [0.9, 0.9],
      [0, 0],
    ] as const) {
      let least = Number.POSITIVE_INFINITY;
      for (let R = 0; R < 16; R++)
        for (let C = 0; C < 16; C++)
          least = Math.min(least, costOf(problem, bits(R), bits(C)) - lambda * count(bits(R)) - mu * count(bits(C)));
      expect(relaxed(problem, rowSums(problem), columnSums(problem), lambda, mu)).toBeCloseTo(least, 9);
    }
  });
});

describe("several matrices", () => {
  test("cells go where they carry most, and the budget holds", () => {
    const flat = curveOf(problemOf(new Float64Array(20 * 30).fill(1), 20, 30, 0));
    const block = Float64Array.from({ length: 600 }, (_, at) => Number(Math.floor(at / 30) < 10 && at % 30 < 15));
    const chosen = allocate([flat, curveOf(problemOf(block, 20, 30, 0))], 360);
    expect(chosen.reduce((s, l) => s + l.kept, 0)).toBeLessThanOrEqual(360);
    // All that the second matrix has lies in 150 cells; the first loses the same with each cell.
    expect(chosen[1]?.cost).toBeCloseTo(0, 9);
    expect(chosen[1]?.kept).toBeLessThanOrEqual(175);
    expect(chosen[0]?.kept).toBeGreaterThan(170);
  });

  test("no other choice of levels that fits loses less, up to one step of a curve", () => {
    const curves = [0, 2, 3].map((seed) => curveOf(problemOf(randomMatrix(seed, 6, 8), 6, 8, 0)));
    const cells = 60;
    const cost = (levels: readonly { cost: number }[]) => levels.reduce((s, l) => s + l.cost, 0);
    const found = cost(allocate(curves, cells));
    let least = Number.POSITIVE_INFINITY;
    const [x = [], y = [], z = []] = curves;
    for (const a of x)
      for (const b of y) for (const c of z) if (a.kept + b.kept + c.kept <= cells) least = Math.min(least, cost([a, b, c]));
    expect(found).toBeGreaterThanOrEqual(least - 1e-12);
    expect(found).toBeLessThanOrEqual(least + 0.08);
  });
});

describe("limits", () => {
  test("q(p) rounds so that the budget holds, and never empties a matrix", () => {
    const problem = problemOf(randomMatrix(0, 7, 9), 7, 9, 0.8);
    expect(problem.budget).toBe(12);
    for (const { p, q } of shapesOf(problem)) {
      expect((7 - p) * (9 - q)).toBeLessThanOrEqual(12);
      if (q > 0) expect((7 - p) * (9 - q + 1)).toBeGreaterThan(12);
    }
    expect(columnsBeside(problem, 7)).toBeUndefined();
  });

  test("all rows kept and no room for a column each is refused", () => {
    const problem = problemOf(randomMatrix(0, 7, 9), 7, 9, 0.95, { rows: 7 });
    for (const find of [independentMarginals, sequentialResidual, optimum]) {
      expect(() => find(problem)).toThrow(UnsupportedError);
      expect(() => find(problem)).toThrow(/7 rows by 1 columns/);
    }
  });

  test("a negative or infinite weight is refused by its place", () => {
    expect(() => problemOf(Float64Array.from([1, -2, 3, 4]), 2, 2, 0.5)).toThrow(/row 0, column 1 has -2/);
  });
});
