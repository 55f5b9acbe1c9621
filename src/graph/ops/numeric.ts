/**
 * Values of element-wise and reducing ops on constants, in double precision, rounded once to the element type.
 *
 * Every function gives undefined rather than an inexact answer: int64 beyond ±2^53, an integer result outside what its
 * type or a double holds, an element type without numbers. The node then stays in the graph and the runtime computes it.
 */
import { bitsOf, type DType, isInteger } from "../dtype.js";
import { Tensor } from "../tensor.js";

const NUMERIC: ReadonlySet<DType> = new Set<DType>([
  "float32",
  "float64",
  "float16",
  "bfloat16",
  "bool",
  "int8",
  "uint8",
  "int16",
  "uint16",
  "int32",
  "uint32",
  "int64",
  "uint64",
]);

/** Whether elements of this type are read and written as numbers here. */
export function isNumeric(dtype: DType): boolean {
  return NUMERIC.has(dtype);
}

/** The elements as numbers; undefined when the type has none or one of them is not exact in a double. */
export function exactNumbers(t: Tensor): Float32Array | Float64Array | undefined {
  if (!isNumeric(t.dtype)) return undefined;
  const x = t.numbers();
  // Tensor.numbers() saturates, so the bound itself already stands for "beyond".
  if (bitsOf(t.dtype) === 64 && isInteger(t.dtype) && x.some((v) => Math.abs(v) >= Number.MAX_SAFE_INTEGER)) return undefined;
  return x;
}

/** A tensor of `dtype`; integers wrap as the type does. Undefined when an element was not exact or is NaN in an integer type. */
export function store(dtype: DType, dims: readonly number[], values: Float64Array): Tensor | undefined {
  if (!isNumeric(dtype)) return undefined;
  if (isInteger(dtype)) {
    for (const v of values) if (Math.abs(v) >= Number.MAX_SAFE_INTEGER || !Number.isInteger(v)) return undefined;
    if (dtype === "uint64" && values.some((v) => v < 0)) return undefined;
  }
  // The runtime computes half types in float32 and rounds again, which is not always one rounding.
  const half = dtype === "float16" || dtype === "bfloat16";
  return Tensor.fromNumbers(dtype, dims, half ? Float32Array.from(values) : values);
}

/** `f` of every element. */
export function mapElements(x: Tensor, dtype: DType, f: (v: number) => number): Tensor | undefined {
  const numbers = exactNumbers(x);
  return numbers && store(dtype, x.dims, Float64Array.from(numbers, f));
}

/** `f` over tensors broadcast together. `f` may return NaN to refuse an integer result. */
export function mapBroadcast(inputs: readonly Tensor[], dtype: DType, f: (...v: number[]) => number): Tensor | undefined {
  const numbers = inputs.map(exactNumbers);
  if (numbers.some((n) => n === undefined)) return undefined;
  const dims = broadcastDims(inputs.map((t) => t.dims));
  const from = inputs.map((t) => broadcastOffsets(t.dims, dims));
  const out = new Float64Array(dims.reduce((a, b) => a * b, 1));
  const args = inputs.map(() => 0);
  for (let i = 0; i < out.length; i++) {
    for (let k = 0; k < args.length; k++) args[k] = numbers[k]?.[from[k]?.[i] as number] as number;
    out[i] = f(...args);
  }
  return store(dtype, dims, out);
}

/** Broadcast of dims already known to be compatible. */
export function broadcastDims(all: readonly (readonly number[])[]): number[] {
  const rank = Math.max(0, ...all.map((d) => d.length));
  return Array.from({ length: rank }, (_, i) => {
    let n = 1;
    for (const d of all) {
      const extent = d[i - rank + d.length] ?? 1;
      if (extent !== 1) n = extent;
    }
    return n;
  });
}

/** For each element of `to`, the flat index of the element of `dims` it reads. */
export function broadcastOffsets(dims: readonly number[], to: readonly number[]): Int32Array {
  const stride = to.map(() => 0);
  let step = 1;
  for (let a = dims.length - 1; a >= 0; a--) {
    const extent = dims[a] as number;
    if (extent !== 1) stride[a - dims.length + to.length] = step;
    step *= extent;
  }
  const out = new Int32Array(to.reduce((a, b) => a * b, 1));
  const index = to.map(() => 0);
  let at = 0;
  for (let i = 0; i < out.length; i++) {
    out[i] = at;
    for (let a = to.length - 1; a >= 0; a--) {
      index[a] = (index[a] as number) + 1;
      at += stride[a] as number;
      if ((index[a] as number) < (to[a] as number)) break;
      at -= (stride[a] as number) * (to[a] as number);
      index[a] = 0;
    }
  }
  return out;
}

/** `f` of the elements of `x` that share a position on the axes that stay; `axes` count from the front and are distinct. */
export function reduceElements(x: Tensor, axes: readonly number[], f: (v: Float64Array) => number): Float64Array | undefined {
  const numbers = exactNumbers(x);
  if (!numbers || numbers.length === 0) return undefined;
  const kept = x.dims.map((d, a) => (axes.includes(a) ? 1 : d));
  const cells = kept.reduce((a, b) => a * b, 1);
  const cellOf = broadcastOffsets(kept, x.dims);
  const each = numbers.length / cells;
  const gathered = new Float64Array(numbers.length);
  const filled = new Int32Array(cells);
  for (let i = 0; i < numbers.length; i++) {
    const cell = cellOf[i] as number;
    gathered[cell * each + (filled[cell] as number)] = numbers[i] as number;
    filled[cell] = (filled[cell] as number) + 1;
  }
  return Float64Array.from({ length: cells }, (_, c) => f(gathered.subarray(c * each, (c + 1) * each)));
}

/** Rounds to the nearest integer, halves to even. */
export function roundEven(x: number): number {
  const f = Math.floor(x);
  const d = x - f;
  return d > 0.5 || (d === 0.5 && f % 2 !== 0) ? f + 1 : Object.is(x, -0) ? x : f;
}

/** The error function to double precision: Maclaurin series near 0, continued fraction of erfc in the tails. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(x)) return x;
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = x;
    let total = x;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(total); n++) {
      term *= (-x * x) / n;
      total += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * total;
  }
  let fraction = 0;
  for (let k = 60; k >= 1; k--) fraction = k / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}
