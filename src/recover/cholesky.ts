/** Symmetric positive definite systems in float64. */

/** Relative size of a pivot below which a matrix counts as singular: what is left there is rounding. */
const SINGULAR = 1e-13;

/** Size of a pivot of `a` [n, n] below which what is left is rounding; undefined where its diagonal is not that of such a matrix. */
export function leastPivot(a: Float64Array, n: number): number | undefined {
  let largest = 0;
  for (let i = 0; i < n; i++) largest = Math.max(largest, a[i * n + i] as number);
  return largest > 0 && Number.isFinite(largest) ? largest * SINGULAR : undefined;
}

/**
 * The lower triangle L of A = L·Lᵀ, row-major [n, n]; only the lower triangle of `a` is read, and `a` is overwritten.
 * undefined where A is not positive definite in double precision, which pivots not above `least` tell.
 */
export function cholesky(a: Float64Array, n: number, least: number | undefined = leastPivot(a, n)): Float64Array | undefined {
  if (least === undefined) return undefined;
  for (let i = 0; i < n; i += 2) {
    const rows = Math.min(2, n - i);
    // Two rows against two columns at a time: each number read from memory serves two sums.
    let j = 0;
    for (; rows === 2 && j + 1 < i; j += 2) pair(a, n, i, j);
    for (let r = i; r < i + rows; r++) {
      for (let k = rows === 2 ? j : 0; k <= r; k++) {
        let sum = a[r * n + k] as number;
        for (let p = 0, x = r * n, y = k * n; p < k; p++, x++, y++) sum -= (a[x] as number) * (a[y] as number);
        if (k < r) a[r * n + k] = sum / (a[k * n + k] as number);
        else if (sum > least) a[r * n + r] = Math.sqrt(sum);
        else return undefined;
      }
    }
  }
  return a;
}

/** Entries (i, j), (i, j+1), (i+1, j), (i+1, j+1) of L, whose rows j and j+1 are final. */
function pair(a: Float64Array, n: number, i: number, j: number): void {
  let [s00, s01, s10, s11] = [0, 0, 0, 0];
  const [x, y, u, v] = [i * n, (i + 1) * n, j * n, (j + 1) * n];
  for (let p = 0; p < j; p++) {
    const [xi, yi, uj, vj] = [a[x + p] as number, a[y + p] as number, a[u + p] as number, a[v + p] as number];
    s00 += xi * uj;
    s01 += xi * vj;
    s10 += yi * uj;
    s11 += yi * vj;
  }
  const [d0, d1, below] = [a[u + j] as number, a[v + j + 1] as number, a[v + j] as number];
  const x0 = ((a[x + j] as number) - s00) / d0;
  const y0 = ((a[y + j] as number) - s10) / d0;
  a[x + j] = x0;
  a[y + j] = y0;
  a[x + j + 1] = ((a[x + j + 1] as number) - s01 - x0 * below) / d1;
  a[y + j + 1] = ((a[y + j + 1] as number) - s11 - y0 * below) / d1;
}

/** Each of the `rows` of `b` [rows, n] replaced by x with L·Lᵀ·x = b. */
export function solveRows(l: Float64Array, n: number, b: Float64Array, rows: number): void {
  for (let r = 0; r < rows; r++) {
    const at = r * n;
    for (let i = 0; i < n; i++) {
      let sum = b[at + i] as number;
      for (let p = 0, x = i * n; p < i; p++, x++) sum -= (l[x] as number) * (b[at + p] as number);
      b[at + i] = sum / (l[i * n + i] as number);
    }
    // Backwards by rows of L, so that memory is read in order.
    for (let i = n - 1; i >= 0; i--) {
      const x = (b[at + i] as number) / (l[i * n + i] as number);
      b[at + i] = x;
      for (let p = 0, y = i * n; p < i; p++, y++) b[at + p] = (b[at + p] as number) - x * (l[y] as number);
    }
  }
}
