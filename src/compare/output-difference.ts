/** How far one output of two graphs is apart, gathered batch after batch in float64. */
import { isFloat } from "../graph/dtype.js";
import type { Tensor } from "../graph/tensor.js";
import { classesOf } from "../verify/accuracy.js";
import { argmax } from "../verify/difference.js";

/** Distances of b from a over the elements that are finite in both; a is the reference. */
export interface NumericDifference {
  readonly elements: number;
  /** max|a - b|; Infinity where only one is finite, or the two are not the same non-finite number. */
  readonly maxAbs: number;
  /** max|a - b| / max|a| over all runs: relative to the output, not to each element. */
  readonly maxRel: number;
  readonly meanAbs: number;
  /** Cosine of all elements seen as one vector; 1 if both are all zero, 0 if one is. */
  readonly cosine: number;
  /** 10·log₁₀(Σa² / Σ(a-b)²) in decibels; Infinity where nothing differs. */
  readonly snr: number;
  /** Elements that are not finite: the same in both, and not. */
  readonly nonFinite: { readonly equal: number; readonly different: number };
}

/** Rows of class scores compared as answers; for float outputs [N, C] (also [N, C, 1, 1] and [N, 1, 1, C]). */
export interface ScoreDifference {
  readonly rows: number;
  readonly classes: number;
  /** Share of rows whose largest score is at the same class; the lowest class of equal scores. */
  readonly agreement: number;
  /** Mean over rows of KL(p_a ‖ p_b) in nats. */
  readonly kl: number;
  readonly maxKl: number;
  /** "probabilities": every row was one already (not negative, sum 1), and was taken as it is; "logits": softmax was applied. */
  readonly kind: "logits" | "probabilities";
}

/** How far a sum of float16 probabilities may be from 1. */
const SUM_SLACK = 1e-3;
/** Probabilities below the smallest normal float32 count as that: a softmax that underflowed to 0 is not infinitely wrong. */
const LEAST = 2 ** -126;

export class OutputAccumulator {
  #elements = 0;
  #finite = 0;
  #maxAbs = 0;
  #maxA = 0;
  #sumAbs = 0;
  #aa = 0;
  #bb = 0;
  #ab = 0;
  #dd = 0;
  #equal = 0;
  #different = 0;
  #rows = 0;
  /** Undefined before the first run, 0 for an output that is not rows of scores in every run. */
  #classes: number | undefined;
  #same = 0;
  readonly #logits = new Divergence();
  readonly #probabilities = new Divergence();
  #areProbabilities = true;

  /**
   * Adds one run of both graphs; dims must be equal. `samples` is the number of rows a classifier would give.
   * Returns max|a - b| / max|a| of this run.
   */
  add(a: Tensor, b: Tensor, samples: number): number {
    const exact = isBig(a) && isBig(b);
    const x = exact ? (a.data as BigInt64Array) : a.numbers();
    const y = exact ? (b.data as BigInt64Array) : b.numbers();
    const worst = this.#addElements(x, y);
    const classes = (isFloat(a.dtype) ? classesOf(a, samples) : undefined) ?? 0;
    this.#classes = (this.#classes ?? classes) === classes ? classes : 0;
    if (this.#classes > 0) this.#addRows(x as Float64Array, y as Float64Array, classes);
    return worst;
  }

  #addElements(x: Numbers, y: Numbers): number {
    let worst = 0;
    let largest = 0;
    let [sum, aa, bb, ab, dd, finite] = [0, 0, 0, 0, 0, 0];
    for (let i = 0; i < x.length; i++) {
      const [p, q] = [x[i] as number | bigint, y[i] as number | bigint];
      const [a, b] = [Number(p), Number(q)];
      if (!Number.isFinite(a) || !Number.isFinite(b)) {
        if (Object.is(a, b)) this.#equal++;
        else {
          this.#different++;
          worst = Number.POSITIVE_INFINITY;
        }
        continue;
      }
      // A difference of large int64 is lost once they are numbers.
      const d = typeof p === "bigint" && typeof q === "bigint" ? Math.abs(Number(p - q)) : Math.abs(a - b);
      finite++;
      if (d > worst) worst = d;
      if (Math.abs(a) > largest) largest = Math.abs(a);
      sum += d;
      aa += a * a;
      bb += b * b;
      ab += a * b;
      dd += d * d;
    }
    // Batch sums are added as wholes: rounding grows with the number of batches, not of elements.
    this.#elements += x.length;
    this.#finite += finite;
    this.#sumAbs += sum;
    this.#aa += aa;
    this.#bb += bb;
    this.#ab += ab;
    this.#dd += dd;
    if (worst > this.#maxAbs) this.#maxAbs = worst;
    if (largest > this.#maxA) this.#maxA = largest;
    return worst === 0 ? 0 : worst / largest;
  }

  #addRows(x: Float64Array, y: Float64Array, classes: number): void {
    for (let start = 0; start + classes <= x.length; start += classes) {
      const [a, b] = [x.subarray(start, start + classes), y.subarray(start, start + classes)];
      this.#rows++;
      if (argmax(a) === argmax(b)) this.#same++;
      this.#logits.add(kl(softmax(a), softmax(b)));
      this.#areProbabilities &&= isProbability(a) && isProbability(b);
      if (this.#areProbabilities) this.#probabilities.add(kl(normalised(a), normalised(b)));
    }
  }

  numbers(): NumericDifference {
    return {
      elements: this.#elements,
      maxAbs: this.#maxAbs,
      maxRel: this.#maxAbs === 0 ? 0 : this.#maxAbs / this.#maxA,
      meanAbs: this.#finite === 0 ? 0 : this.#sumAbs / this.#finite,
      cosine: this.#cosine(),
      snr: this.#dd === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(this.#aa / this.#dd),
      nonFinite: { equal: this.#equal, different: this.#different },
    };
  }

  /** Undefined where the output holds no class scores. */
  scores(): ScoreDifference | undefined {
    if (!this.#classes || this.#rows === 0) return undefined;
    const divergence = this.#areProbabilities ? this.#probabilities : this.#logits;
    return {
      rows: this.#rows,
      classes: this.#classes,
      agreement: this.#same / this.#rows,
      kl: divergence.sum / this.#rows,
      maxKl: divergence.max,
      kind: this.#areProbabilities ? "probabilities" : "logits",
    };
  }

  #cosine(): number {
    if (this.#aa === 0 || this.#bb === 0) return this.#aa === this.#bb ? 1 : 0;
    return Math.max(-1, Math.min(1, this.#ab / Math.sqrt(this.#aa * this.#bb)));
  }
}

type Numbers = ArrayLike<number> | ArrayLike<bigint>;

class Divergence {
  sum = 0;
  max = 0;
  add(x: number): void {
    this.sum += x;
    if (x > this.max || Number.isNaN(x)) this.max = x;
  }
}

/** Shifted by the largest score, so that no exponential overflows. */
export function softmax(scores: ArrayLike<number>): Float64Array {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < scores.length; i++) largest = Math.max(largest, scores[i] as number);
  return normalised(Float64Array.from(scores, (s) => Math.exp(s - largest)));
}

/** KL(p ‖ q) = Σ p·ln(p/q) in nats; p and q sum to 1. */
export function kl(p: Float64Array, q: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const [a, b] = [p[i] as number, q[i] as number];
    if (a !== 0) sum += a * Math.log(Math.max(LEAST, a) / Math.max(LEAST, b));
  }
  // Rounding may leave equal rows a little below the 0 that Gibbs' inequality promises; NaN stays.
  return Math.max(0, sum);
}

function normalised(row: ArrayLike<number>): Float64Array {
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += row[i] as number;
  return Float64Array.from(row, (x) => x / sum);
}

function isProbability(row: ArrayLike<number>): boolean {
  let sum = 0;
  for (let i = 0; i < row.length; i++) {
    const x = row[i] as number;
    if (!(x >= 0)) return false;
    sum += x;
  }
  return Math.abs(sum - 1) <= SUM_SLACK;
}

function isBig(t: Tensor): boolean {
  return t.dtype === "int64" || t.dtype === "uint64";
}
