/** Ridge systems in float64. */
import { cholesky, solveRows } from "../recover/cholesky.js";

/**
 * x of (A + λI)x = b, for A symmetric and positive semi-definite up to rounding, row-major n×n, and λ = ridge·tr(A)/n; zeros where A is
 * zero. Cholesky; λ is raised tenfold until the pivots are positive, so that duplicates and dead channels give no NaN.
 */
export function solveRidge(A: Float64Array, b: Float64Array, ridge: number): Float64Array {
  const n = b.length;
  let trace = 0;
  for (let i = 0; i < n; i++) trace += A[i * n + i] as number;
  if (!(trace > 0) || !Number.isFinite(trace)) return new Float64Array(n);
  for (let lambda = (ridge * trace) / n || (1e-12 * trace) / n; lambda <= 1e3 * trace; lambda *= 10) {
    const shifted = A.slice();
    for (let i = 0; i < n; i++) shifted[i * n + i] = (shifted[i * n + i] as number) + lambda;
    const L = cholesky(shifted, n);
    if (!L) continue;
    const x = b.slice();
    solveRows(L, n, x, 1);
    return x;
  }
  return new Float64Array(n);
}
