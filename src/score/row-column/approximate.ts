/**
 * Two algorithms that lose at most twice what must be lost, and no better ratio holds for either. Reconstructed: the thesis names two
 * such algorithms; these are the most natural pair.
 *
 * Both rest on g(R, C) = ρ(R) + κ(C), which counts a lost cell once or twice: f ≤ g ≤ 2f. Let (R*, C*) be optimal, p = |R*| and,
 * weights being not negative, |C*| = q(p). The p lightest rows and q(p) lightest columns minimise g for this shape, so
 * f(them) ≤ g(them) ≤ g(R*, C*) ≤ 2 f(R*, C*). Sequential residual chooses the columns that are best beside the p lightest rows,
 * so it loses no more than that. Tight: [[1, 0, 0], [0, 0, 1 − ε], [0, 1 − ε, M]] with 4 cells costs 1; both pay 2 − 2ε.
 */
import {
  ascending,
  columnSums,
  columnsBeside,
  infeasible,
  marked,
  type Problem,
  rowSums,
  type Selection,
  selectionOf,
  transposed,
} from "./problem.js";

/** One point of a scan over shapes: p rows and q columns leave, at a cost of f. */
export interface ShapeCost {
  readonly p: number;
  readonly q: number;
  readonly cost: number;
}

/**
 * Independent marginals (IM): for every p, the p rows and q(p) columns of least sums; the best by true f. O(mn + m log m + n log n):
 * A(R, C) is kept up to date while p grows and q shrinks.
 * @throws UnsupportedError ROW_COLUMN_INFEASIBLE.
 */
export function independentMarginals(problem: Problem): Selection {
  const { a, m, n } = problem;
  const rho = rowSums(problem);
  const kappa = columnSums(problem);
  const byRow = ascending(rho);
  const byColumn = ascending(kappa);
  let q = n;
  let lostRows = 0;
  let lostColumns = kappa.reduce((s, x) => s + x, 0);
  /** A(R, C), the weight counted twice. */
  let both = 0;
  let best: ShapeCost | undefined;
  for (let p = 0; p <= m - problem.minRows; p++) {
    if (p > 0) {
      const i = byRow[p - 1] as number;
      lostRows += rho[i] as number;
      for (let t = 0; t < q; t++) both += a[i * n + (byColumn[t] as number)] as number;
    }
    const wanted = columnsBeside(problem, p);
    if (wanted === undefined) continue;
    while (q > wanted) {
      const j = byColumn[--q] as number;
      lostColumns -= kappa[j] as number;
      for (let t = 0; t < p; t++) both -= a[(byRow[t] as number) * n + j] as number;
    }
    const cost = lostRows + lostColumns - both;
    if (!best || cost < best.cost) best = { p, q, cost };
  }
  if (!best) throw infeasible(problem);
  return selectionOf(problem, marked(m, byRow, best.p), marked(n, byColumn, best.q));
}

/**
 * Sequential residual (SR): for every p the p lightest rows leave, then the q(p) columns whose *residual* sums are least; the same with
 * rows and columns in each other's place; the best of all. Never worse than IM. O(mn + m·n log n).
 * @throws UnsupportedError ROW_COLUMN_INFEASIBLE.
 */
export function sequentialResidual(problem: Problem): Selection {
  const first = bestOf(residualScan(problem));
  const other = transposed(problem);
  const second = bestOf(residualScan(other));
  if (!first && !second) throw infeasible(problem);
  const isSecond = second && (!first || second.cost < first.cost);
  if (!isSecond) return residualAt(problem, (first as ShapeCost).p);
  const { rows, columns } = residualAt(other, second.p);
  return selectionOf(problem, columns, rows);
}

/** The p lightest rows and the q(p) columns that are then lightest, for one p. */
export function residualAt(problem: Problem, p: number): Selection {
  const { a, m, n } = problem;
  const rows = marked(m, ascending(rowSums(problem)), p);
  const residual = new Float64Array(n);
  for (let i = 0; i < m; i++) if (!rows[i]) for (let j = 0; j < n; j++) residual[j] = (residual[j] as number) + (a[i * n + j] as number);
  const q = columnsBeside(problem, p);
  if (q === undefined) throw infeasible(problem);
  return selectionOf(problem, rows, marked(n, ascending(residual), q));
}

/** What SR, rows first, loses with each shape. */
export function residualScan(problem: Problem): ShapeCost[] {
  const { a, m, n } = problem;
  const rho = rowSums(problem);
  const byRow = ascending(rho);
  const residual = columnSums(problem);
  const out: ShapeCost[] = [];
  let lost = 0;
  for (let p = 0; p <= m - problem.minRows; p++) {
    if (p > 0) {
      const i = byRow[p - 1] as number;
      lost += rho[i] as number;
      for (let j = 0; j < n; j++) residual[j] = (residual[j] as number) - (a[i * n + j] as number);
    }
    const q = columnsBeside(problem, p);
    if (q === undefined) continue;
    const sorted = Float64Array.from(residual).sort();
    let cost = lost;
    for (let t = 0; t < q; t++) cost += sorted[t] as number;
    out.push({ p, q, cost });
  }
  return out;
}

function bestOf(shapes: readonly ShapeCost[]): ShapeCost | undefined {
  return shapes.reduce<ShapeCost | undefined>((best, s) => (!best || s.cost < best.cost ? s : best), undefined);
}
