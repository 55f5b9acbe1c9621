/**
 * Feature representativeness: how much of a channel's feature map the other channels of its layer do not have.
 *
 * U ∈ [0, 1] from the covariance S of the maps, ρ_kj = S_kj/√(S_kk S_jj) (0 where a variance is 0). That uniqueness of feature
 * patterns is measured is in Chen 2020; which measure is a reconstruction.
 */

export type UniquenessKind = "nearest" | "mean" | "conditional";

/** U of the channels that are left, as channels leave. Twins are both at 0; when one leaves the other is on its own. */
export interface Uniqueness {
  /** U of each channel among those that are left; what has left has the value it had then. */
  readonly values: Float64Array;
  /** Takes channel `k` out. */
  remove(k: number): void;
}

/** @param covariance row-major, `count` × `count`, symmetric. */
export function uniqueness(kind: UniquenessKind, covariance: Float64Array, count: number): Uniqueness {
  switch (kind) {
    case "nearest":
      return new Nearest(covariance, count);
    case "mean":
      return new MeanCorrelation(covariance, count);
    case "conditional":
      return new Conditional(covariance, count);
  }
}

/** |ρ|, row-major, 0 on the diagonal. */
function correlations(covariance: Float64Array, count: number): Float64Array {
  const deviation = Float64Array.from({ length: count }, (_, k) => Math.sqrt(Math.max(0, covariance[k * count + k] as number)));
  const out = new Float64Array(count * count);
  for (let k = 0; k < count; k++) {
    for (let j = 0; j < k; j++) {
      const both = (deviation[k] as number) * (deviation[j] as number);
      const rho = both > 0 ? Math.min(1, Math.abs(covariance[k * count + j] as number) / both) : 0;
      out[k * count + j] = rho;
      out[j * count + k] = rho;
    }
  }
  return out;
}

/**
 * U_k = 1 − max_{j ≠ k} |ρ_kj|. Who was nearest to what leaves looks for its next: O(M²) in all, save where many channels
 * have one nearest after the other.
 */
export class Nearest implements Uniqueness {
  readonly values: Float64Array;
  readonly #rho: Float64Array;
  readonly #count: number;
  readonly #left: Uint8Array;
  readonly #nearest: Int32Array;

  constructor(covariance: Float64Array, count: number) {
    this.#rho = correlations(covariance, count);
    this.#count = count;
    this.#left = new Uint8Array(count).fill(1);
    this.#nearest = new Int32Array(count);
    this.values = new Float64Array(count);
    for (let k = 0; k < count; k++) this.#look(k);
  }

  /** The channel most like `k` among those left, -1 when it is alone, and |ρ| with it. */
  nearestOf(k: number): { readonly channel: number; readonly correlation: number } {
    const channel = this.#nearest[k] as number;
    return { channel, correlation: channel < 0 ? 0 : (this.#rho[k * this.#count + channel] as number) };
  }

  remove(k: number): void {
    this.#left[k] = 0;
    for (let j = 0; j < this.#count; j++) if (this.#left[j] === 1 && this.#nearest[j] === k) this.#look(j);
  }

  #look(k: number): void {
    let best = -1;
    let most = -1;
    const row = k * this.#count;
    for (let j = 0; j < this.#count; j++) {
      const rho = this.#rho[row + j] as number;
      if (rho > most && j !== k && this.#left[j] === 1) {
        best = j;
        most = rho;
      }
    }
    this.#nearest[k] = best;
    this.values[k] = 1 - Math.max(0, most);
  }
}

/** U_k = 1 − mean_{j ≠ k} |ρ_kj|. One duplicate in a wide layer hardly moves it. */
class MeanCorrelation implements Uniqueness {
  readonly values: Float64Array;
  readonly #rho: Float64Array;
  readonly #sums: Float64Array;
  readonly #left: Set<number>;

  constructor(covariance: Float64Array, count: number) {
    this.#rho = correlations(covariance, count);
    this.#left = new Set(Array.from({ length: count }, (_, k) => k));
    this.#sums = new Float64Array(count);
    for (let k = 0; k < count; k++) {
      let sum = 0;
      for (let j = 0; j < count; j++) sum += this.#rho[k * count + j] as number;
      this.#sums[k] = sum;
    }
    this.values = new Float64Array(count);
    this.#update();
  }

  remove(k: number): void {
    this.#left.delete(k);
    const count = this.#sums.length;
    for (const j of this.#left) this.#sums[j] = (this.#sums[j] as number) - (this.#rho[j * count + k] as number);
    this.#update();
  }

  #update(): void {
    const others = Math.max(1, this.#left.size - 1);
    for (const k of this.#left) this.values[k] = Math.min(1, Math.max(0, 1 - (this.#sums[k] as number) / others));
  }
}

/**
 * U_k = 1/(S_kk (S⁻¹)_kk): the share of k's variance that no linear combination of the others explains (1/VIF). S gets
 * 1e-6·(tr S/M)·I, since exact duplicates make it singular. Removal is a Schur down-date of P = S⁻¹, O(M²); inversion O(M³).
 * A channel without variance has nothing to explain and is at 1, as for the other measures.
 */
export class Conditional implements Uniqueness {
  readonly values: Float64Array;
  readonly #inverse: Float64Array;
  readonly #variance: Float64Array;
  readonly #left: Set<number>;

  constructor(covariance: Float64Array, count: number) {
    let trace = 0;
    for (let k = 0; k < count; k++) trace += covariance[k * count + k] as number;
    const ridge = (1e-6 * trace) / count || 1;
    const S = covariance.slice();
    for (let k = 0; k < count; k++) S[k * count + k] = (S[k * count + k] as number) + ridge;
    this.#variance = Float64Array.from({ length: count }, (_, k) => S[k * count + k] as number);
    this.#inverse = inverse(S, count);
    this.#left = new Set(Array.from({ length: count }, (_, k) => k));
    this.values = new Float64Array(count);
    this.#update();
  }

  /**
   * β of the best linear stand-in Σ β_j F_j for channel `k` by the others that are left (0 at what has left and at k itself):
   * adding β_j·W[:, k] to W[:, j] of every reader makes up for it. Valid point by point only if S was taken at full resolution.
   */
  compensation(k: number): Float64Array {
    const count = this.#variance.length;
    const own = this.#inverse[k * count + k] as number;
    const beta = new Float64Array(count);
    for (const j of this.#left) if (j !== k) beta[j] = -(this.#inverse[k * count + j] as number) / own;
    return beta;
  }

  remove(k: number): void {
    this.#left.delete(k);
    const P = this.#inverse;
    const count = this.#variance.length;
    const own = P[k * count + k] as number;
    for (const i of this.#left) {
      const factor = (P[i * count + k] as number) / own;
      if (factor === 0) continue;
      for (const j of this.#left) P[i * count + j] = (P[i * count + j] as number) - factor * (P[k * count + j] as number);
    }
    this.#update();
  }

  #update(): void {
    const count = this.#variance.length;
    for (const k of this.#left) {
      const vif = (this.#variance[k] as number) * (this.#inverse[k * count + k] as number);
      this.values[k] = Math.min(1, Math.max(0, 1 / vif));
    }
  }
}

/** Inverse of a symmetric positive definite matrix: S = LLᵀ, S⁻¹ = L⁻ᵀL⁻¹. */
function inverse(S: Float64Array, n: number): Float64Array {
  const L = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = S[i * n + j] as number;
      for (let p = 0; p < j; p++) sum -= (L[i * n + p] as number) * (L[j * n + p] as number);
      // Rounding may leave less than nothing of a duplicate.
      L[i * n + j] = i === j ? Math.sqrt(Math.max(sum, 1e-15 * (S[i * n + i] as number))) : sum / (L[j * n + j] as number);
    }
  }
  // Rows of M are columns of L⁻¹: M[j][i] = (L⁻¹)_ij for i ≥ j.
  const M = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let sum = i === j ? 1 : 0;
      for (let p = j; p < i; p++) sum -= (L[i * n + p] as number) * (M[j * n + p] as number);
      M[j * n + i] = sum / (L[i * n + i] as number);
    }
  }
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let p = i; p < n; p++) sum += (M[i * n + p] as number) * (M[j * n + p] as number);
      out[i * n + j] = sum;
      out[j * n + i] = sum;
    }
  }
  return out;
}
