/** The knapsack against every choice there is. */
import { describe, expect, test } from "vitest";
import { random } from "../../../src/graph/random.js";
import { Knapsack, type Option, thinned } from "../../../src/score/planner/knapsack.js";

/** Least loss of all choices that save `least` to `most`. */
function bruteForce(classes: readonly (readonly Option[])[], least: number, most: number): number {
  const visit = (c: number, saved: number, loss: number): number => {
    if (c === classes.length) return saved >= least && saved <= most ? loss : Number.POSITIVE_INFINITY;
    return Math.min(...(classes[c] as readonly Option[]).map((o) => visit(c + 1, saved + o.saved, loss + o.loss)));
  };
  return visit(0, 0, 0);
}

const totals = (classes: readonly (readonly Option[])[], picked: readonly number[]) =>
  picked.reduce(
    (t, o, c) => {
      const { saved, loss } = (classes[c] as readonly Option[])[o] as Option;
      return { saved: t.saved + saved, loss: t.loss + loss };
    },
    { saved: 0, loss: 0 },
  );

describe("what is picked", () => {
  test("is the optimum where savings lie on the grid, for every amount", () => {
    for (let seed = 0; seed < 60; seed++) {
      const uniform = random(`knapsack ${seed}`);
      const classes = Array.from({ length: 1 + Math.floor(uniform() * 5) }, () => [
        { saved: 0, loss: 0 },
        ...Array.from({ length: Math.floor(uniform() * 5) }, () => ({ saved: Math.floor(uniform() * 20), loss: uniform() })),
      ]);
      const most = classes.reduce((n, c) => n + Math.max(...c.map((o) => o.saved)), 0);
      const knapsack = new Knapsack(classes, Math.max(1, most));
      expect(knapsack.most, `seed ${seed}`).toBe(most);
      for (let needed = 0; needed <= most; needed++) {
        for (const slack of [0, 3]) {
          const least = bruteForce(classes, needed, needed + slack);
          const picked = knapsack.best(needed, slack);
          expect(picked === undefined, `seed ${seed}, ${needed}`).toBe(least === Number.POSITIVE_INFINITY);
          if (!picked) continue;
          const got = totals(classes, picked);
          expect(got.saved >= needed && got.saved <= needed + slack, `seed ${seed}, ${needed}`).toBe(true);
          expect(got.loss, `seed ${seed}, ${needed}`).toBeCloseTo(least, 10);
        }
      }
      expect(knapsack.best(most + 1, 5)).toBeUndefined();
    }
  });

  test("off the grid saves enough, at most one grid step per class too much, and loses no more than what lies that far inside the window", () => {
    for (let seed = 0; seed < 60; seed++) {
      const uniform = random(`off the grid ${seed}`);
      const classes = Array.from({ length: 1 + Math.floor(uniform() * 5) }, () => [
        { saved: 0, loss: 0 },
        ...Array.from({ length: 1 + Math.floor(uniform() * 5) }, () => ({ saved: uniform() * 7, loss: uniform() * uniform() })),
      ]);
      const knapsack = new Knapsack(classes, 40);
      for (const share of [0.1, 0.3, 0.5, 0.7, 0.9]) {
        const [needed, slack] = [share * knapsack.most, 0.3 * knapsack.most];
        const rounding = classes.length * knapsack.step;
        const bound = bruteForce(classes, needed + rounding, needed + slack);
        const picked = knapsack.best(needed, slack);
        if (!picked) {
          expect(bound, `seed ${seed}`).toBe(Number.POSITIVE_INFINITY);
          continue;
        }
        const got = totals(classes, picked);
        expect(got.saved, `seed ${seed}`).toBeGreaterThanOrEqual(needed);
        expect(got.saved, `seed ${seed}`).toBeLessThanOrEqual(needed + slack + rounding);
        expect(got.loss, `seed ${seed}`).toBeLessThanOrEqual(bound + 1e-12);
      }
    }
  });
});

test("thinned keeps of those that save about the same the one that loses least, and both ends", () => {
  const options = Array.from({ length: 1000 }, (_, i) => ({ saved: i, loss: (i * 7919) % 1000 }));
  const thin = thinned(options, 11);
  expect(thin.length).toBe(11);
  expect(thinned(thin, 11)).toEqual(thin);
  for (const o of thin.slice(0, -1)) {
    const bin = options.filter((p) => Math.floor((p.saved / 999) * 10) === Math.floor((o.saved / 999) * 10));
    expect(o.loss).toBe(Math.min(...bin.map((p) => p.loss)));
  }
  expect(thin.at(-1)).toEqual(options.at(-1));
});
