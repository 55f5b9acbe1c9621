/**
 * The row-and-column problem: which rows and columns of a non-negative matrix leave, so that at most `budget` cells stay and as
 * little weight as possible is lost. With R the rows and C the columns that leave, of sums ρ and κ,
 *
 *     f(R, C) = Σ of a_ij over i ∈ R or j ∈ C = ρ(R) + κ(C) − A(R, C),   (m − |R|)(n − |C|) ≤ budget
 *
 * Weights are not negative, so for |R| = p just q(p) = max(0, n − ⌊budget / (m − p)⌋) columns need to go: m shapes at most.
 *
 * @see Tu, "Approximation Algorithms and Simulated Annealing Heuristics for Row-and-Column Pruning of DNNs", NTU 2024. Public of it:
 *   the problem, that it is NP-complete, two approximations within twice the optimum and that this ratio is tight for both, and
 *   two annealing schemes. The form of the constraint, the algorithms of this folder and their proofs are a reconstruction.
 */
import { UnsupportedError } from "../../errors.js";

export interface Problem {
  /** Row-major m × n, finite, at least 0. */
  readonly a: Float64Array;
  readonly m: number;
  readonly n: number;
  /** Cells that may stay, at least 1. */
  readonly budget: number;
  /** Least numbers of rows and columns that stay, at least 1. As many rows as there are: columns alone leave. */
  readonly minRows: number;
  readonly minColumns: number;
}

/** What leaves, and the weight that is lost by it. */
export interface Selection {
  /** 1: the row (column) leaves. */
  readonly rows: Uint8Array;
  readonly columns: Uint8Array;
  /** f(R, C), recomputed from the matrix. */
  readonly cost: number;
}

/**
 * A problem of an m × n matrix of which the share `sparsity` of cells leaves: budget ⌊(1 − s)·m·n⌋, at least one cell.
 * @throws UnsupportedError ROW_COLUMN_MATRIX for cells that are negative or no numbers.
 */
export function problemOf(
  a: Float64Array,
  m: number,
  n: number,
  sparsity: number,
  least: { readonly rows?: number; readonly columns?: number } = {},
): Problem {
  const bad = a.findIndex((x) => !(x >= 0 && x < Number.POSITIVE_INFINITY));
  if (bad >= 0) {
    throw new UnsupportedError(
      "ROW_COLUMN_MATRIX",
      `Row-and-column pruning needs finite weights, at least 0, but row ${Math.floor(bad / n)}, column ${bad % n} has ${a[bad]}.`,
      { hint: "The weights have NaN or infinities: look where they come from." },
    );
  }
  return { a, m, n, budget: budgetOf(m, n, sparsity), minRows: least.rows ?? 1, minColumns: least.columns ?? 1 };
}

/** ⌊(1 − s)·m·n⌋ cells, at least one. The tiny part more is for products like 0.1 · 30, which fall below the number they mean. */
export function budgetOf(m: number, n: number, sparsity: number): number {
  return Math.max(1, Math.floor((1 - sparsity) * m * n * (1 + 1e-12)));
}

/** q(p): columns that must leave beside p rows; undefined where that would leave too few rows or columns. */
export function columnsBeside({ m, n, budget, minRows, minColumns }: Problem, p: number): number | undefined {
  if (m - p < minRows) return undefined;
  const q = Math.max(0, n - Math.floor(budget / (m - p)));
  return n - q < minColumns ? undefined : q;
}

/** All feasible shapes (p, q(p)), p ascending. */
export function shapesOf(problem: Problem): { readonly p: number; readonly q: number }[] {
  const out: { p: number; q: number }[] = [];
  for (let p = 0; p <= problem.m - problem.minRows; p++) {
    const q = columnsBeside(problem, p);
    if (q !== undefined) out.push({ p, q });
  }
  return out;
}

/** f(R, C), from the matrix. */
export function costOf({ a, m, n }: Problem, rows: Uint8Array, columns: Uint8Array): number {
  let lost = 0;
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) if (rows[i] || columns[j]) lost += a[i * n + j] as number;
  return lost;
}

export function selectionOf(problem: Problem, rows: Uint8Array, columns: Uint8Array): Selection {
  return { rows, columns, cost: costOf(problem, rows, columns) };
}

/** Whether the budget and the least numbers are kept. */
export function isFeasible({ m, n, budget, minRows, minColumns }: Problem, { rows, columns }: Omit<Selection, "cost">): boolean {
  const r = m - count(rows);
  const c = n - count(columns);
  return r >= minRows && c >= minColumns && r * c <= budget;
}

/** Numbers of ones. */
export function count(marks: Uint8Array): number {
  let n = 0;
  for (const x of marks) n += x;
  return n;
}

export function rowSums({ a, m, n }: Problem): Float64Array {
  const out = new Float64Array(m);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) out[i] = (out[i] as number) + (a[i * n + j] as number);
  return out;
}

export function columnSums({ a, m, n }: Problem): Float64Array {
  const out = new Float64Array(n);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) out[j] = (out[j] as number) + (a[i * n + j] as number);
  return out;
}

/** Indices by ascending value, ties by index. */
export function ascending(values: Float64Array): Int32Array {
  return Int32Array.from(values.keys()).sort((x, y) => (values[x] as number) - (values[y] as number) || x - y);
}

/** Ones at the first `k` of `order`. */
export function marked(n: number, order: ArrayLike<number>, k: number): Uint8Array {
  const out = new Uint8Array(n);
  for (let t = 0; t < k; t++) out[order[t] as number] = 1;
  return out;
}

/** The same problem with rows and columns in each other's place. */
export function transposed({ a, m, n, budget, minRows, minColumns }: Problem): Problem {
  const b = new Float64Array(a.length);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) b[j * m + i] = a[i * n + j] as number;
  return { a: b, m: n, n: m, budget, minRows: minColumns, minColumns: minRows };
}

/** The dearest budget cannot be met: say so. @throws UnsupportedError ROW_COLUMN_INFEASIBLE. */
export function infeasible({ m, n, budget, minRows, minColumns }: Problem): UnsupportedError {
  return new UnsupportedError(
    "ROW_COLUMN_INFEASIBLE",
    `No ${minRows} rows by ${minColumns} columns or more of a ${m} × ${n} matrix fit into ${budget} cells.`,
    { hint: "Ask for less sparsity, or let rows leave too (rows: coupled, group or expand)." },
  );
}
