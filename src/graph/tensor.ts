/** Constant data of a graph. Never written to after construction, so every clone of a graph shares it. */
import { internal, ModelError } from "../errors.js";
import { bitsOf, byteLengthOf, type DType } from "./dtype.js";
import { bf16ToFloat, f16ToFloat, floatToBf16, floatToF16 } from "./half.js";

export type NumericArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/**
 * An immutable tensor: dtype, dims, and little-endian packed bytes that are produced on first use.
 *
 * The bytes may come from a slice of the model file, from external data on disk, or from a computation (`take`):
 * all are lazy, so counting the parameters of a pruned model touches no weight. `origin` is the codec's own
 * record of how the tensor was stored; it survives only as long as the content does.
 */
export class Tensor {
  readonly dtype: DType;
  readonly dims: readonly number[];
  /** The protobuf message this tensor was decoded from, for byte-identical writing. Opaque to everybody but the codec. */
  readonly origin: unknown;
  #bytes: Uint8Array | undefined;
  #read: (() => Uint8Array) | undefined;
  #isTransient = false;
  #strings: readonly Uint8Array[] | undefined;

  private constructor(dtype: DType, dims: readonly number[], origin: unknown) {
    this.dtype = dtype;
    this.dims = Object.freeze([...dims]);
    this.origin = origin;
  }

  /** A tensor over bytes already at hand (not copied; the caller must not write to them again). */
  static ofBytes(dtype: DType, dims: readonly number[], bytes: Uint8Array, origin?: unknown): Tensor {
    const t = new Tensor(dtype, dims, origin);
    t.#bytes = t.#checked(bytes);
    return t;
  }

  /** A tensor whose bytes are read when first needed. `read` is called at most once, but for peek(). */
  static lazy(dtype: DType, dims: readonly number[], read: () => Uint8Array, origin?: unknown): Tensor {
    const t = new Tensor(dtype, dims, origin);
    t.#read = read;
    return t;
  }

  /**
   * A tensor whose bytes stay where they are: `read` is called at each use and its result is never kept, so that a model
   * of many such tensors takes the memory of the one at work. So it is with all that is derived from it.
   */
  static transient(dtype: DType, dims: readonly number[], read: () => Uint8Array, origin?: unknown): Tensor {
    const t = Tensor.lazy(dtype, dims, read, origin);
    t.#isTransient = true;
    return t;
  }

  /** A string tensor; elements are UTF-8 bytes, as ONNX keeps them. */
  static ofStrings(dims: readonly number[], strings: readonly Uint8Array[], origin?: unknown): Tensor {
    const t = new Tensor("string", dims, origin);
    if (strings.length !== t.size) throw badLength(t, strings.length, t.size);
    t.#strings = strings;
    return t;
  }

  /** A float32 tensor. */
  static floats(dims: readonly number[], data: Float32Array | readonly number[]): Tensor {
    const f = data instanceof Float32Array ? data : Float32Array.from(data);
    return Tensor.ofBytes("float32", dims, new Uint8Array(f.buffer, f.byteOffset, f.byteLength));
  }

  /** An int64 tensor. `dims` defaults to a vector. */
  static ints(values: readonly number[], dims: readonly number[] = [values.length]): Tensor {
    const b = BigInt64Array.from(values, (v) => BigInt(v));
    return Tensor.ofBytes("int64", dims, new Uint8Array(b.buffer));
  }

  /**
   * A tensor of `dtype` from plain numbers, rounded or wrapped as the type does.
   * @throws ModelError for dtypes that have no numeric view (string, complex, fp8, fp4), or when the count is not that of `dims`.
   */
  static fromNumbers(dtype: DType, dims: readonly number[], values: ArrayLike<number>): Tensor {
    const t = Tensor.ofBytes(dtype, dims, encodeNumbers(dtype, values));
    // Sub-byte types are padded to a byte, which hides a wrong count from the length check.
    if (values.length !== t.size) throw badLength(t, values.length, t.size);
    return t;
  }

  /** Number of elements. */
  get size(): number {
    let n = 1;
    for (const d of this.dims) n *= d;
    return n;
  }

  /** Bytes of the packed data, without reading it. For strings: the sum of their lengths. */
  get byteLength(): number {
    if (this.#strings) return this.#strings.reduce((n, s) => n + s.length, 0);
    return byteLengthOf(this.dtype, this.size);
  }

  /** The packed little-endian bytes. @throws ModelError if the stored length disagrees with the dims. */
  get bytes(): Uint8Array {
    if (this.#bytes === undefined) {
      if (this.dtype === "string") throw new ModelError("TENSOR_NO_BYTES", "A string tensor has no packed bytes.");
      const read = this.#read;
      if (!read) throw new ModelError("TENSOR_NO_DATA", `A ${this.dtype} tensor of dims [${this.dims}] has no data.`);
      const bytes = this.#checked(read());
      if (this.#isTransient) return bytes;
      this.#bytes = bytes;
      this.#read = undefined;
    }
    return this.#bytes;
  }

  /**
   * The packed bytes, as `bytes`, but not kept in memory if they were not there: for looking once at data that stays on
   * disk. @throws ModelError as `bytes` does.
   */
  peek(): Uint8Array {
    return this.#bytes === undefined && this.#read ? this.#checked(this.#read()) : this.bytes;
  }

  /** Elements of a string tensor. */
  get strings(): readonly Uint8Array[] {
    if (!this.#strings) throw new ModelError("TENSOR_NOT_STRING", `A ${this.dtype} tensor was read as strings.`);
    return this.#strings;
  }

  /** True when the bytes are in memory. */
  get isLoaded(): boolean {
    return this.#bytes !== undefined || this.#strings !== undefined;
  }

  /**
   * A typed view of the data: aligned copy only where the bytes are misaligned.
   * float16 and bfloat16 come as their Uint16 bits, fp8 and sub-byte types as packed Uint8.
   */
  get data(): NumericArray {
    const b = this.bytes;
    switch (this.dtype) {
      case "float32":
        return view(b, Float32Array);
      case "float64":
        return view(b, Float64Array);
      case "int8":
        return new Int8Array(b.buffer, b.byteOffset, b.length);
      case "int16":
        return view(b, Int16Array);
      case "uint16":
      case "float16":
      case "bfloat16":
        return view(b, Uint16Array);
      case "int32":
        return view(b, Int32Array);
      case "uint32":
        return view(b, Uint32Array);
      case "int64":
        return view(b, BigInt64Array);
      case "uint64":
        return view(b, BigUint64Array);
      case "complex64":
        return view(b, Float32Array);
      case "complex128":
        return view(b, Float64Array);
      default:
        return b;
    }
  }

  /**
   * All elements as numbers. Integers beyond ±2^53 saturate (INT64_MAX as "to the end" stays the largest number).
   * float32 and float64 are returned as views: do not write.
   * @throws ModelError for strings, complex, fp8 and fp4.
   */
  numbers(): Float32Array | Float64Array {
    if (this.dtype === "float32" || this.dtype === "float64") return this.data as Float32Array | Float64Array;
    return decodeNumbers(this);
  }

  /** The elements as plain integers; for shapes, axes, indices. */
  ints(): number[] {
    return Array.from(this.numbers());
  }

  /** The single element. @throws ModelError if there is not exactly one. */
  scalar(): number {
    const n = this.numbers();
    if (n.length !== 1) throw new ModelError("TENSOR_NOT_SCALAR", `Expected one element, got dims [${this.dims}].`);
    return n[0] as number;
  }

  /**
   * Lazily: the tensor restricted to `indices` along `axis` (indices may repeat, any order). Any dtype.
   * @throws InternalError for an axis or an index that the dims do not have.
   */
  take(axis: number, indices: readonly number[]): Tensor {
    const dims = this.dims.map((d, a) => (a === axis ? indices.length : d));
    const n = this.dims[axis];
    if (n === undefined) throw internal(`Axis ${axis} is taken of a tensor of dims [${this.dims}].`);
    // Out of range would read the next row, or leave zeros: wrong weights without a word.
    const wrong = indices.find((i) => !Number.isInteger(i) || i < 0 || i >= n);
    if (wrong !== undefined) throw internal(`Index ${wrong} is taken along axis ${axis} of a tensor of dims [${this.dims}].`);
    let outer = 1;
    for (let a = 0; a < axis; a++) outer *= this.dims[a] as number;
    let inner = 1;
    for (let a = axis + 1; a < this.dims.length; a++) inner *= this.dims[a] as number;
    if (this.dtype === "string") {
      const out: Uint8Array[] = [];
      for (let o = 0; o < outer; o++)
        for (const i of indices) for (let k = 0; k < inner; k++) out.push(this.strings[(o * n + i) * inner + k] as Uint8Array);
      return Tensor.ofStrings(dims, out);
    }
    return this.derive(dims, (src) => {
      const bits = bitsOf(this.dtype);
      const out = new Uint8Array(byteLengthOf(this.dtype, outer * indices.length * inner));
      if (bits < 8) {
        let at = 0;
        for (let o = 0; o < outer; o++)
          for (const i of indices) for (let k = 0; k < inner; k++) putBits(out, at++, bits, getBits(src, (o * n + i) * inner + k, bits));
        return out;
      }
      takeRows(src, out, (inner * bits) / 8, n, indices);
      return out;
    });
  }

  /** Lazily: a tensor of this dtype computed from this one's bytes, which it must not keep or change. Kept in memory only where this one is. */
  derive(dims: readonly number[], compute: (bytes: Uint8Array) => Uint8Array): Tensor {
    const read = () => compute(this.peek());
    return this.#isTransient ? Tensor.transient(this.dtype, dims, read) : Tensor.lazy(this.dtype, dims, read);
  }

  /** The same data under other dims. @throws ModelError if the element counts differ. */
  reshape(dims: readonly number[]): Tensor {
    const size = dims.reduce((a, b) => a * b, 1);
    if (size !== this.size) throw badLength(this, size, this.size);
    if (this.#strings) return Tensor.ofStrings(dims, this.#strings);
    return this.derive(dims, (bytes) => bytes);
  }

  #checked(bytes: Uint8Array): Uint8Array {
    const want = byteLengthOf(this.dtype, this.size);
    if (bytes.length !== want) throw badLength(this, bytes.length, want);
    return bytes;
  }
}

function badLength(t: Tensor, got: number, want: number): ModelError {
  return new ModelError("TENSOR_BAD_LENGTH", `A ${t.dtype} tensor of dims [${t.dims}] needs ${want} bytes or elements, but has ${got}.`, {
    hint: "The file is truncated or was written by a faulty exporter; export it again or check it with onnx.checker.",
  });
}

/** A view when aligned, else a copy: raw_data lies at an arbitrary offset of the file's buffer. */
function view<T extends NumericArray>(
  b: Uint8Array,
  A: { new (buffer: ArrayBufferLike, offset: number, length: number): T; readonly BYTES_PER_ELEMENT: number },
): T {
  const w = A.BYTES_PER_ELEMENT;
  if (b.byteOffset % w === 0) return new A(b.buffer, b.byteOffset, b.length / w);
  const copy = b.slice();
  return new A(copy.buffer, 0, copy.length / w);
}

/** Copies rows of `row` bytes: those at `indices` of each run of `n`, one run after the other. */
function takeRows(src: Uint8Array, out: Uint8Array, row: number, n: number, indices: readonly number[]): void {
  const outer = n * row === 0 ? 0 : src.length / (n * row);
  // Rows of a few words, as where the last axis is cut: a subarray for each would cost more than what it copies.
  if (row > 0 && row <= 64 && row % 4 === 0 && src.byteOffset % 4 === 0) {
    const from = new Uint32Array(src.buffer, src.byteOffset, src.length / 4);
    const to = new Uint32Array(out.buffer, out.byteOffset, out.length / 4);
    const words = row / 4;
    let at = 0;
    for (let o = 0; o < outer; o++) {
      const base = o * n * words;
      for (let k = 0; k < indices.length; k++) {
        const start = base + (indices[k] as number) * words;
        for (let w = 0; w < words; w++) to[at++] = from[start + w] as number;
      }
    }
    return;
  }
  let at = 0;
  for (let o = 0; o < outer; o++) {
    for (const i of indices) {
      const from = (o * n + i) * row;
      out.set(src.subarray(from, from + row), at);
      at += row;
    }
  }
}

function getBits(src: Uint8Array, i: number, bits: number): number {
  const per = 8 / bits;
  return ((src[Math.floor(i / per)] as number) >> ((i % per) * bits)) & ((1 << bits) - 1);
}

function putBits(out: Uint8Array, i: number, bits: number, v: number): void {
  const per = 8 / bits;
  const at = Math.floor(i / per);
  out[at] = (out[at] as number) | (v << ((i % per) * bits));
}

function decodeNumbers(t: Tensor): Float64Array {
  const out = new Float64Array(t.size);
  const d = t.data;
  switch (t.dtype) {
    case "int64":
    case "uint64": {
      const max = BigInt(Number.MAX_SAFE_INTEGER);
      for (let i = 0; i < out.length; i++) {
        const v = d[i] as bigint;
        out[i] = v > max ? Number.MAX_SAFE_INTEGER : v < -max ? -Number.MAX_SAFE_INTEGER : Number(v);
      }
      return out;
    }
    case "float16":
      for (let i = 0; i < out.length; i++) out[i] = f16ToFloat(d[i] as number);
      return out;
    case "bfloat16":
      for (let i = 0; i < out.length; i++) out[i] = bf16ToFloat(d[i] as number);
      return out;
    case "int4":
    case "uint4":
    case "int2":
    case "uint2": {
      const bits = bitsOf(t.dtype);
      const half = 1 << (bits - 1);
      for (let i = 0; i < out.length; i++) {
        const v = getBits(t.bytes, i, bits);
        out[i] = t.dtype.startsWith("int") && v >= half ? v - 2 * half : v;
      }
      return out;
    }
    case "int8":
    case "uint8":
    case "int16":
    case "uint16":
    case "int32":
    case "uint32":
    case "bool":
      for (let i = 0; i < out.length; i++) out[i] = d[i] as number;
      return out;
    default:
      throw new ModelError("TENSOR_NOT_NUMERIC", `A ${t.dtype} tensor of dims [${t.dims}] was read as numbers.`);
  }
}

function encodeNumbers(dtype: DType, v: ArrayLike<number>): Uint8Array {
  const n = v.length;
  const wrap = (a: NumericArray) => new Uint8Array(a.buffer as ArrayBuffer, a.byteOffset, a.byteLength);
  switch (dtype) {
    case "float32":
      return wrap(Float32Array.from(v));
    case "float64":
      return wrap(Float64Array.from(v));
    case "int8":
      return wrap(Int8Array.from(v));
    case "uint8":
      return wrap(Uint8Array.from(v));
    case "bool":
      return wrap(Uint8Array.from(v, (x) => (x ? 1 : 0)));
    case "int16":
      return wrap(Int16Array.from(v));
    case "uint16":
      return wrap(Uint16Array.from(v));
    case "int32":
      return wrap(Int32Array.from(v));
    case "uint32":
      return wrap(Uint32Array.from(v));
    case "int64":
      return wrap(BigInt64Array.from({ length: n }, (_, i) => toBig(v[i] as number)));
    case "uint64":
      return wrap(BigUint64Array.from({ length: n }, (_, i) => BigInt.asUintN(64, toBig(v[i] as number))));
    case "float16":
      return wrap(Uint16Array.from({ length: n }, (_, i) => floatToF16(v[i] as number)));
    case "bfloat16":
      return wrap(Uint16Array.from({ length: n }, (_, i) => floatToBf16(v[i] as number)));
    case "int4":
    case "uint4":
    case "int2":
    case "uint2": {
      const bits = bitsOf(dtype);
      const out = new Uint8Array(byteLengthOf(dtype, n));
      for (let i = 0; i < n; i++) putBits(out, i, bits, (v[i] as number) & ((1 << bits) - 1));
      return out;
    }
    default:
      throw new ModelError("TENSOR_NOT_NUMERIC", `A ${dtype} tensor cannot be made from numbers.`);
  }
}

/** Saturated "to the end" numbers become INT64_MAX again. */
function toBig(x: number): bigint {
  if (x >= Number.MAX_SAFE_INTEGER) return 9223372036854775807n;
  if (x <= -Number.MAX_SAFE_INTEGER) return -9223372036854775807n;
  return BigInt(Math.trunc(x));
}
