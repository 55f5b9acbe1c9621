/** How many cells each of several matrices may keep, where they share one budget. */
import { independentMarginals, sequentialResidual } from "./approximate.js";
import { budgetOf, count, type Problem } from "./problem.js";

/** One level a matrix can be pruned to. */
export interface Level {
  /** Cells that may stay, and those that do. */
  readonly budget: number;
  readonly kept: number;
  /** f / T: the share of the matrix's weight that is lost. */
  readonly cost: number;
}

/** Levels of sparsity that a curve has, evenly spaced up to the last. */
const LEVELS = 48;
/** Cells above which a curve is made by IM, which takes a tenth of the time of SR. */
const LARGE = 500_000;

/** f(s) / T at levels of sparsity from 0 on, without what the shape makes infeasible; kept cells descend. */
export function curveOf(problem: Problem): Level[] {
  const { m, n, a } = problem;
  const total = a.reduce((s, x) => s + x, 0) || 1;
  const out: Level[] = [{ budget: m * n, kept: m * n, cost: 0 }];
  for (let k = 1; k < LEVELS; k++) {
    const budget = budgetOf(m, n, k / LEVELS);
    if (budget < problem.minRows * problem.minColumns) break;
    const found = m * n > LARGE ? independentMarginals({ ...problem, budget }) : sequentialResidual({ ...problem, budget });
    const kept = (m - count(found.rows)) * (n - count(found.columns));
    if (kept < (out.at(-1) as Level).kept) out.push({ budget, kept, cost: found.cost / total });
  }
  return out;
}

/**
 * One level for each curve: Σ kept ≤ `cells`, Σ cost as small as Lagrange's multiplier makes it: a multiple-choice knapsack. For the λ found by
 * bisection every curve takes argmin cost + λ·kept, which is optimal for the budget that is then used; what is left of the
 * budget goes, step by step, to the curve that loses least per cell. Where even the lowest levels do not fit, they are taken.
 *
 * Costs are IM's or SR's, at most twice those of the optimum, and so is their sum for one allocation.
 */
export function allocate(curves: readonly (readonly Level[])[], cells: number): Level[] {
  const at = (lambda: number) =>
    curves.map((levels) => levels.reduce((best, l) => (l.cost + lambda * l.kept < best.cost + lambda * best.kept ? l : best)));
  const used = (levels: readonly Level[]) => levels.reduce((s, l) => s + l.kept, 0);
  if (used(at(0)) <= cells) return at(0);
  let low = 0;
  let high = 1;
  while (used(at(high)) > cells && high < 1e12) high *= 4;
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (used(at(middle)) > cells) low = middle;
    else high = middle;
  }
  const chosen = at(high);
  let room = cells - used(chosen);
  for (;;) {
    let best: { curve: number; level: Level; gain: number } | undefined;
    curves.forEach((levels, curve) => {
      const now = chosen[curve] as Level;
      for (const level of levels) {
        const more = level.kept - now.kept;
        const gain = (now.cost - level.cost) / more;
        if (more > 0 && more <= room && gain > (best?.gain ?? 0)) best = { curve, level, gain };
      }
    });
    if (!best) return chosen;
    room -= best.level.kept - (chosen[best.curve] as Level).kept;
    chosen[best.curve] = best.level;
  }
}
