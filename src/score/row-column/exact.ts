/** The optimum of small problems, by branch and bound over the rows: what tests compare with. */
import { ascending, columnsBeside, infeasible, marked, type Problem, rowSums, type Selection, selectionOf, transposed } from "./problem.js";

/** Most rows, or columns, of which all subsets are looked at. */
const LARGEST_SIDE = 24;

/**
 * The optimum: every set of rows (of the shorter side), lightest columns beside it. A branch ends when the rows that already leave
 * cost as much as the best selection known. O(2^min(m, n)·n log n).
 * @throws UnsupportedError ROW_COLUMN_INFEASIBLE; RangeError when the shorter side is longer than 24.
 */
export function optimum(problem: Problem): Selection {
  if (problem.m > problem.n) {
    const { rows, columns } = optimum(transposed(problem));
    return selectionOf(problem, columns, rows);
  }
  const { a, m, n } = problem;
  if (m > LARGEST_SIDE) throw new RangeError(`The optimum is searched for up to ${LARGEST_SIDE} rows, not ${m}.`);
  const rho = rowSums(problem);
  const rows = new Uint8Array(m);
  const residual = new Float64Array(n);
  for (let i = 0; i < m; i++) addRow(a, n, i, residual, 1);
  let best: { rows: Uint8Array; columns: Uint8Array; cost: number } | undefined;

  const visit = (i: number, p: number, lost: number) => {
    if (best && lost >= best.cost) return;
    if (i === m) {
      const q = columnsBeside(problem, p);
      if (q === undefined) return;
      const order = ascending(residual);
      let cost = lost;
      for (let t = 0; t < q; t++) cost += residual[order[t] as number] as number;
      if (!best || cost < best.cost) best = { rows: rows.slice(), columns: marked(n, order, q), cost };
      return;
    }
    visit(i + 1, p, lost);
    if (m - p - 1 < problem.minRows) return;
    rows[i] = 1;
    addRow(a, n, i, residual, -1);
    visit(i + 1, p + 1, lost + (rho[i] as number));
    addRow(a, n, i, residual, 1);
    rows[i] = 0;
  };
  visit(0, 0, 0);
  if (!best) throw infeasible(problem);
  return selectionOf(problem, best.rows, best.columns);
}

function addRow(a: Float64Array, n: number, i: number, to: Float64Array, sign: 1 | -1): void {
  for (let j = 0; j < n; j++) to[j] = (to[j] as number) + sign * (a[i * n + j] as number);
}
