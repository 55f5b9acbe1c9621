/** How far two tensors are apart. */
import { VerificationError } from "../errors.js";
import type { Tensor } from "../graph/tensor.js";

/**
 * Distances of `a` from the reference `b`, over the elements that are finite in both.
 *
 * Elements that are NaN in both, or the same infinity in both, count as equal. Where only one is finite, or the two
 * are not the same non-finite number, `nonFinite.different` counts it and `maxAbs` and `maxRel` are Infinity.
 */
export interface Difference {
  /** max|a - b|; 0 for empty tensors. */
  readonly maxAbs: number;
  /** max|a - b| / max|b|: relative to the tensor, not to each element. 0 if nothing differs, Infinity if b is all zero and a is not. */
  readonly maxRel: number;
  /** max|b|. */
  readonly maxReference: number;
  /** a·b / (|a||b|) in [-1, 1]; 1 if both are all zero, 0 if one is. */
  readonly cosine: number;
  /** Share of rows along the last axis whose largest element is at the same index; 1 if there are no rows. Scalars are one row. */
  readonly argmax: number;
  readonly nonFinite: { readonly equal: number; readonly different: number };
}

type Numbers = ArrayLike<number> | ArrayLike<bigint>;

/**
 * Compares `a` with the reference `b`. Element types may differ (float16 with float32); int64 is compared exactly.
 *
 * @throws VerificationError DIFFERENCE_SHAPE if the dims differ; ModelError for strings, complex and fp8.
 */
export function difference(a: Tensor, b: Tensor): Difference {
  if (a.dims.length !== b.dims.length || a.dims.some((d, i) => d !== b.dims[i])) {
    throw new VerificationError("DIFFERENCE_SHAPE", `Tensors of different dims were compared: [${a.dims}] with [${b.dims}].`);
  }
  const exact = isBig(a) && isBig(b);
  const x: Numbers = exact ? (a.data as BigInt64Array) : a.numbers();
  const y: Numbers = exact ? (b.data as BigInt64Array) : b.numbers();
  return differenceOf(x, y, b.dims.at(-1) ?? 1);
}

/** The same over plain arrays, in rows of `width`. */
export function differenceOf(a: Numbers, b: Numbers, width: number): Difference {
  let maxAbs = 0;
  let maxA = 0;
  let maxB = 0;
  let equal = 0;
  let different = 0;
  for (let i = 0; i < b.length; i++) {
    const p = a[i] as number | bigint;
    const q = b[i] as number | bigint;
    const x = Number(p);
    const y = Number(q);
    if (Number.isFinite(x) && Number.isFinite(y)) {
      // A difference of large int64 is lost once they are numbers.
      const d = typeof p === "bigint" && typeof q === "bigint" ? Math.abs(Number(p - q)) : Math.abs(x - y);
      if (d > maxAbs) maxAbs = d;
      if (Math.abs(x) > maxA) maxA = Math.abs(x);
      if (Math.abs(y) > maxB) maxB = Math.abs(y);
    } else if (Object.is(x, y)) equal++;
    else different++;
  }
  if (different > 0) maxAbs = Number.POSITIVE_INFINITY;
  return {
    maxAbs,
    maxRel: maxAbs === 0 ? 0 : maxAbs / maxB,
    maxReference: maxB,
    cosine: cosineOf(a, b, maxA, maxB),
    argmax: argmaxShare(a, b, width),
    nonFinite: { equal, different },
  };
}

/** Scaled by the largest elements, so that squares of large float64 do not overflow. */
function cosineOf(a: Numbers, b: Numbers, maxA: number, maxB: number): number {
  if (maxA === 0 || maxB === 0) return maxA === maxB ? 1 : 0;
  let ab = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < b.length; i++) {
    const x = Number(a[i]) / maxA;
    const y = Number(b[i]) / maxB;
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return Math.max(-1, Math.min(1, ab / Math.sqrt(aa * bb)));
}

function argmaxShare(a: Numbers, b: Numbers, width: number): number {
  const rows = width === 0 ? 0 : b.length / width;
  if (rows === 0) return 1;
  let same = 0;
  for (let r = 0; r < rows; r++) if (argmax(a, r * width, width) === argmax(b, r * width, width)) same++;
  return same / rows;
}

/** Index, from `start`, of the largest of `width` elements; the lowest of equals. NaN is never the largest; 0 if all are NaN. */
export function argmax(values: Numbers, start = 0, width: number = values.length - start): number {
  let best = -1;
  for (let i = 0; i < width; i++) {
    const v = values[start + i] as number | bigint;
    if (Number.isNaN(Number(v))) continue;
    if (best < 0 || v > (values[start + best] as number | bigint)) best = i;
  }
  return Math.max(0, best);
}

function isBig(t: Tensor): boolean {
  return t.dtype === "int64" || t.dtype === "uint64";
}
