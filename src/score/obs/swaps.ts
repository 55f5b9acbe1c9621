/**
 * Local swaps: at the width that a group will have, a channel that left comes back for one that stays, while that lowers the loss.
 *
 * Greedy elimination never takes back a step, though a channel that left early may be missed once others are gone. The loss of a set R,
 * L(R) = Σ importance · tr(W_R (H_RR − H_RK (H_KK + λI)⁻¹ H_KR) W_Rᵀ), depends on the set alone, and all exchanges of one channel of R are judged
 * exactly from the matrices at hand. P = (H + λI)⁻¹, bordered with W, is *swept* on R: the inverse of the block R takes its place, the rest
 * is what down-dates leave. A sweep can be undone, which is how a channel comes back:
 *
 *     swept on R    M = [ −S       S·P_RK                  ]    S = (P_RR)⁻¹ = H_RR + λI − H_RK (H_KK + λI)⁻¹ H_KR
 *                       [ P_KR·S   P_KK − P_KR·S·P_RK      ]    T = [ W_R·S   W_K − W_R·S·P_RK ], held as U = TᵀT
 *
 * @see Goodnight, "A Tutorial on the SWEEP Operator", The American Statistician 33, 1979; Meng et al., "OSSCAR: One-Shot Structured Pruning in
 *   Vision and Language Models with Combinatorial Optimization", ICML 2024, for exchanges after the greedy choice.
 */
import { blockOf, inverseOf, ownFeatures, type ReadingLayer, rowsOf, times } from "./elimination.js";

export interface Swapped {
  /** Channels that leave; each stands where the one stood whose place it took. */
  readonly gone: readonly number[];
  /** L of the channels as they came, and of those that leave. */
  readonly loss: readonly [number, number];
}

/** Share of the loss by which an exchange must lower it: less is rounding, and might go on for ever. */
const LEAST_GAIN = 1e-9;

/**
 * In each pass every channel of `gone`, the last first, is tried against all that stay and may take its place; it comes back for the one
 * whose leaving then costs least, if that is less than its own. Passes end with the first that changes nothing: then no exchange of two
 * channels lowers the loss. An exchange costs two down-dates and a pass |gone| at most, so that n passes take no longer than 2n + 1
 * eliminations of |gone| channels; what is usual is a few exchanges in all.
 *
 * Ties go to the lower channel. Layers in which channels share features are not swept, and `gone` stays as it is.
 *
 * @param gone in the order in which they left
 * @param kinds kinds[k]: only channels of one kind are exchanged, and none of kind −1
 * @param passes most of them, ≥ 0
 */
export function swapped(layers: readonly ReadingLayer[], gone: readonly number[], kinds: readonly number[], passes: number): Swapped {
  const reading = layers.filter((l) => l.importance > 0);
  const before = lossWithout(reading, gone);
  const asItCame: Swapped = { gone, loss: [before, before] };
  if (passes === 0 || before <= 0 || reading.some(sharesFeatures)) return asItCame;
  const states = reading.map((l) => new SweptLayer(l));
  for (const k of gone) for (const s of states) s.sweep(k, true);
  const out = [...gone];
  const isOut = new Set(gone);
  const costs = new Float64Array(kinds.length);
  let loss = before;
  for (let pass = 0; pass < passes; pass++) {
    let changed = false;
    for (let at = out.length - 1; at >= 0; at--) {
      const back = out[at] as number;
      const kind = kinds[back] as number;
      const others = kind < 0 ? [] : [...kinds.keys()].filter((k) => kinds[k] === kind && !isOut.has(k));
      if (others.length === 0) continue;
      costs.fill(0);
      let own = 0;
      for (const s of states) {
        own += s.saved(back);
        s.addInstead(back, others, costs);
      }
      const instead = others.reduce((a, k) => ((costs[k] as number) < (costs[a] as number) ? k : a));
      const gain = own - (costs[instead] as number);
      if (!(gain > LEAST_GAIN * loss)) continue;
      for (const s of states) {
        s.sweep(back, false);
        s.sweep(instead, true);
      }
      isOut.delete(back);
      isOut.add(instead);
      out[at] = instead;
      loss -= gain;
      changed = true;
    }
    if (!changed) break;
  }
  // Rounding errors of many sweeps add up: what counts is the loss from the matrices as they came.
  const after = lossWithout(reading, out);
  return after < before * (1 - LEAST_GAIN) ? { gone: out, loss: [before, after] } : asItCame;
}

/** L(gone), from the inverse covariances at hand; ≥ 0. */
export function lossWithout(layers: readonly ReadingLayer[], gone: readonly number[]): number {
  let sum = 0;
  for (const layer of layers) {
    const { size, places, P, V } = ownFeatures(layer);
    const at = [...new Set(gone.flatMap((k) => places[k] as readonly number[]))];
    const loss = quotient(blockOf(P, size, at), blockOf(V, size, at), at.length);
    sum += layer.importance * Math.max(0, loss - layer.precision.ridge * at.reduce((n, p) => n + (V[p * size + p] as number), 0));
  }
  return sum;
}

function sharesFeatures({ features }: ReadingLayer): boolean {
  const all = features.flat();
  return new Set(all).size < all.length;
}

/** tr(A⁻¹B) of symmetric [b, b], A positive definite. */
function quotient(A: Float64Array, B: Float64Array, b: number): number {
  if (b === 1) return (B[0] as number) / (A[0] as number);
  const inverse = inverseOf(A, b, 0).matrix;
  let sum = 0;
  for (let i = 0; i < b * b; i++) sum += (inverse[i] as number) * (B[i] as number);
  return sum;
}

/** M and U of one layer, held in the upper triangle. */
class SweptLayer {
  readonly #n: number;
  readonly #places: readonly (readonly number[])[];
  readonly #importance: number;
  readonly #M: Float64Array;
  readonly #U: Float64Array;
  /** λ · tr(W_kᵀW_k) of each channel's weights as they came: the ridge is no variance of the features', and what it adds is no loss. */
  readonly #ridges: Float64Array;

  constructor(layer: ReadingLayer) {
    const { size, places, P, V } = ownFeatures(layer);
    this.#n = size;
    this.#places = places;
    this.#importance = layer.importance;
    this.#M = P;
    this.#U = V;
    const { ridge } = layer.precision;
    this.#ridges = Float64Array.from(places, (at) => ridge * at.reduce((n, p) => n + (V[p * size + p] as number), 0));
  }

  /** By how much the loss falls when `back`, which is out, comes back. */
  saved(back: number): number {
    const at = this.#places[back] as readonly number[];
    const own = quotient(this.#minus(at), blockOf(this.#U, this.#n, at), at.length);
    return this.#importance * (own - (this.#ridges[back] as number));
  }

  /** costs[k] += what the leaving of k adds to the loss once `back` is there again, for each k of `others`, which are there. */
  addInstead(back: number, others: readonly number[], costs: Float64Array): void {
    const [n, M, U] = [this.#n, this.#M, this.#U];
    const at = this.#places[back] as readonly number[];
    const b = at.length;
    // With S the block of `back` and G = S⁻¹ M_back·: M_kk + M_k·back G_k, and U of T_k + T_back G_k = U_kk + GᵀZ + ZᵀG, Z = U_back· + ½ U_back,back G.
    const MR = rowsOf(M, n, at);
    const G = times(inverseOf(this.#minus(at), b, 0).matrix, MR, b, n);
    const Z = times(blockOf(U, n, at), G, b, n);
    const UR = rowsOf(U, n, at);
    for (let i = 0; i < Z.length; i++) Z[i] = (UR[i] as number) + (Z[i] as number) / 2;
    for (const k of others) {
      const mine = this.#places[k] as readonly number[];
      const size = mine.length;
      if (size === 0) continue;
      const [A, B] = [blockOf(M, n, mine), blockOf(U, n, mine)];
      for (let r = 0; r < b; r++) {
        const row = r * n;
        for (let i = 0; i < size; i++) {
          const p = row + (mine[i] as number);
          const [m, g, z] = [MR[p] as number, G[p] as number, Z[p] as number];
          for (let j = 0; j < size; j++) {
            const q = row + (mine[j] as number);
            A[i * size + j] = (A[i * size + j] as number) + m * (G[q] as number);
            B[i * size + j] = (B[i * size + j] as number) + g * (Z[q] as number) + z * (G[q] as number);
          }
        }
      }
      costs[k] = (costs[k] as number) + this.#importance * (quotient(A, B, size) - (this.#ridges[k] as number));
    }
  }

  /** The channel leaves, or comes back. */
  sweep(k: number, leaves: boolean): void {
    const at = this.#places[k] as readonly number[];
    const [n, b] = [this.#n, at.length];
    if (b === 0) return;
    const [M, U] = [this.#M, this.#U];
    const D = inverseOf(leaves ? blockOf(M, n, at) : this.#minus(at), b, 0).matrix;
    if (!leaves) for (let i = 0; i < D.length; i++) D[i] = -(D[i] as number);
    const [MK, UK, UKK] = [rowsOf(M, n, at), rowsOf(U, n, at), blockOf(U, n, at)];
    // M_ij − M_ik D M_kj and T_j − T_k F_j with F = D M_k·; of T only U is held: U − YᵀF − FᵀY with Y = U_k· − ½ U_kk F.
    const F = times(D, MK, b, n);
    const half = times(UKK, F, b, n);
    const Y = Float64Array.from(UK, (u, i) => u - (half[i] as number) / 2);
    const [newM, newU] = [
      F.slice(),
      times(
        D,
        UK.map((u, i) => u - (half[i] as number)),
        b,
        n,
      ),
    ];
    for (let r = 0; r < b; r++) for (const p of at) MK[r * n + p] = F[r * n + p] = Y[r * n + p] = 0;
    for (let i = 0; i < n; i++) {
      const row = i * n;
      for (let r = 0; r < b; r++) {
        const from = r * n;
        const [f, y] = [F[from + i] as number, Y[from + i] as number];
        if (f === 0 && y === 0) continue;
        for (let j = i; j < n; j++) {
          M[row + j] = (M[row + j] as number) - f * (MK[from + j] as number);
          U[row + j] = (U[row + j] as number) - y * (F[from + j] as number) - f * (Y[from + j] as number);
        }
      }
    }
    const DU = times(times(D, UKK, b, b), D, b, b);
    const sign = leaves ? 1 : -1;
    at.forEach((p, r) => {
      for (let j = 0; j < n; j++) {
        const to = Math.min(p, j) * n + Math.max(p, j);
        M[to] = sign * (newM[r * n + j] as number);
        U[to] = sign * (newU[r * n + j] as number);
      }
    });
    at.forEach((p, r) => {
      at.forEach((q, c) => {
        if (q < p) return;
        M[p * n + q] = -(D[r * b + c] as number);
        U[p * n + q] = DU[r * b + c] as number;
      });
    });
  }

  /** S of a channel that is out. */
  #minus(at: readonly number[]): Float64Array {
    return blockOf(this.#M, this.#n, at).map((m) => -m);
  }
}
