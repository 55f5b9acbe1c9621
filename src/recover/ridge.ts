/** Ridge regression by the moments of a layer, of any width. */

import type { Weights } from "../score/layers.js";
import { factored, product, solved } from "./large.js";
import { centred, columnsInUse, errorsOf, type Moments, residualOf, weightsOf, withMeans } from "./moments.js";
import type { Products } from "./products.js";

/** How much a singular system is strengthened at a time until it can be solved, and where that ends. */
const STRONGER = 100;
const STRONGEST = 1;

/**
 * Ridge regression towards the weights that are there: W + (T − W·X)·Xᵀ·(X·Xᵀ + λ·I)⁻¹ in centred moments, with λ = `strength` times the
 * mean of the diagonal, and the bias that fits. As λ → 0 it is the least-squares solution nearest to W: of inputs that say the same
 * (duplicates) or nothing (dead channels), none is preferred, and no weight on them moves without need. A system too nearly singular
 * for double precision is solved with a larger λ. Without `hasBias` means are part of what is fitted.
 * Columns of zeros stay zeros (`columnsInUse`).
 */
export async function ridge(products: Products, m: Moments, from: Weights, strength: number, hasBias: boolean): Promise<Weights> {
  const { groups, columns: K, rows: O } = m;
  const weight = Float64Array.from(from.weight);
  for (let g = 0; g < groups; g++) {
    const c = centred(m, g, hasBias);
    const w = weightsOf(m, weight, g);
    const used = columnsInUse(w, O, K);
    const n = used.length;
    const pick = (from: Float64Array, rows: readonly number[]) =>
      Float64Array.from(
        { length: rows.length * n },
        (_, i) => from[(rows[Math.floor(i / n)] as number) * K + (used[i % n] as number)] as number,
      );
    const xx = n === K ? c.xx : pick(c.xx, used);
    let trace = 0;
    for (let k = 0; k < n; k++) trace += xx[k * n + k] as number;
    if (!(trace > 0)) continue;
    const residual = residualOf(m, g, c, from.bias, await product(products, w, c.xx, O, K), hasBias);
    const change = n === K ? residual : pick(residual, [...Array(O).keys()]);
    for (let lambda = strength; lambda <= STRONGEST; lambda *= STRONGER) {
      const a = Float64Array.from(xx);
      for (let k = 0; k < n; k++) a[k * n + k] = (a[k * n + k] as number) + (lambda * trace) / n;
      const l = await factored(products, a, n);
      if (!l) continue;
      await solved(products, l, n, change, O);
      if (!change.every(Number.isFinite)) break;
      for (let i = 0; i < change.length; i++) {
        const at = Math.floor(i / n) * K + (used[i % n] as number);
        w[at] = (w[at] as number) + (change[i] as number);
      }
      break;
    }
  }
  return hasBias ? withMeans(m, { weight, bias: from.bias }) : { weight, bias: from.bias };
}

/**
 * Σ over rows of mean squared (target − W·x − b), one number per output channel [groups · rows], as the moments tell it. Never
 * negative.
 */
export async function errors(products: Products, m: Moments, weights: Weights): Promise<Float64Array> {
  const { groups, columns: K, rows: O } = m;
  const out = new Float64Array(groups * O);
  for (let g = 0; g < groups; g++) {
    const c = centred(m, g, true);
    out.set(errorsOf(m, g, c, weights, await product(products, weightsOf(m, weights.weight, g), c.xx, O, K)), g * O);
  }
  return out;
}
