/** Ridge regression by the moments of a layer, of any width. */
import { factored, product, solved } from "./large.js";
import { centred, errorsOf, type Moments, residualOf, type Weights, weightsOf, withMeans } from "./moments.js";
import type { Products } from "./products.js";

/** How much a singular system is strengthened at a time until it can be solved, and where that ends. */
const STRONGER = 100;
const STRONGEST = 1;

/**
 * Ridge regression towards the weights that are there: W + (T − W·X)·Xᵀ·(X·Xᵀ + λ·I)⁻¹ in centred moments, with λ = `strength` times the
 * mean of the diagonal, and the bias that fits. As λ → 0 it is the least-squares solution nearest to W: of inputs that say the same
 * (duplicates) or nothing (dead channels), none is preferred, and no weight on them moves without need. A system too nearly singular
 * for double precision is solved with a larger λ. Without `hasBias` means are part of what is fitted.
 */
export async function ridge(products: Products, m: Moments, from: Weights, strength: number, hasBias: boolean): Promise<Weights> {
  const { groups, columns: K, rows: O } = m;
  const weight = Float64Array.from(from.weight);
  for (let g = 0; g < groups; g++) {
    const c = centred(m, g, hasBias);
    let trace = 0;
    for (let k = 0; k < K; k++) trace += c.xx[k * K + k] as number;
    if (!(trace > 0)) continue;
    const w = weightsOf(m, weight, g);
    const residual = residualOf(m, g, c, from.bias, await product(products, w, c.xx, O, K), hasBias);
    for (let lambda = strength; lambda <= STRONGEST; lambda *= STRONGER) {
      const a = Float64Array.from(c.xx);
      for (let k = 0; k < K; k++) a[k * K + k] = (a[k * K + k] as number) + (lambda * trace) / K;
      const l = await factored(products, a, K);
      if (!l) continue;
      await solved(products, l, K, residual, O);
      if (residual.every(Number.isFinite)) for (let i = 0; i < residual.length; i++) w[i] = (w[i] as number) + (residual[i] as number);
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
