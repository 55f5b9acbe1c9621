/** Algebra of large symmetric systems, in blocks whose products ONNX Runtime makes where loops in JavaScript are too slow. */
import { transposed } from "../graph/rearrange.js";
import { cholesky, leastPivot, solveRows } from "./cholesky.js";
import { times } from "./moments.js";
import type { Products } from "./products.js";

/** Size from which on sending matrices to ONNX Runtime and back pays (bench/recovery/cholesky.mjs). */
const LARGE = 512;

/** W·S, of W [rows, n] and S symmetric [n, n]. */
export async function product(products: Products, w: Float64Array, s: Float64Array, rows: number, n: number): Promise<Float64Array> {
  return n < LARGE ? times(w, s, rows, n) : products.timesTransposed(w, s, rows, n, n);
}

/** `cholesky`, the way that is quicker at this size. */
export async function factored(products: Products, a: Float64Array, n: number): Promise<Float64Array | undefined> {
  return n < LARGE ? cholesky(a, n) : choleskyLarge(products, a, n);
}

/** `solveRows`, the way that is quicker at this size. */
export async function solved(products: Products, l: Float64Array, n: number, b: Float64Array, rows: number): Promise<void> {
  if (n < LARGE) solveRows(l, n, b, rows);
  else await solveRowsLarge(products, l, n, b, rows);
}

/** Columns eliminated at a time: the share of the work that stays in JavaScript grows with it, what is sent to and fro falls. */
const BLOCK = 256;
/** Columns of the rest that are brought up to date at a time: bounds what a product takes. */
const STRIP = 1024;

/**
 * cholesky.ts in blocks (right-looking): L of A = L·Lᵀ, row-major [n, n]; only the lower triangle of `a` is read, and it is overwritten. What is
 * above the diagonal means nothing. undefined where A is not positive definite in double precision.
 */
export async function choleskyLarge(products: Products, a: Float64Array, n: number, block = BLOCK): Promise<Float64Array | undefined> {
  // Of the whole: the last corners of a singular matrix are rounding, and are not to be measured by themselves.
  const least = leastPivot(a, n);
  if (least === undefined) return undefined;
  for (let k = 0; k < n; k += block) {
    const size = Math.min(block, n - k);
    const below = n - k - size;
    const corner = piece(a, n, k, k, size, size);
    if (!cholesky(corner, size, least)) return undefined;
    put(a, n, k, k, corner, size, size);
    if (below === 0) break;
    // A panel X with X·Lᵀ = A is A·(L⁻¹)ᵀ.
    const panel = await products.timesTransposed(piece(a, n, k + size, k, below, size), inverted(corner, size), below, size, size);
    put(a, n, k + size, k, panel, below, size);
    for (let from = 0; from < below; from += STRIP) {
      const width = Math.min(STRIP, below - from);
      const rows = below - from;
      const lower = panel.subarray(from * size);
      const update = await products.timesTransposed(lower, lower.subarray(0, width * size), rows, width, size);
      subtract(a, n, k + size + from, k + size + from, update, rows, width);
    }
  }
  return a;
}

/** cholesky.ts' solveRows in blocks: each of the `rows` of `b` [rows, n] replaced by x with L·Lᵀ·x = b. */
export async function solveRowsLarge(
  products: Products,
  l: Float64Array,
  n: number,
  b: Float64Array,
  rows: number,
  block = BLOCK,
): Promise<void> {
  const starts = Array.from({ length: Math.ceil(n / block) }, (_, i) => i * block);
  const inverses = new Map<number, Float64Array>();
  for (const k of starts) {
    const size = Math.min(block, n - k);
    const inverse = inverted(piece(l, n, k, k, size, size), size);
    inverses.set(k, inverse);
    const x = await products.timesTransposed(piece(b, n, 0, k, rows, size), inverse, rows, size, size);
    put(b, n, 0, k, x, rows, size);
    for (let from = k + size; from < n; from += STRIP) {
      const width = Math.min(STRIP, n - from);
      const update = await products.timesTransposed(x, piece(l, n, from, k, width, size), rows, width, size);
      subtract(b, n, 0, from, update, rows, width);
    }
  }
  for (const k of starts.reverse()) {
    const size = Math.min(block, n - k);
    const inverse = transposed(inverses.get(k) as Float64Array, size, size);
    const x = await products.timesTransposed(piece(b, n, 0, k, rows, size), inverse, rows, size, size);
    put(b, n, 0, k, x, rows, size);
    for (let from = 0; from < k; from += STRIP) {
      const width = Math.min(STRIP, k - from);
      const left = transposed(piece(l, n, k, from, size, width), size, width);
      const update = await products.timesTransposed(x, left, rows, width, size);
      subtract(b, n, 0, from, update, rows, width);
    }
  }
}

/** Rows `i…`, columns `j…` of a matrix whose rows have `stride` numbers. */
function piece(a: Float64Array, stride: number, i: number, j: number, rows: number, columns: number): Float64Array {
  const out = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    const at = (i + r) * stride + j;
    out.set(a.subarray(at, at + columns), r * columns);
  }
  return out;
}

function put(a: Float64Array, stride: number, i: number, j: number, values: Float64Array, rows: number, columns: number): void {
  for (let r = 0; r < rows; r++) a.set(values.subarray(r * columns, (r + 1) * columns), (i + r) * stride + j);
}

function subtract(a: Float64Array, stride: number, i: number, j: number, values: Float64Array, rows: number, columns: number): void {
  for (let r = 0, from = 0; r < rows; r++) {
    for (let at = (i + r) * stride + j, end = at + columns; at < end; at++, from++) a[at] = (a[at] as number) - (values[from] as number);
  }
}

/** L⁻¹ of a lower triangle, zeros above its diagonal. */
function inverted(l: Float64Array, n: number): Float64Array {
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const pivot = l[i * n + i] as number;
    // Row i of L⁻¹ is (eᵢ − Σ over p < i of L[i, p]·row p) / L[i, i].
    for (let p = 0; p < i; p++) {
      const f = (l[i * n + p] as number) / pivot;
      if (f !== 0) for (let j = 0; j <= p; j++) out[i * n + j] = (out[i * n + j] as number) - f * (out[p * n + j] as number);
    }
    out[i * n + i] = 1 / pivot;
  }
  return out;
}
