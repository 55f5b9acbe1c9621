/** Blocks whose products ONNX Runtime makes give what plain loops give. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cholesky, solveRows } from "../../src/recover/cholesky.js";
import { choleskyLarge, factored, product, solveRowsLarge } from "../../src/recover/large.js";
import { times } from "../../src/recover/moments.js";
import { Products } from "../../src/recover/products.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { randomFloats } from "../support/build.js";

let runner: Runner;
let products: Products;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
  products = new Products(runner);
});
afterAll(async () => {
  await products.release();
  await runner.close();
});

/** X·Xᵀ / m + `ridge` of X [n, m]: singular for m < n and no ridge. */
function system(n: number, m: number, ridge: number): Float64Array {
  const x = Float64Array.from(randomFloats(`system ${n} ${m}`, n * m));
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let sum = i === j ? ridge : 0;
      for (let k = 0; k < m; k++) sum += ((x[i * m + k] as number) * (x[j * m + k] as number)) / m;
      a[i * n + j] = sum;
    }
  }
  return a;
}

/** max|a − b| / max|a|, of matrices of n columns on and below the diagonal alone if asked. */
function apart(a: Float64Array, b: Float64Array, n?: number): number {
  let [difference, largest] = [0, 0];
  for (const [i, x] of a.entries()) {
    if (n !== undefined && i % n > Math.floor(i / n)) continue;
    difference = Math.max(difference, Math.abs(x - (b[i] as number)));
    largest = Math.max(largest, Math.abs(x));
  }
  return difference / largest;
}

describe("in blocks", () => {
  // Sizes that blocks divide and do not; well conditioned, and as badly as the weakest ridge allows.
  for (const [n, block, ridge] of [
    [64, 64, 1e-2],
    [150, 64, 1e-2],
    [192, 64, 1e-6],
    [301, 100, 1e-2],
    [40, 64, 1e-2],
  ] as const) {
    it(`${n} columns by ${block}, ridge ${ridge}: the triangle, and what it solves`, async () => {
      const a = system(n, n >> 1, ridge);
      const sides = Float64Array.from(randomFloats(`sides ${n}`, 7 * n));
      const [plain, blocked] = [cholesky(Float64Array.from(a), n), await choleskyLarge(products, Float64Array.from(a), n, block)];
      if (!plain || !blocked) throw new Error("It is positive definite.");
      expect(apart(plain, blocked, n)).toBeLessThan(1e-10);
      const [x, y] = [Float64Array.from(sides), Float64Array.from(sides)];
      solveRows(plain, n, x, 7);
      await solveRowsLarge(products, blocked, n, y, 7, block);
      // Rounding grows with the condition, of loops and blocks alike.
      expect(apart(x, y)).toBeLessThan(ridge < 1e-3 ? 1e-8 : 1e-10);
    });
  }

  it("singular, not finite and empty matrices have none", async () => {
    expect(await choleskyLarge(products, system(150, 20, 0), 150, 64)).toBeUndefined();
    // A duplicate that only the last block sees.
    const a = system(130, 300, 0.1);
    for (let j = 0; j < 130; j++) a[129 * 130 + j] = a[j] as number;
    a[129 * 130 + 129] = a[0] as number;
    expect(await choleskyLarge(products, a, 130, 64)).toBeUndefined();
    expect(await choleskyLarge(products, new Float64Array(100 * 100), 100, 64)).toBeUndefined();
    expect(await choleskyLarge(products, new Float64Array(100 * 100).fill(Number.NaN), 100, 64)).toBeUndefined();
  });

  it("and large systems take this way by themselves", async () => {
    const n = 520;
    const a = system(n, 60, 0.1);
    const plain = cholesky(Float64Array.from(a), n) as Float64Array;
    expect(apart(plain, (await factored(products, Float64Array.from(a), n)) as Float64Array, n)).toBeLessThan(1e-10);
    const w = Float64Array.from(randomFloats("w", 3 * n));
    expect(apart(times(w, a, 3, n), await product(products, w, a, 3, n))).toBeLessThan(1e-10);
  });
});
