/** TensorProto, both ways: where the bytes of a tensor are, and how the typed fields spell them. */
import { ModelError } from "../errors.js";
import { bitsOf, byteLengthOf, type DType, dtypeOfWire, wireOfDtype } from "./dtype.js";
import { type Chunks, type Deferred, edit, type Item } from "./proto/edit.js";
import { TensorProto_DataLocation as DataLocation, StringStringEntryProto, TensorProto } from "./proto/generated/fields.js";
import { concatenate, FIXED32, FIXED64, Message, VARINT, type Wire } from "./proto/wire.js";
import { Tensor } from "./tensor.js";

/** A piece of a file beside the model. */
export interface ExternalData {
  /** Path relative to the model's folder, as the model spells it. */
  readonly location: string;
  readonly offset: number;
  /** Bytes; undefined means up to the end of the file. */
  readonly length: number | undefined;
  /** Whose data it is, for messages. */
  readonly tensor: string;
}

/** How the decoder gets at data outside the model. */
export interface TensorSource {
  /** Reads a piece of a file; called when the tensor is first needed. */
  readonly external?: ((data: ExternalData) => Uint8Array) | undefined;
  /** Called while decoding for each external tensor, to refuse it early. */
  readonly onExternal?: ((data: ExternalData) => void) | undefined;
}

const KIND = "TensorProto";

/** Bytes up to which an external tensor stays in memory once it was read: biases and shapes are read often, weights seldom. */
const LARGEST_KEPT = 2 ** 20;

/**
 * The tensor in a TensorProto, over the message's own bytes; numbers in typed fields are converted on first use.
 *
 * @param label what to call it in messages when it has no name
 * @throws ModelError for impossible dims and for data whose length disagrees with them.
 */
export function tensorOf(bytes: Uint8Array, label: string, source: TensorSource): { name: string; tensor: Tensor } {
  const m = new Message(bytes, KIND);
  const name = m.text(TensorProto.name);
  const called = name === "" ? label : name;
  const dims = checkedDims(m.ints(TensorProto.dims), called);
  const wire = m.int(TensorProto.dataType) ?? 0;
  const dtype = dtypeOfWire(wire) ?? "undefined";
  if (dtype === "undefined") {
    const unreadable = () => {
      throw new ModelError("TENSOR_UNKNOWN_DTYPE", `Tensor "${called}" has element type ${wire}, which this version cannot read.`, {
        at: { value: called },
        hint: "It can be carried through unchanged, but not computed with. Convert it to a type of ONNX IR 13 or older.",
      });
    };
    return { name, tensor: Tensor.lazy(dtype, dims, unreadable, bytes) };
  }
  if (dtype === "string") {
    const strings = m.contents(TensorProto.stringData);
    checkLength(called, dtype, dims, strings.length, product(dims), "elements");
    return { name, tensor: Tensor.ofStrings(dims, strings, bytes) };
  }
  const want = byteLengthOf(dtype, product(dims));
  if (isExternal(m)) {
    const read = externalReader(m, called, dtype, dims, source);
    return { name, tensor: want > LARGEST_KEPT ? Tensor.transient(dtype, dims, read, bytes) : Tensor.lazy(dtype, dims, read, bytes) };
  }
  const raw = m.contents(TensorProto.rawData).at(-1);
  const typed = typedField(dtype);
  if (raw && (raw.length > 0 || !m.has(typed))) {
    checkLength(called, dtype, dims, raw.length, want, "bytes");
    return { name, tensor: Tensor.ofBytes(dtype, dims, raw, bytes) };
  }
  if (!m.has(typed)) checkLength(called, dtype, dims, 0, want, "bytes");
  const read = () => {
    const data = typedBytes(m, typed, dtype);
    checkLength(called, dtype, dims, data.length, want, "bytes");
    return data;
  };
  // Floats are stored as they are: their length is known at no cost.
  if (typed !== TensorProto.floatData && typed !== TensorProto.doubleData) return { name, tensor: Tensor.lazy(dtype, dims, read, bytes) };
  return { name, tensor: Tensor.ofBytes(dtype, dims, read(), bytes) };
}

/** True for a tensor whose bytes are in another file. */
export function isExternal(m: Message): boolean {
  return m.int(TensorProto.dataLocation) === DataLocation.EXTERNAL;
}

function externalReader(m: Message, tensor: string, dtype: DType, dims: readonly number[], source: TensorSource): () => Uint8Array {
  const entries = new Map(
    m.contents(TensorProto.externalData).map((e) => {
      const entry = new Message(e, "StringStringEntryProto");
      return [entry.text(StringStringEntryProto.key), entry.text(StringStringEntryProto.value)] as const;
    }),
  );
  const count = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined || text === "") return undefined;
    const n = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(n)) return n;
    throw new ModelError(
      "TENSOR_BAD_EXTERNAL",
      `External data of tensor "${tensor}" has ${key} "${text}", which is not a count of bytes.`,
      {
        at: { value: tensor },
      },
    );
  };
  const location = entries.get("location");
  if (!location) {
    throw new ModelError("TENSOR_BAD_EXTERNAL", `Tensor "${tensor}" is stored in another file, but does not say in which.`, {
      at: { value: tensor },
    });
  }
  const data: ExternalData = { location, offset: count("offset") ?? 0, length: count("length"), tensor };
  if (data.length !== undefined) checkLength(tensor, dtype, dims, data.length, byteLengthOf(dtype, product(dims)), "bytes");
  source.onExternal?.(data);
  return () => {
    if (!source.external) {
      throw new ModelError(
        "MODEL_EXTERNAL_UNAVAILABLE",
        `Tensor "${tensor}" is stored in "${location}", but only the model's own bytes were given.`,
        {
          at: { value: tensor },
          hint: "Read the model with readModel(path), or give decode() an `external` option.",
        },
      );
    }
    const bytes = source.external(data);
    checkLength(tensor, dtype, dims, bytes.length, byteLengthOf(dtype, product(dims)), "bytes");
    return bytes;
  };
}

function checkedDims(dims: readonly number[], name: string): readonly number[] {
  const size = product(dims);
  if (dims.some((d) => d < 0) || !Number.isSafeInteger(size) || !Number.isSafeInteger(size * 16)) {
    throw new ModelError("TENSOR_BAD_DIMS", `Tensor "${name}" has impossible dims [${dims}].`, {
      at: { value: name },
      hint: "The file is damaged or was written by a faulty exporter; export it again.",
    });
  }
  return dims;
}

function checkLength(name: string, dtype: DType, dims: readonly number[], got: number, want: number, unit: string): void {
  if (got === want) return;
  throw new ModelError("TENSOR_BAD_LENGTH", `Tensor "${name}" (${dtype} [${dims}]) needs ${want} ${unit}, but has ${got}.`, {
    at: { value: name },
    hint: "The file is truncated or was written by a faulty exporter; export it again or check it with onnx.checker.",
  });
}

function product(dims: readonly number[]): number {
  return dims.reduce((a, b) => a * b, 1);
}

/** The field that holds the elements of a dtype when raw_data does not. */
function typedField(dtype: DType): number {
  switch (dtype) {
    case "float32":
    case "complex64":
      return TensorProto.floatData;
    case "float64":
    case "complex128":
      return TensorProto.doubleData;
    case "int64":
      return TensorProto.int64Data;
    case "uint32":
    case "uint64":
      return TensorProto.uint64Data;
    default:
      return TensorProto.int32Data;
  }
}

/** Packed little-endian bytes from a typed field. Fixed-width fields are that already; varints are narrowed to the dtype. */
function typedBytes(m: Message, field: number, dtype: DType): Uint8Array {
  if (field === TensorProto.floatData) return fixedBytes(m, field, FIXED32);
  if (field === TensorProto.doubleData) return fixedBytes(m, field, FIXED64);
  // Sub-byte types have several elements per entry, already packed into its low byte.
  const width = Math.max(1, bitsOf(dtype) / 8);
  const runs = m.runs(field, VARINT);
  // A varint has at least one byte, so this never falls short.
  const out = new Uint8Array(runs.reduce((n, f) => n + f.end - f.start, 0) * width);
  let at = 0;
  for (const f of runs) {
    m.read(f, (reader) => {
      for (; reader.pos < reader.len; at += width) {
        if (width === 8) {
          const { low, high } = reader.int64();
          putInt(out, at, low, 4);
          putInt(out, at + 4, high, 4);
        } else putInt(out, at, reader.int32(), width);
      }
    });
  }
  return out.length === at ? out : out.slice(0, at);
}

/** The `width` low bytes of an int32, little-endian. */
function putInt(out: Uint8Array, at: number, value: number, width: number): void {
  for (let i = 0; i < width; i++) out[at + i] = value >>> (8 * i);
}

function fixedBytes(m: Message, field: number, unpacked: Wire): Uint8Array {
  const runs = m.runs(field, unpacked).map((f) => m.content(f));
  return runs.length === 1 ? (runs[0] as Uint8Array) : concatenate(runs);
}

/** Lays tensors out in one external file, each at a multiple of 4096 so that readers can map it. */
export class ExternalFile {
  readonly location: string;
  /** Tensors of fewer bytes stay in the model. */
  readonly threshold: number;
  readonly #offsets = new Map<Tensor, number>();
  #byteLength = 0;

  constructor(location: string, threshold: number) {
    this.location = location;
    this.threshold = threshold;
  }
  get byteLength(): number {
    return this.#byteLength;
  }
  /** Offset of `tensor` in the file; a tensor used twice is stored once. */
  place(tensor: Tensor): number {
    let offset = this.#offsets.get(tensor);
    if (offset === undefined) {
      offset = Math.ceil(this.#byteLength / ALIGNMENT) * ALIGNMENT;
      this.#offsets.set(tensor, offset);
      this.#byteLength = offset + tensor.byteLength;
    }
    return offset;
  }
  /** The file's bytes. Each tensor is read when its turn comes and not kept. */
  *bytes(): Generator<Uint8Array> {
    let at = 0;
    for (const [tensor, offset] of this.#offsets) {
      if (offset > at) yield new Uint8Array(offset - at);
      yield tensor.peek();
      at = offset + tensor.byteLength;
    }
  }
}

const ALIGNMENT = 4096;

/**
 * `tensor` as a message. A tensor as it was decoded comes back as its own bytes, but for its name and its place.
 *
 * @param name undefined keeps the stored name
 * @param base the message it takes over from, whose doc string and metadata stay; used when the tensor is new
 */
export function encodeTensor(tensor: Tensor, name: string | undefined, base: Uint8Array | undefined, file: ExternalFile | undefined): Item {
  const stored = tensor.origin instanceof Uint8Array ? new Message(tensor.origin, KIND) : undefined;
  const edits = new Map<number, readonly Item[]>();
  const outside = file !== undefined && tensor.dtype !== "string" && tensor.dtype !== "undefined" && tensor.byteLength >= file.threshold;
  if (stored && !outside && !isExternal(stored)) {
    if (name !== undefined && name !== stored.text(TensorProto.name)) edits.set(TensorProto.name, [name]);
    return edits.size === 0 ? stored.bytes : edit(stored, edits);
  }
  const old = stored ?? (base && new Message(base, KIND));
  if (!old || !sameNumbers(old.ints(TensorProto.dims), tensor.dims)) edits.set(TensorProto.dims, tensor.dims);
  edits.set(TensorProto.dataType, [wireOfDtype(tensor.dtype)]);
  for (const field of CONTENT) edits.set(field, []);
  if (name !== undefined && name !== (old?.text(TensorProto.name) ?? "")) edits.set(TensorProto.name, [name]);
  if (tensor.dtype === "string") edits.set(TensorProto.stringData, tensor.strings);
  else if (outside) {
    edits.set(TensorProto.externalData, [
      entry("location", file.location),
      entry("offset", String(file.place(tensor))),
      entry("length", String(tensor.byteLength)),
    ]);
    edits.set(TensorProto.dataLocation, [DataLocation.EXTERNAL]);
  } else edits.set(TensorProto.rawData, [content(tensor)]);
  return edit(old, edits);
}

/** All fields that say what or where the elements are. */
const CONTENT = [
  TensorProto.segment,
  TensorProto.floatData,
  TensorProto.int32Data,
  TensorProto.stringData,
  TensorProto.int64Data,
  TensorProto.rawData,
  TensorProto.doubleData,
  TensorProto.uint64Data,
  TensorProto.externalData,
  TensorProto.dataLocation,
];

function content(tensor: Tensor): Uint8Array | Deferred {
  return tensor.isLoaded ? tensor.bytes : { byteLength: tensor.byteLength, read: () => tensor.peek() };
}

function entry(key: string, value: string): Chunks {
  return edit(
    undefined,
    new Map([
      [StringStringEntryProto.key, [key]],
      [StringStringEntryProto.value, [value]],
    ]),
  );
}

function sameNumbers(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((v, i) => v === b[i]);
}
