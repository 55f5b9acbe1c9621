/** What the squared error of two layers' end curves like, roughly: the metric in which joint.ts measures changes of their weights. */
import type { Joined, JointForm } from "./joint-session.js";
import { unknownsOf } from "./joint-session.js";
import { factored, product, solved, transposed } from "./large.js";
import type { Moments } from "./moments.js";
import type { Products } from "./products.js";

/** Counts over all batches that fit. */
export interface Counts {
  /** Positions at which each channel of the first layer passes the Relu. */
  readonly passing: Float64Array;
  /** Positions of the first layer's output and of the second's. */
  readonly positions: readonly [first: number, second: number];
  /** Share of the second's outputs that count. */
  readonly counted: number;
}

/**
 * G ⊗ A₁ for the first layer, A₂ for each output of the second. A [columns + 1, columns + 1]: second moments of what a layer reads, with 1
 * for the bias; G [rows, rows]: products of the second layer's weights, as if what passes the Relu were independent of what is read.
 *
 * @see Martens, Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate Curvature", ICML 2015, for the product form.
 */
export class Curvature {
  readonly #products: Products;
  readonly #joined: Joined;
  readonly #matrices: Matrices;
  readonly #factors: Matrices;

  private constructor(products: Products, joined: Joined, matrices: Matrices, factors: Matrices) {
    [this.#products, this.#joined, this.#matrices, this.#factors] = [products, joined, matrices, factors];
  }

  /** undefined where a matrix cannot be inverted even with much added: nothing then varies. */
  static async of(
    products: Products,
    form: Pick<JointForm, "joined" | "second">,
    reads: readonly [first: Moments, second: Moments],
    { passing, positions, counted }: Counts,
  ): Promise<Curvature | undefined> {
    const { first, second } = form.joined;
    const share = passing.map((n) => n / positions[0]);
    const matrices: Matrices = {
      G: weightProducts(form, share),
      A1: withOne(reads[0], positions[0] * counted),
      A2: withOne(reads[1], positions[1] * counted),
    };
    const G = await factor(products, matrices.G, first.rows);
    const A1 = G && (await factor(products, matrices.A1, first.columns + 1));
    const A2 = A1 && (await factor(products, matrices.A2, second.columns + 1));
    return G && A1 && A2 ? new Curvature(products, form.joined, matrices, { G, A1, A2 }) : undefined;
  }

  /** by · P·v */
  async times(v: Float64Array, by: number): Promise<Float64Array> {
    const { first, second } = this.#joined;
    const { G, A1, A2 } = this.#matrices;
    const [n1] = unknownsOf(this.#joined);
    const [D1, D2] = [first.columns + 1, second.columns + 1];
    const inner = transposed(await product(this.#products, v.slice(0, n1), A1, first.rows, D1), first.rows, D1);
    const out = new Float64Array(v.length);
    out.set(transposed(await product(this.#products, inner, G, D1, first.rows), D1, first.rows));
    out.set(await product(this.#products, v.slice(n1), A2, second.rows, D2), n1);
    return out.map((x) => by * x);
  }

  /** P⁻¹·r */
  async solve(r: Float64Array): Promise<Float64Array> {
    const { first, second } = this.#joined;
    const { G, A1, A2 } = this.#factors;
    const [n1] = unknownsOf(this.#joined);
    const [mine, theirs] = [r.slice(0, n1), r.slice(n1)];
    await solved(this.#products, A1, first.columns + 1, mine, first.rows);
    const turned = transposed(mine, first.rows, first.columns + 1);
    await solved(this.#products, G, first.rows, turned, first.columns + 1);
    await solved(this.#products, A2, second.columns + 1, theirs, second.rows);
    const out = new Float64Array(r.length);
    out.set(transposed(turned, first.columns + 1, first.rows));
    out.set(theirs, n1);
    return out;
  }
}

interface Matrices {
  readonly G: Float64Array;
  readonly A1: Float64Array;
  readonly A2: Float64Array;
}

/** Σ over outputs and taps of the second layer's weights on channel k times those on l, by how often both pass. */
function weightProducts({ joined, second }: Pick<JointForm, "joined" | "second">, share: Float64Array): Float64Array {
  const K = joined.first.rows;
  const { rows: O, taps } = joined.second;
  const G = new Float64Array(K * K);
  for (let k = 0; k < K; k++) {
    for (let l = 0; l <= k; l++) {
      let sum = 0;
      for (let o = 0; o < O; o++) {
        const [a, b] = [(o * K + k) * taps, (o * K + l) * taps];
        for (let t = 0; t < taps; t++) sum += (second.weight[a + t] as number) * (second.weight[b + t] as number);
      }
      G[k * K + l] = G[l * K + k] = sum * (share[k] as number) * (k === l ? 1 : (share[l] as number));
    }
  }
  return G;
}

/** Second moments of [x; 1]: their mean, `times` over. */
function withOne({ columns: C, rows, sums }: Moments, times: number): Float64Array {
  const D = C + 1;
  const wide = C + rows + 1;
  const count = sums[wide * wide - 1] as number;
  const place = (i: number) => (i < C ? i : wide - 1);
  return Float64Array.from({ length: D * D }, (_, n) => ((sums[place(Math.floor(n / D)) * wide + place(n % D)] as number) / count) * times);
}

/** Cholesky of a matrix made definite: a share of the mean of its diagonal is added. */
async function factor(products: Products, m: Float64Array, n: number): Promise<Float64Array | undefined> {
  let trace = 0;
  for (let i = 0; i < n; i++) trace += m[i * n + i] as number;
  for (let share = 1e-3; share <= 1; share *= 10) {
    const a = Float64Array.from(m);
    for (let i = 0; i < n; i++) a[i * n + i] = (a[i * n + i] as number) + (share * trace) / n;
    const lower = await factored(products, a, n);
    if (lower) return lower;
  }
  return undefined;
}
