/** Covariances of channels, and of the entries of patches: sums of products that come from the graph in blocks. */
import { type Accumulator, added, extent, type Frame, type Seen, type Sums } from "./accumulators.js";
import { gramRows, patchReductions, type Reduction } from "./reductions.js";
import type { Gram, PatchesRequest } from "./request.js";

/** Values, Σ(x − p), Σ(x − p)(x − p)ᵀ in the blocks of gramRows. */
export function gram(pool: number | undefined, { channels: C, tap }: Frame): Accumulator {
  const product: Reduction = pool === undefined ? "gram" : `gram:${pool}`;
  const mean: Reduction = pool === undefined ? "mean" : `mean:${pool}`;
  const [h, w] = [tap.extents[2], tap.extents[3]];
  const isPooled = pool !== undefined && tap.rank === 4 && tap.axis === 1 && h !== undefined && w !== undefined;
  const cells = isPooled ? Math.min(h as number, pool) * Math.min(w as number, pool) : undefined;
  const sums = new Products(C);
  return {
    reductions: [product, mean, ...extent(tap)],
    zero: () => sums.zero(),
    add(into, seen) {
      const x = seen.row(mean);
      for (let s = 0; s < seen.n; s++) sums.addMean(into, cells ?? seen.positions, x.subarray(s * C, (s + 1) * C));
      sums.addProducts(into, seen, product);
    },
    combine: added,
    result: (from) => sums.result(from, (k) => tap.pivot?.[k] ?? 0),
  };
}

/** The same of patches: `channels` of the tap times the taps of the window. */
export function patches(request: PatchesRequest, { tap }: Frame): Accumulator {
  const taps = request.window.kernel.reduce((a, b) => a * b, 1);
  const [from, to] = request.channels ?? [0, tap.extents[1] as number];
  const { product, mean, extent: size } = patchReductions(request);
  const sums = new Products((to - from) * taps);
  return {
    reductions: [product, mean, size],
    zero: () => sums.zero(),
    add(into, seen) {
      sums.addMean(into, seen.raw(size).ints()[1] as number, seen.raw(mean).numbers());
      sums.addProducts(into, seen, product);
    },
    combine: added,
    result: (all) => sums.result(all, (d) => tap.pivot?.[from + Math.floor(d / taps)] ?? 0),
  };
}

/** Values, Σ(x − p), Σ(x − p)(x − p)ᵀ in the blocks of gramRows, of `size` variables. */
class Products {
  readonly #size: number;
  readonly #rows: ReturnType<typeof gramRows>;

  constructor(size: number) {
    this.#size = size;
    this.#rows = gramRows(size);
  }

  zero(): Sums {
    const products = this.#rows.reduce((n, [from, to]) => n + (to - from) * (this.#size - from), 0);
    return [new Float64Array(1), new Float64Array(this.#size), new Float64Array(products)];
  }
  addMean([values, sum]: Sums, weight: number, mean: ArrayLike<number>): void {
    (values as Float64Array)[0] = ((values as Float64Array)[0] as number) + weight;
    for (let k = 0; k < this.#size; k++) (sum as Float64Array)[k] = ((sum as Float64Array)[k] as number) + weight * (mean[k] as number);
  }
  addProducts([, , products]: Sums, seen: Seen, product: Reduction): void {
    const G = seen.raw(product).numbers();
    for (let i = 0; i < G.length; i++) (products as Float64Array)[i] = ((products as Float64Array)[i] as number) + (G[i] as number);
  }
  result([values, sum, products]: Sums, pivot: (k: number) => number): Gram {
    const C = this.#size;
    const count = (values as Float64Array)[0] as number;
    const centred = (sum as Float64Array).map((x) => x / count);
    const covariance = new Float64Array(C * C);
    let start = 0;
    for (const [from, to] of this.#rows) {
      const width = C - from;
      const at = (i: number, j: number) => (products as Float64Array)[start + (i - from) * width + (j - from)] as number;
      for (let i = from; i < to; i++) {
        for (let j = i; j < C; j++) {
          // On the diagonal block both halves are there: float32 products of a blocked kernel need not be symmetric to the last bit.
          const g = (j < to ? (at(i, j) + at(j, i)) / 2 : at(i, j)) / count;
          const c = g - (centred[i] as number) * (centred[j] as number);
          covariance[i * C + j] = i === j ? Math.max(0, c) : c;
          covariance[j * C + i] = covariance[i * C + j] as number;
        }
      }
      start += (to - from) * width;
    }
    return { count, mean: centred.map((m, k) => m + pivot(k)), covariance };
  }
}
