/** Data movement on constants: every op that only moves elements is a list of source positions. */
import { bitsOf } from "./dtype.js";
import { Tensor } from "./tensor.js";

/** Row-major strides, in elements. */
export function stridesOf(dims: readonly number[]): number[] {
  const out = new Array<number>(dims.length);
  let step = 1;
  for (let a = dims.length - 1; a >= 0; a--) {
    out[a] = step;
    step *= dims[a] as number;
  }
  return out;
}

export function sizeOf(dims: readonly number[]): number {
  return dims.reduce((n, d) => n * d, 1);
}

/**
 * Source positions of a strided view: element [i, j, …] of `dims` comes from offset + i·steps[0] + j·steps[1] + ….
 * Transpose permutes steps, Slice scales them, Expand sets them to 0.
 */
export function strided(dims: readonly number[], steps: readonly number[], offset = 0): Float64Array {
  const out = new Float64Array(sizeOf(dims));
  const index = new Array<number>(dims.length).fill(0);
  let from = offset;
  for (let k = 0; k < out.length; k++) {
    out[k] = from;
    for (let a = dims.length - 1; a >= 0; a--) {
      const step = steps[a] as number;
      const next = (index[a] as number) + 1;
      if (next < (dims[a] as number)) {
        index[a] = next;
        from += step;
        break;
      }
      from -= step * (next - 1);
      index[a] = 0;
    }
  }
  return out;
}

/** The index along each axis of flat position `k`. */
export function unravel(k: number, dims: readonly number[]): number[] {
  const out = new Array<number>(dims.length);
  let rest = k;
  for (let a = dims.length - 1; a >= 0; a--) {
    const d = dims[a] as number;
    out[a] = rest % d;
    rest = Math.floor(rest / d);
  }
  return out;
}

/**
 * The tensor of `dims` whose element k is element positions[k] of `sources` laid end to end; a negative position
 * gives zero. Sources have one dtype. Any dtype but 4-bit floats, for which (and for strings with zeros) the result
 * is undefined.
 */
export function rearrange(sources: readonly Tensor[], dims: readonly number[], positions: ArrayLike<number>): Tensor | undefined {
  const first = sources[0];
  if (!first || sources.some((s) => s.dtype !== first.dtype)) return undefined;
  if (first.dtype === "string") {
    const all = sources.flatMap((s) => s.strings);
    const picked = Array.from(positions, (p) => all[p]);
    return picked.every((s) => s !== undefined) ? Tensor.ofStrings(dims, picked) : undefined;
  }
  if (bitsOf(first.dtype) < 8) {
    if (first.dtype === "float4e2m1") return undefined;
    const all = sources.flatMap((s) => s.ints());
    return Tensor.fromNumbers(
      first.dtype,
      dims,
      Array.from(positions, (p) => (p < 0 ? 0 : (all[p] as number))),
    );
  }
  return Tensor.ofBytes(first.dtype, dims, pickBytes(sources, bitsOf(first.dtype) / 8, positions));
}

function pickBytes(sources: readonly Tensor[], width: number, positions: ArrayLike<number>): Uint8Array {
  const all = endToEnd(sources);
  const out = new Uint8Array(positions.length * width);
  if (width === 4 && all.byteOffset % 4 === 0) {
    const from = new Uint32Array(all.buffer, all.byteOffset, all.length / 4);
    const to = new Uint32Array(out.buffer);
    for (let k = 0; k < to.length; k++) to[k] = (positions[k] as number) < 0 ? 0 : (from[positions[k] as number] as number);
    return out;
  }
  for (let k = 0; k < positions.length; k++) {
    const at = (positions[k] as number) * width;
    if (at >= 0) for (let b = 0; b < width; b++) out[k * width + b] = all[at + b] as number;
  }
  return out;
}

function endToEnd(sources: readonly Tensor[]): Uint8Array {
  if (sources.length === 1) return (sources[0] as Tensor).bytes;
  const out = new Uint8Array(sources.reduce((n, s) => n + s.byteLength, 0));
  let at = 0;
  for (const s of sources) {
    out.set(s.bytes, at);
    at += s.byteLength;
  }
  return out;
}

/** [columns, rows] of `a` [rows, columns]. */
export function transposed(a: Float64Array, rows: number, columns: number): Float64Array {
  const out = new Float64Array(a.length);
  for (let r = 0, at = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = a[at++] as number;
  return out;
}
