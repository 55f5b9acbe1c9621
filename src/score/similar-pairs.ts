/** The pairs loop of the similar-channel method: which channel leaves into which, one after the other. */
import { type Distance, distance, dot, l1Norm, type Matrix, meanFactor } from "./similar-distance.js";

export interface PairRule {
  readonly rule: "pair-distance" | "srinivas-babu";
  readonly target: Distance;
  readonly next: Distance | "none";
  readonly combine: "sum" | "product";
  readonly normalise: "mean" | "none" | "layerMax";
  /** Add the outgoing slice of the one that leaves to that of the one that stays. */
  readonly merge: boolean;
  /** Let a channel stand for a positive multiple of itself. */
  readonly scaleAware: boolean;
}

/** One removal: `leaves` goes, `stays` is its closest channel, `scale` times which it is. */
export interface PairStep {
  readonly leaves: number;
  readonly stays: number;
  readonly scale: number;
  readonly saliency: number;
}

/** Which of a pair leaves, by which multiple, and what that costs. */
interface Pairing {
  readonly saliency: number;
  readonly leaves: number;
  readonly stays: number;
  readonly scale: number;
}

/** Upper limits of both distances over a layer, for `normalise: layerMax`. */
export interface Maxima {
  readonly target: number;
  readonly next: number;
}

/**
 * Channels that may pair: filters t (with biases) and outgoing slices a, one row each.
 *
 * Saliency of a pair, j the one that leaves:
 *   pair-distance    d_T(t_j, t_i) ⊕ d_N(a_j, a_i), ⊕ a sum or a product, j the one with the smaller ‖a‖₁·‖t‖₁;
 *   srinivas-babu    ⟨a_j²⟩·‖t_j − t_i‖², j the cheaper of the two.
 * scaleAware puts α·t_i for t_i, and α·a_j for a_j, with α = ⟨t_i, t_j⟩/‖t_i‖²; pairs with α ≤ 0 are none.
 *
 * Memory is C²·16 bytes; time O(C²·length) for the first matrix and as much at most for the updates after merging.
 */
export class PairSearch {
  readonly #rule: PairRule;
  readonly #count: number;
  readonly #t: Matrix;
  /** Written to when channels merge: this search owns it. */
  readonly #a: Matrix;
  readonly #alive: Uint8Array;
  readonly #strength: Float64Array;
  /** ‖t‖² and, kept up to date, ‖a‖² of each channel. */
  readonly #targetSquares: Float64Array;
  readonly #nextSquares: Float64Array;
  /** d_T of unscaled pairs, which merging leaves as it is. */
  readonly #targetDistance: Float64Array | undefined;
  #factors: Maxima = { target: 1, next: 1 };
  #saliency = new Float64Array(0);
  readonly #nearest: Int32Array;

  constructor(count: number, target: Matrix, next: Matrix, rule: PairRule) {
    this.#rule = rule;
    this.#count = count;
    this.#t = target;
    this.#a = { rows: next.rows.slice(), length: next.length };
    this.#alive = new Uint8Array(count).fill(1);
    this.#strength = Float64Array.from({ length: count }, (_, k) => this.#strengthOf(k));
    this.#targetSquares = Float64Array.from({ length: count }, (_, k) => dot(target, k, k));
    this.#nextSquares = Float64Array.from({ length: count }, (_, k) => dot(next, k, k));
    this.#nearest = new Int32Array(count).fill(-1);
    if (!rule.scaleAware) {
      const kind = rule.rule === "pair-distance" ? rule.target : "l2²";
      const d = new Float64Array(count * count);
      for (let i = 0; i < count; i++) {
        for (let j = i + 1; j < count; j++) d[i * count + j] = d[j * count + i] = distance(kind, target, i, j, 1);
      }
      this.#targetDistance = d;
    }
  }

  /** ‖a‖₁·‖t‖₁ of each channel: what is lost, at most, when it leaves without a partner. */
  get strength(): Float64Array {
    return this.#strength;
  }

  /** The largest d_T and d_N of any pair, before anything is merged. */
  maxima(): Maxima {
    let target = 0;
    let next = 0;
    for (let i = 0; i < this.#count; i++) {
      for (let j = i + 1; j < this.#count; j++) {
        target = Math.max(target, this.#targetDistance?.[i * this.#count + j] ?? distance(this.#rule.target, this.#t, i, j, 1));
        if (this.#rule.next !== "none") next = Math.max(next, distance(this.#rule.next, this.#a, i, j, 1));
      }
    }
    return { target, next };
  }

  /** Computes all saliencies. `maxima` are those of the layer, used by `normalise: layerMax` alone. */
  start(maxima: Maxima): void {
    const { target, next, normalise } = this.#rule;
    if (normalise === "mean") {
      this.#factors = { target: meanFactor(target, this.#t.length), next: next === "none" ? 1 : meanFactor(next, this.#a.length) };
    } else if (normalise === "layerMax") {
      this.#factors = { target: 1 / (maxima.target || 1), next: 1 / (maxima.next || 1) };
    }
    const n = this.#count;
    this.#saliency = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let j = i + 1; j < n; j++) this.#saliency[i * n + j] = this.#saliency[j * n + i] = this.#pair(i, j).saliency;
    for (let i = 0; i < n; i++) this.#findNearest(i);
  }

  /** The saliency of every pair, symmetric, with a zero diagonal; row-major. Call `start` first. */
  get saliencies(): Float64Array {
    return this.#saliency;
  }

  /** The pair of least saliency, the earliest channels first among equals; undefined when one channel is left. */
  cheapest(): PairStep | undefined {
    let best = -1;
    for (let i = 0; i < this.#count; i++) {
      if (!this.#alive[i] || (this.#nearest[i] as number) < 0) continue;
      if (best < 0 || this.#at(i) < this.#at(best)) best = i;
    }
    return best < 0 ? undefined : this.#pair(best, this.#nearest[best] as number);
  }

  /** Carries out a step of `cheapest`. */
  take({ leaves, stays, scale }: PairStep): void {
    this.#alive[leaves] = 0;
    if (this.#rule.merge) {
      const { rows, length } = this.#a;
      for (let k = 0; k < length; k++)
        rows[stays * length + k] = (rows[stays * length + k] as number) + scale * (rows[leaves * length + k] as number);
      this.#strength[stays] = this.#strengthOf(stays);
      this.#nextSquares[stays] = dot(this.#a, stays, stays);
      const n = this.#count;
      for (let r = 0; r < n; r++) {
        if (this.#alive[r] && r !== stays) this.#saliency[stays * n + r] = this.#saliency[r * n + stays] = this.#pair(stays, r).saliency;
      }
    }
    for (let r = 0; r < this.#count; r++) {
      if (!this.#alive[r]) continue;
      const near = this.#nearest[r] as number;
      if (r === stays || near === leaves || near === stays) this.#findNearest(r);
      else if (this.#rule.merge && near >= 0) {
        const s = this.#saliency[r * this.#count + stays] as number;
        if (s < this.#at(r) || (s === this.#at(r) && stays < near)) this.#nearest[r] = stays;
      } else if (near < 0) this.#findNearest(r);
    }
  }

  /** Channels still there. */
  survivors(): number[] {
    return Array.from({ length: this.#count }, (_, k) => k).filter((k) => this.#alive[k] === 1);
  }

  #at(i: number): number {
    return this.#saliency[i * this.#count + (this.#nearest[i] as number)] as number;
  }

  #findNearest(i: number): void {
    let best = -1;
    let least = Number.POSITIVE_INFINITY;
    for (let j = 0; j < this.#count; j++) {
      if (j === i || !this.#alive[j]) continue;
      const s = this.#saliency[i * this.#count + j] as number;
      if (s < least) {
        least = s;
        best = j;
      }
    }
    this.#nearest[i] = best;
  }

  #strengthOf(k: number): number {
    const t = l1Norm(this.#t, k);
    return this.#a.length > 0 ? t * l1Norm(this.#a, k) : t;
  }

  #pair(i: number, j: number): Pairing {
    if (this.#rule.rule === "srinivas-babu") {
      const a = this.#srinivasBabu(i, j);
      const b = this.#srinivasBabu(j, i);
      // Equal costs: the later channel leaves, whichever was asked first.
      if (a.saliency === b.saliency) return j > i ? a : b;
      return a.saliency < b.saliency ? a : b;
    }
    const [si, sj] = [this.#strength[i] as number, this.#strength[j] as number];
    const iStays = si > sj || (si === sj && i < j);
    return iStays ? this.#pairDistance(i, j) : this.#pairDistance(j, i);
  }

  #pairDistance(stays: number, leaves: number): Pairing {
    const { target, next, combine } = this.#rule;
    const scale = this.#scale(stays, leaves);
    if (scale <= 0) return this.#noMultiple(stays, leaves);
    const dT = this.#factors.target * this.#targetOf(target, stays, leaves, scale);
    if (next === "none") return { saliency: dT, leaves, stays, scale };
    const dN = this.#factors.next * distance(next, this.#a, leaves, stays, scale);
    return { saliency: combine === "sum" ? dT + dN : dT * dN, leaves, stays, scale };
  }

  #srinivasBabu(stays: number, leaves: number): Pairing {
    const scale = this.#scale(stays, leaves);
    if (scale <= 0) return this.#noMultiple(stays, leaves);
    const outgoing = this.#a.length > 0 ? (this.#nextSquares[leaves] as number) / this.#a.length : 1;
    const per = this.#rule.normalise === "mean" && this.#t.length > 0 ? this.#t.length : 1;
    return { saliency: (outgoing * this.#targetOf("l2²", stays, leaves, scale)) / per, leaves, stays, scale };
  }

  #targetOf(kind: Distance, stays: number, leaves: number, scale: number): number {
    return this.#targetDistance?.[stays * this.#count + leaves] ?? distance(kind, this.#t, stays, leaves, scale);
  }

  /** How many times the one that stays the other is, in the least-squares sense. */
  #scale(stays: number, leaves: number): number {
    if (!this.#rule.scaleAware) return 1;
    const size = this.#targetSquares[stays] as number;
    const alpha = size > 0 ? dot(this.#t, stays, leaves) / size : 0;
    // Equal filters merge exactly, without the rounding of the quotient.
    return Math.abs(alpha - 1) < 1e-12 ? 1 : alpha;
  }

  /** Nothing is a positive multiple here, but a channel that is always zero costs nothing to lose. */
  #noMultiple(stays: number, leaves: number): Pairing {
    const isZero = this.#targetSquares[leaves] === 0;
    return { saliency: isZero ? 0 : Number.POSITIVE_INFINITY, leaves, stays, scale: 0 };
  }
}
