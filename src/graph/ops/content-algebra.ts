/** Arithmetic on the elements of shape-like tensors: integers that may be symbolic (see dim.ts). */
import { type Dim, exactDiv, floorDiv, isKnown, opaque, sub } from "../dim.js";
import { bitsOf, type DType, isFloat } from "../dtype.js";
import type { OpContext } from "../op.js";

/** Longest vector that is followed element by element; shapes are far shorter. */
const LONGEST = 64;

/**
 * Elements of input `i` when it is a scalar or vector of (possibly symbolic) integers.
 *
 * Float constants that hold integers count too: exporters scale sizes in float (Shape, Cast, Mul, Floor, Cast).
 * Sizes beyond 2^24, where float32 would round, do not occur as extents.
 */
export function elements(op: OpContext, i: number): readonly Dim[] | undefined {
  const content = op.content(i);
  if (content) return content;
  const constant = op.constant(i);
  if (!constant || constant.dims.length > 1 || constant.size > LONGEST) return undefined;
  if (!/^(u?int|bool|float|bfloat16)/.test(constant.dtype) || /^float[48]/.test(constant.dtype)) return undefined;
  const numbers = constant.ints();
  return numbers.every(Number.isSafeInteger) ? numbers : undefined;
}

/** Applies `f` to contents that broadcast as scalars and vectors; undefined as soon as one element is. */
export function zip(contents: readonly (readonly Dim[] | undefined)[], f: (...xs: Dim[]) => Dim | undefined): Dim[] | undefined {
  let length = 1;
  for (const c of contents) {
    if (!c) return undefined;
    if (c.length !== 1) {
      if (length !== 1 && length !== c.length) return undefined;
      length = c.length;
    }
  }
  const out: Dim[] = [];
  for (let k = 0; k < length; k++) {
    const value = f(...contents.map((c) => (c as readonly Dim[])[(c as readonly Dim[]).length === 1 ? 0 : k] as Dim));
    if (value === undefined || (isKnown(value) && !Number.isSafeInteger(value))) return undefined;
    // Not -0, which is no integer of its own.
    out.push(isKnown(value) ? value + 0 : value);
  }
  return out;
}

/** Largest integer up to which a float type holds every integer. */
const EXACT_INTEGERS: Partial<Record<DType, number>> = { float32: 2 ** 24, float64: 2 ** 53, float16: 2 ** 11, bfloat16: 2 ** 8 };

/** `content` when a tensor of `dtype` holds it exactly, without wrapping or rounding; else undefined. */
export function fitting(dtype: DType | undefined, content: readonly Dim[] | undefined): readonly Dim[] | undefined {
  if (!content || dtype === undefined) return undefined;
  // Truth values that are not decided yet are opaque terms of their own.
  if (dtype === "bool") return content;
  const [low, high] = range(dtype);
  const fits = (d: Dim) => (isKnown(d) ? Number.isInteger(d) && d >= low && d <= high : high > 2 ** 16 && (low < 0 || isNonNegative(d)));
  return content.every(fits) ? content : undefined;
}

function range(dtype: DType): readonly [number, number] {
  if (isFloat(dtype)) {
    const limit = EXACT_INTEGERS[dtype] ?? 0;
    return [-limit, limit];
  }
  const bits = bitsOf(dtype);
  return dtype.startsWith("u") ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
}

/**
 * True when `d` cannot be negative. Symbols stand for extents, so a polynomial without a minus sign qualifies;
 * anything else is merely not known.
 */
export function isNonNegative(d: Dim): boolean {
  return isKnown(d) ? d >= 0 : !d.includes("-");
}

/** a - b >= 0 for every assignment of extents. */
function isAtLeast(a: Dim, b: Dim): boolean {
  return isNonNegative(sub(a, b));
}

/** Integer division as C does it: towards zero. Undefined for division by zero. */
export function quotient(a: Dim, b: Dim): Dim | undefined {
  if (b === 0) return undefined;
  if (isKnown(a) && isKnown(b)) return Math.trunc(a / b);
  const exact = exactDiv(a, b);
  if (exact !== undefined) return exact;
  // floor and truncation agree only where nothing is negative.
  if (isKnown(b) && b > 0 && isNonNegative(a)) return floorDiv(a, b);
  return opaque("div", [a, b]);
}

/** Remainder with the sign of the divisor (Mod with fmod = 0). */
export function remainder(a: Dim, b: Dim): Dim | undefined {
  if (b === 0) return undefined;
  if (isKnown(a) && isKnown(b)) return a - b * Math.floor(a / b);
  return exactDiv(a, b) === undefined ? opaque("mod", [a, b]) : 0;
}

export function larger(a: Dim, b: Dim): Dim {
  if (isAtLeast(a, b)) return a;
  return isAtLeast(b, a) ? b : opaque("max", [a, b].sort());
}

export function smaller(a: Dim, b: Dim): Dim {
  if (isAtLeast(a, b)) return b;
  return isAtLeast(b, a) ? a : opaque("min", [a, b].sort());
}

/** 1 or 0 where it can be decided for every assignment of extents, else an opaque truth value. */
export function equals(a: Dim, b: Dim): Dim {
  const d = sub(a, b);
  if (isKnown(d)) return d === 0 ? 1 : 0;
  // N == -1 is false for every extent N: the usual test for "keep this dimension" in Expand and Reshape.
  if (isAtLeast(sub(a, 1), b) || isAtLeast(sub(b, 1), a)) return 0;
  return opaque("equal", [a, b].sort());
}

export function isLess(a: Dim, b: Dim): Dim {
  if (isAtLeast(sub(b, 1), a)) return 1;
  return isAtLeast(a, b) ? 0 : opaque("less", [a, b]);
}

export const isLessOrEqual = (a: Dim, b: Dim): Dim => negation(isLess(b, a));

/** Logical not of a truth value. */
export function negation(a: Dim): Dim {
  return isKnown(a) ? (a === 0 ? 1 : 0) : opaque("not", [a]);
}

/** condition ? a : b */
export function choice(condition: Dim, a: Dim, b: Dim): Dim {
  if (isKnown(condition)) return condition === 0 ? b : a;
  return a === b ? a : opaque("where", [condition, a, b]);
}
