/**
 * Lower bounds on what must be lost: the certificate of a run. At high sparsity the optimum is more than half of all weight, where
 * "at most twice the optimum" says nothing; f ≤ 1.1 × bound does.
 */

import { Network } from "./min-cut.js";
import { columnSums, type Problem, rowSums, shapesOf, transposed } from "./problem.js";

/** Cells up to which lowerBound also looks at multipliers. */
const SMALL = 2500;

/** The best of the bounds below that the size of the problem allows; never above the optimum, but for rounding. */
export function lowerBound(problem: Problem): number {
  const cells = cellBound(problem);
  const { m, n } = problem;
  return m * n <= SMALL ? Math.max(cells, lagrangianBound(problem, m * n <= 400 ? 24 : 8)) : cells;
}

/**
 * Of r rows and c columns that stay, each row keeps at most its c heaviest cells, so they keep at most the r largest such sums; the same
 * for columns. The bound is what is lost in the shape where these keep most. O(mn log n + m·n log n).
 */
export function cellBound(problem: Problem): number {
  const { m, n } = problem;
  const rows = heaviest(problem);
  const columns = heaviest(transposed(problem));
  const total = rowSums(problem).reduce((s, x) => s + x, 0);
  let bound = Number.POSITIVE_INFINITY;
  for (const { p, q } of shapesOf(problem)) {
    const r = m - p;
    const c = n - q;
    const stays = Math.min(largestOf(rows, m, n, c, r), largestOf(columns, n, m, r, c));
    bound = Math.min(bound, total - stays);
  }
  return Math.max(0, bound);
}

/** Running sums of each row's cells, heaviest first: m × n. */
function heaviest({ a, m, n }: Problem): Float64Array {
  const out = Float64Array.from(a, (x) => -x);
  for (let i = 0; i < m; i++) {
    const row = out.subarray(i * n, (i + 1) * n).sort();
    let sum = 0;
    for (let j = 0; j < n; j++) {
      sum -= row[j] as number;
      row[j] = sum;
    }
  }
  return out;
}

/** The sum of the `k` largest of what `m` rows have in their `c` heaviest cells. */
function largestOf(sums: Float64Array, m: number, n: number, c: number, k: number): number {
  const of = Float64Array.from({ length: m }, (_, i) => -(sums[i * n + c - 1] as number)).sort();
  let sum = 0;
  for (let t = 0; t < k; t++) sum -= of[t] as number;
  return sum;
}

/**
 * min over shapes of max over (λ, μ) of L(λ, μ) + λp + μq, with L(λ, μ) = min f − λ|R| − μ|C|. As f = ½(Σρᵢxᵢ + Σκⱼyⱼ + Σaᵢⱼ|xᵢ − yⱼ|) with x and y
 * the marks of what leaves, L is half of one minimum cut less Σw⁻: an arc s → v of w⁺, v → t of w⁻ with w = ρ − 2λ for rows and
 * κ − 2μ for columns, edges a_ij. `levels`² multipliers are tried, the same for all shapes; each gives a bound, so that a coarse
 * grid only makes it looser.
 */
export function lagrangianBound(problem: Problem, levels: number): number {
  const rho = rowSums(problem);
  const kappa = columnSums(problem);
  const shapes = shapesOf(problem);
  const best = new Float64Array(shapes.length);
  const grid = (sums: Float64Array) => {
    const top = sums.reduce((x, y) => Math.max(x, y), 0);
    return Array.from({ length: levels }, (_, i) => (top * i) / (levels - 1));
  };
  for (const lambda of grid(rho)) {
    for (const mu of grid(kappa)) {
      const L = relaxed(problem, rho, kappa, lambda, mu);
      shapes.forEach(({ p, q }, s) => {
        best[s] = Math.max(best[s] as number, L + lambda * p + mu * q);
      });
    }
  }
  return best.reduce((x, y) => Math.min(x, y), Number.POSITIVE_INFINITY);
}

/** L(λ, μ). */
export function relaxed({ a, m, n }: Problem, rho: Float64Array, kappa: Float64Array, lambda: number, mu: number): number {
  const network = new Network(m + n + 2);
  const [s, t] = [m + n, m + n + 1];
  let negative = 0;
  const terminal = (v: number, w: number) => {
    if (w > 0) network.connect(s, v, w);
    else if (w < 0) {
      network.connect(v, t, -w);
      negative -= w;
    }
  };
  rho.forEach((x, i) => {
    terminal(i, x - 2 * lambda);
  });
  kappa.forEach((x, j) => {
    terminal(m + j, x - 2 * mu);
  });
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      const w = a[i * n + j] as number;
      if (w > 0) network.connect(i, m + j, w, w);
    }
  }
  return (network.flow(s, t) - negative) / 2;
}
