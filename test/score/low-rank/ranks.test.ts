import { expect, test } from "vitest";
import { random } from "../../../src/graph/random.js";
import { type Choice, choicesOf, divide, mostOf, type Way } from "../../../src/score/low-rank/ranks.js";

const way = (variances: readonly number[], { whole = 100, perRank = 20, fixed = 0, block = 1 } = {}): Way => ({
  variances: Float64Array.from(variances),
  total: variances.reduce((a, b) => a + b, 0),
  saved: (rank) => whole - fixed - rank * perRank,
  block,
});

test("a layer stays whole, or has any rank that costs less than it", () => {
  const choices = choicesOf([way([8, 4, 2, 1, 0.5, 0.25])]);
  expect(choices.map((c) => [c.rank, c.saved])).toEqual([
    [0, 0],
    [4, 20],
    [3, 40],
    [2, 60],
    [1, 80],
  ]);
  expect(choices.find((c) => c.rank === 2)?.loss).toBeCloseTo(-Math.log(12 / 15.75));
  expect(choicesOf([way([8, 4, 2], { fixed: 50 })]).map((c) => c.rank)).toEqual([0, 2, 1]);
  expect(choicesOf([way([])])).toHaveLength(1);
});

test("ranks go to multiples, or to at most half of one", () => {
  const many = Array.from({ length: 40 }, (_, i) => 1 / (i + 1));
  const ranks = choicesOf([way(many, { whole: 1000, block: 16 })]).map((c) => c.rank);
  expect(ranks.sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32]);
});

test("what is chosen loses least of all that save enough and not too much, as all cases tried by hand say", () => {
  for (let seed = 0; seed < 60; seed++) {
    const uniform = random(`ranks/${seed}`);
    const layers: readonly (readonly Choice[])[] = Array.from({ length: 3 }, () =>
      choicesOf(
        Array.from({ length: 1 + Math.floor(2 * uniform()) }, () => {
          const variances = Array.from({ length: 5 }, () => uniform() ** 3 + 1e-6).sort((a, b) => b - a);
          return way(variances, { whole: 1000, perRank: 150 + Math.floor(100 * uniform()) });
        }),
      ),
    );
    const [needed, slack] = [0.5 * mostOf(layers), 40];
    const all = layers.reduce<Choice[][]>((found, choices) => found.flatMap((f) => choices.map((c) => [...f, c])), [[]]);
    const sum = (of: readonly Choice[], what: "saved" | "loss") => of.reduce((n, c) => n + c[what], 0);
    // Savings are rounded down to a grid: what lies at its edges may be told either way.
    const within = (from: number, to: number) =>
      all.filter((c) => sum(c, "saved") >= from && sum(c, "saved") <= to).map((c) => sum(c, "loss"));
    const chosen = divide(layers, needed, slack);
    const strict = within(needed + 3, needed + slack - 3);
    if (!chosen) {
      expect(strict, `seed ${seed}`).toEqual([]);
      continue;
    }
    expect(sum(chosen, "saved"), `seed ${seed}`).toBeGreaterThanOrEqual(needed - 1e-6);
    expect(sum(chosen, "loss"), `seed ${seed}`).toBeLessThanOrEqual(Math.min(...strict) + 1e-12);
    expect(sum(chosen, "loss"), `seed ${seed}`).toBeGreaterThanOrEqual(Math.min(...within(needed - 3, needed + slack + 3)) - 1e-12);
  }
});
