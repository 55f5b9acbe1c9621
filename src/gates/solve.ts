/** Ridge systems in float64. */

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
    const L = choleskyOf(A, n, lambda);
    if (L) return substituted(L, b);
  }
  return new Float64Array(n);
}

function choleskyOf(A: Float64Array, n: number, lambda: number): Float64Array | undefined {
  const L = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = (A[i * n + j] as number) + (i === j ? lambda : 0);
      for (let k = 0; k < j; k++) sum -= (L[i * n + k] as number) * (L[j * n + k] as number);
      if (i !== j) L[i * n + j] = sum / (L[j * n + j] as number);
      else if (sum > 0) L[i * n + i] = Math.sqrt(sum);
      else return undefined;
    }
  }
  return L;
}

/** x of L·Lᵀ·x = b. */
function substituted(L: Float64Array, b: Float64Array): Float64Array {
  const n = b.length;
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    let sum = x[i] as number;
    for (let k = 0; k < i; k++) sum -= (L[i * n + k] as number) * (x[k] as number);
    x[i] = sum / (L[i * n + i] as number);
  }
  for (let i = n - 1; i >= 0; i--) {
    let sum = x[i] as number;
    for (let k = i + 1; k < n; k++) sum -= (L[k * n + i] as number) * (x[k] as number);
    x[i] = sum / (L[i * n + i] as number);
  }
  return x;
}
