/**
 * Backward elimination of channels, each step at the least loss after optimal reconstruction.
 *
 * Of a linear layer y = Wx with covariance H of x, features R can be left out at the loss
 * tr(W_R (H_RR − H_RK H_KK⁻¹ H_KR) W_Rᵀ), when the weights of the features K that stay are fitted anew (with a bias, which is why H is
 * centred). With P = H⁻¹ the bracket is (P_RR)⁻¹, and taking R out is a down-date: W ← W − W_R (P_RR)⁻¹ P_R·, P ← P − P_·R (P_RR)⁻¹ P_R·.
 *
 * @see Hassibi, Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon", NIPS 1992; Frantar, Alistarh, "Optimal
 *   Brain Compression", NeurIPS 2022, for layers and blocks.
 */
import { internal } from "../../errors.js";

/** The inverse covariance of features, each on the scale on which its variance is 1. */
export interface Precision {
  readonly deviation: Float64Array;
  /** Features that vary at all, ascending: the rows of `matrix`. */
  readonly varying: readonly number[];
  /** (correlation + ridge·I)⁻¹ of these, row-major. */
  readonly matrix: Float64Array;
  /** Raised above what was asked for where rounding errors outweigh it. */
  readonly ridge: number;
}

/**
 * @param covariance row-major size × size
 * @param ridge share of each feature's own variance that is added to it before the inversion: H may be singular
 */
export function precisionOf(covariance: Float64Array, size: number, ridge: number): Precision {
  const deviation = Float64Array.from({ length: size }, (_, i) => Math.sqrt(Math.max(0, covariance[i * size + i] as number)));
  const varying = [...deviation.keys()].filter((i) => (deviation[i] as number) > 0);
  const inverse = inverseOf(correlations(varying, covariance, size, deviation), varying.length, ridge);
  return { deviation, varying, ...inverse };
}

/** One layer that reads the channels. */
export interface ReadingLayer {
  readonly precision: Precision;
  /** features[k]: those of channel k; empty where the layer does not read it. Features of no channel stay and help to reconstruct. */
  readonly features: readonly (readonly number[])[];
  /** weights[k]: row-major rows × features[k].length, of each of its outputs. The same number of rows for all channels. */
  readonly weights: readonly Float64Array[];
  /** What a loss is multiplied with. */
  readonly importance: number;
}

export interface Elimination {
  /** All channels, first to leave first. */
  readonly order: readonly number[];
  /** losses[i]: what leaving of order[i] adds to the loss, those before it being gone; ≥ 0. */
  readonly losses: Float64Array;
}

/** Greedy: the channel whose leaving adds least is next; ties go to the lower number. */
export function eliminate(channels: number, layers: readonly ReadingLayer[]): Elimination {
  const states = layers.filter((l) => l.importance > 0).map((l) => new LayerState(l));
  const left = new Set(Array.from({ length: channels }, (_, k) => k));
  const order: number[] = [];
  const losses = new Float64Array(channels);
  while (left.size > 0) {
    let best = -1;
    let least = Number.POSITIVE_INFINITY;
    for (const k of left) {
      let loss = 0;
      for (const s of states) loss += s.loss(k);
      if (loss < least) [best, least] = [k, loss];
    }
    losses[order.length] = least;
    order.push(best);
    left.delete(best);
    for (const s of states) s.remove(best);
  }
  return { order, losses };
}

/** P and WᵀW of the features that channels own, on the scale on which each feature has variance 1; symmetric, held in the upper triangle. */
class LayerState {
  readonly #n: number;
  readonly #importance: number;
  readonly #ridge: number;
  /** Places in P of each channel's features; features that never vary have none: they cost nothing. */
  readonly #places: readonly (readonly number[])[];
  readonly #P: Float64Array;
  readonly #V: Float64Array;
  readonly #alive: Uint8Array;
  /** Loss of each channel as it was worked out last. */
  readonly #known: Float64Array;

  constructor(layer: ReadingLayer) {
    const { size, places, P, V } = ownFeatures(layer);
    this.#n = size;
    this.#importance = layer.importance;
    this.#ridge = layer.precision.ridge;
    this.#places = places;
    this.#alive = new Uint8Array(size).fill(1);
    this.#known = new Float64Array(places.length).fill(Number.NaN);
    this.#P = P;
    this.#V = V;
  }

  /** What the channel's leaving adds to the loss. */
  loss(k: number): number {
    const known = this.#known[k] as number;
    if (!Number.isNaN(known)) return known;
    const at = this.#places[k] as readonly number[];
    const b = at.length;
    if (b === 0) return 0;
    const block = inverseOf(blockOf(this.#P, this.#n, at), b, 0).matrix;
    const V = blockOf(this.#V, this.#n, at);
    let loss = 0;
    // The ridge is no variance of the feature's: what it adds is no loss.
    for (let i = 0; i < b; i++) {
      loss -= this.#ridge * (V[i * b + i] as number);
      for (let j = 0; j < b; j++) loss += (block[i * b + j] as number) * (V[i * b + j] as number);
    }
    const result = Math.max(0, loss) * this.#importance;
    this.#known[k] = result;
    return result;
  }

  /** The channel leaves; the weights of the others are fitted. */
  remove(k: number): void {
    const at = this.#places[k] as readonly number[];
    const [n, b] = [this.#n, at.length];
    if (b === 0) return;
    this.#known.fill(Number.NaN);
    const [P, V] = [this.#P, this.#V];
    const inverse = inverseOf(blockOf(P, n, at), b, 0).matrix;
    const [PR, VR] = [rowsOf(P, n, at), rowsOf(V, n, at)];
    for (const p of at) this.#alive[p] = 0;
    // F = (P_RR)⁻¹ P_R·, and Y = V_R· − ½ V_RR F: V ← (I − E)ᵀ V (I − E) = V − YᵀF − FᵀY with E the rows F at R.
    const F = times(inverse, PR, b, n);
    const Y = times(blockOf(V, n, at), F, b, n);
    for (let i = 0; i < Y.length; i++) Y[i] = (VR[i] as number) - (Y[i] as number) / 2;
    for (let i = 0; i < n; i++) {
      if (this.#alive[i] === 0) for (let r = 0; r < b; r++) PR[r * n + i] = F[r * n + i] = Y[r * n + i] = 0;
    }
    for (let i = 0; i < n; i++) {
      if (this.#alive[i] === 0) continue;
      const row = i * n;
      for (let r = 0; r < b; r++) {
        const [f, y] = [F[r * n + i] as number, Y[r * n + i] as number];
        if (f === 0 && y === 0) continue;
        const from = r * n;
        for (let j = i; j < n; j++) {
          P[row + j] = (P[row + j] as number) - f * (PR[from + j] as number);
          V[row + j] = (V[row + j] as number) - y * (F[from + j] as number) - f * (Y[from + j] as number);
        }
      }
    }
  }
}

/** What the channels own of a layer: the features that vary, on the scale on which each has variance 1. */
export interface OwnFeatures {
  readonly size: number;
  /** Places in P and V of each channel's features; features that never vary have none: they cost nothing. */
  readonly places: readonly (readonly number[])[];
  /** [size, size], symmetric. */
  readonly P: Float64Array;
  /** WᵀW [size, size], symmetric, held in the upper triangle. */
  readonly V: Float64Array;
}

export function ownFeatures({ precision, features, weights }: ReadingLayer): OwnFeatures {
  const { deviation, varying, matrix } = precision;
  const row = new Map(varying.map((i, at) => [i, at]));
  const mine = [...new Set(features.flat())].filter((i) => row.has(i));
  const place = new Map(mine.map((i, at) => [i, at]));
  const at = mine.map((i) => row.get(i) as number);
  return {
    size: mine.length,
    places: features.map((f) => f.flatMap((i) => place.get(i) ?? [])),
    P: submatrix(matrix, varying.length, at),
    V: productsOf(mine.length, features, weights, place, deviation),
  };
}

/** The block [at, at] of a symmetric A [n, n] that is held in the upper triangle. */
export function blockOf(A: Float64Array, n: number, at: readonly number[]): Float64Array {
  const b = at.length;
  const out = new Float64Array(b * b);
  for (let i = 0; i < b; i++) {
    for (let j = i; j < b; j++) {
      const [p, q] = [at[i] as number, at[j] as number];
      out[i * b + j] = A[Math.min(p, q) * n + Math.max(p, q)] as number;
      out[j * b + i] = out[i * b + j] as number;
    }
  }
  return out;
}

/** The rows `at` [at.length, n] of the same. */
export function rowsOf(A: Float64Array, n: number, at: readonly number[]): Float64Array {
  const out = new Float64Array(at.length * n);
  at.forEach((p, r) => {
    for (let j = 0; j < p; j++) out[r * n + j] = A[j * n + p] as number;
    for (let j = p; j < n; j++) out[r * n + j] = A[p * n + j] as number;
  });
  return out;
}

/** [b, b] times [b, n]. */
export function times(A: Float64Array, B: Float64Array, b: number, n: number): Float64Array {
  const out = new Float64Array(b * n);
  for (let i = 0; i < b; i++) {
    for (let r = 0; r < b; r++) {
      const a = A[i * b + r] as number;
      for (let j = 0; j < n; j++) out[i * n + j] = (out[i * n + j] as number) + a * (B[r * n + j] as number);
    }
  }
  return out;
}

function correlations(of: readonly number[], covariance: Float64Array, size: number, deviation: Float64Array): Float64Array {
  const n = of.length;
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const p = of[i] as number;
    for (let j = 0; j < n; j++) {
      const q = of[j] as number;
      out[i * n + j] = i === j ? 1 : (covariance[p * size + q] as number) / ((deviation[p] as number) * (deviation[q] as number));
    }
  }
  return out;
}

/** Upper triangle of WᵀW, each feature by its deviation. */
function productsOf(
  n: number,
  features: readonly (readonly number[])[],
  weights: readonly Float64Array[],
  place: ReadonlyMap<number, number>,
  deviation: Float64Array,
): Float64Array {
  const V = new Float64Array(n * n);
  const lengths = features.map((f) => f.length);
  const first = lengths.findIndex((b) => b > 0);
  if (first < 0) return V;
  const rows = (weights[first] as Float64Array).length / (lengths[first] as number);
  const row = new Float64Array(n);
  for (let o = 0; o < rows; o++) {
    features.forEach((f, k) => {
      f.forEach((i, at) => {
        const p = place.get(i);
        if (p !== undefined) row[p] = ((weights[k] as Float64Array)[o * f.length + at] as number) * (deviation[i] as number);
      });
    });
    for (let i = 0; i < n; i++) {
      const w = row[i] as number;
      if (w === 0) continue;
      for (let j = i; j < n; j++) V[i * n + j] = (V[i * n + j] as number) + w * (row[j] as number);
    }
  }
  return V;
}

function submatrix(A: Float64Array, size: number, at: readonly number[]): Float64Array {
  const n = at.length;
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) out[i * n + j] = A[(at[i] as number) * size + (at[j] as number)] as number;
  return out;
}

/**
 * (A + ridge·I)⁻¹ of a symmetric, positive semi-definite A [n, n] by Cholesky. A ridge that rounding errors of A outweigh is raised
 * tenfold until it does not.
 */
export function inverseOf(A: Float64Array, n: number, ridge: number): { readonly matrix: Float64Array; readonly ridge: number } {
  let trace = 0;
  for (let i = 0; i < n; i++) trace += A[i * n + i] as number;
  const least = Math.max((1e-12 * trace) / Math.max(1, n), Number.MIN_VALUE);
  for (let added = ridge; ; added = Math.max(10 * added, least)) {
    if (!(added <= trace + 1)) throw internal("A covariance is not finite, or no covariance.");
    const L = cholesky(A, n, added);
    if (L) return { matrix: fromFactor(L, n), ridge: added };
  }
}

/** L with L Lᵀ = A + ridge·I, lower triangle; undefined when a pivot is lost in rounding. */
function cholesky(A: Float64Array, n: number, ridge: number): Float64Array | undefined {
  const L = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const ri = i * n;
    for (let j = 0; j <= i; j++) {
      const rj = j * n;
      const size = (A[ri + j] as number) + (i === j ? ridge : 0);
      const s = size - dot(L, ri, rj, j);
      if (i !== j) L[ri + j] = s / (L[rj + j] as number);
      else if (s > 1e-14 * size) L[ri + i] = Math.sqrt(s);
      else return undefined;
    }
  }
  return L;
}

/** (L Lᵀ)⁻¹ = L⁻ᵀ L⁻¹. */
function fromFactor(L: Float64Array, n: number): Float64Array {
  // M[j] is column j of L⁻¹, which is 0 above j: rows of M are contiguous, as those of L are.
  const M = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    const mj = j * n;
    M[mj + j] = 1 / (L[mj + j] as number);
    for (let i = j + 1; i < n; i++) {
      const ri = i * n;
      M[mj + i] = -dot(L, ri + j, mj + j, i - j, M) / (L[ri + i] as number);
    }
  }
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      const s = dot(M, i * n + j, j * n + j, n - j);
      out[i * n + j] = s;
      out[j * n + i] = s;
    }
  }
  return out;
}

/** Σ A[a + k]·B[b + k] over `count` k, in four sums that do not wait for each other. */
function dot(A: Float64Array, a: number, b: number, count: number, B: Float64Array = A): number {
  let [s, t, u, v] = [0, 0, 0, 0];
  let k = 0;
  for (; k + 3 < count; k += 4) {
    s += (A[a + k] as number) * (B[b + k] as number);
    t += (A[a + k + 1] as number) * (B[b + k + 1] as number);
    u += (A[a + k + 2] as number) * (B[b + k + 2] as number);
    v += (A[a + k + 3] as number) * (B[b + k + 3] as number);
  }
  for (; k < count; k++) s += (A[a + k] as number) * (B[b + k] as number);
  return s + t + (u + v);
}
