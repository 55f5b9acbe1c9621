/**
 * Writing protobuf messages by editing: what an edit does not mention is copied, as a reference, from the original.
 *
 * Hence unknown fields, order of fields, packed or unpacked numbers, odd varints all survive, and an edit that changes
 * nothing gives back the very bytes of the original. A new message is an edit of nothing. protobufjs writes what is new;
 * the list of parts is ours, for its Writer would copy the weights.
 */
import protobuf from "protobufjs/minimal.js";
import { concatenate, DELIMITED, FIXED32, type Field, type Message, readInt, textOf, VARINT, type Wire } from "./wire.js";

/** Bytes that will be read when they are written. */
export interface Deferred {
  readonly byteLength: number;
  read(): Uint8Array;
}
export type Part = Uint8Array | Deferred;

/** A byte string under construction, as parts that are never copied. Neighbouring slices of one buffer become one part. */
export class Chunks {
  readonly #parts: Part[] = [];
  /** Bytes of what is not in #writer. */
  #byteLength = 0;
  /** The end of the string is either a slice being extended, bytes [#from, #to) of #buffer, or what #writer holds. */
  #buffer: ArrayBufferLike | undefined;
  #from = 0;
  #to = 0;
  #writer: protobuf.Writer | undefined;

  get byteLength(): number {
    return this.#byteLength + (this.#writer?.pos ?? 0);
  }

  /** Writes at the end of the string, until something is added. */
  writer(): protobuf.Writer {
    if (!this.#writer) {
      this.#flush();
      // Not Writer.create(), which makes Buffers in Node: slices of those are Buffers, which are slow to make.
      this.#writer = new protobuf.Writer();
    }
    return this.#writer;
  }
  add(part: Part): void {
    if (part instanceof Uint8Array) this.#addSlice(part.buffer, part.byteOffset, part.byteOffset + part.length);
    else {
      this.#flush();
      this.#parts.push(part);
      this.#byteLength += part.byteLength;
    }
  }
  /** Adds bytes[start, end). */
  addRange(bytes: Uint8Array, start: number, end: number): void {
    this.#addSlice(bytes.buffer, bytes.byteOffset + start, bytes.byteOffset + end);
  }
  addAll(other: Chunks): void {
    for (const p of other.#parts) this.add(p);
    if (other.#buffer) this.#addSlice(other.#buffer, other.#from, other.#to);
    if (other.#writer) this.writer().raw(other.#writer.finish(true));
  }
  /** True when this is nothing but the slice bytes[start, end). */
  isRange(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.byteLength === 0) return start === end;
    return (
      this.#parts.length === 0 &&
      this.#writer === undefined &&
      this.#buffer === bytes.buffer &&
      this.#from === bytes.byteOffset + start &&
      this.#to === bytes.byteOffset + end
    );
  }

  /** All bytes in order, with deferred parts read now and runs of parts below `small` bytes gathered into one. */
  *bytes(small = 4096): Generator<Uint8Array> {
    this.#flush();
    let pending: Uint8Array[] = [];
    let size = 0;
    const gathered = () => {
      const all = pending.length === 1 ? (pending[0] as Uint8Array) : concatenate(pending);
      pending = [];
      size = 0;
      return all;
    };
    for (const part of this.#parts) {
      if (part.byteLength < small) {
        const b = part instanceof Uint8Array ? part : part.read();
        pending.push(b);
        size += b.length;
        if (size >= 1 << 20) yield gathered();
      } else {
        if (size > 0) yield gathered();
        yield part instanceof Uint8Array ? part : part.read();
      }
    }
    if (size > 0) yield gathered();
  }

  #addSlice(buffer: ArrayBufferLike, from: number, to: number): void {
    if (from === to) return;
    if (this.#buffer === buffer && this.#to === from) this.#to = to;
    else {
      this.#flush();
      this.#buffer = buffer;
      this.#from = from;
      this.#to = to;
    }
    this.#byteLength += to - from;
  }
  #flush(): void {
    if (this.#buffer) this.#parts.push(new Uint8Array(this.#buffer, this.#from, this.#to - this.#from));
    this.#buffer = undefined;
    if (this.#writer) {
      this.#parts.push(this.#writer.finish(true));
      this.#byteLength += this.#writer.pos;
      this.#writer = undefined;
    }
  }
}

/** A float field's content. */
export class Float32 {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** Content of one occurrence of a field. Numbers are written as varints, everything but Float32 else as delimited. */
export type Item = number | string | Float32 | Chunks | Part;

/** What the occurrences of some fields should be; fields without an entry stay as they are. */
export type Edits = ReadonlyMap<number, readonly Item[]>;

/**
 * The message `origin` with its fields edited; a new message when there is no origin.
 *
 * Occurrences keep their places: item k takes the place of occurrence k, the last place takes all that are left, and
 * what had no place at all is appended. An item equal to what is there is copied with its original encoding.
 */
export function edit(origin: Message | undefined, edits: Edits): Chunks {
  const out = new Chunks();
  const placesLeft = new Map<number, number>();
  const placed = new Map<number, number>();
  for (const f of origin?.fields ?? []) if (edits.has(f.number)) placesLeft.set(f.number, (placesLeft.get(f.number) ?? 0) + 1);
  for (const f of origin?.fields ?? []) {
    const bytes = (origin as Message).bytes;
    const items = edits.get(f.number);
    if (!items) {
      out.addRange(bytes, f.from, f.end);
      continue;
    }
    const left = (placesLeft.get(f.number) as number) - 1;
    placesLeft.set(f.number, left);
    const first = placed.get(f.number) ?? 0;
    const stop = left === 0 ? items.length : Math.min(first + 1, items.length);
    for (let i = first; i < stop; i++) {
      const item = items[i] as Item;
      if (i === first && isContent(origin as Message, f, item)) out.addRange(bytes, f.from, f.end);
      else put(out, f.number, item);
    }
    placed.set(f.number, stop);
  }
  for (const [number, items] of edits) for (let i = placed.get(number) ?? 0; i < items.length; i++) put(out, number, items[i] as Item);
  return out;
}

function isContent(origin: Message, f: Field, item: Item): boolean {
  const { bytes } = origin;
  if (typeof item === "string") return f.wire === DELIMITED && textOf(bytes, f.start, f.end) === item;
  if (typeof item === "number") return f.wire === VARINT && origin.read(f, readInt) === item;
  if (f.wire !== DELIMITED) return false;
  if (item instanceof Chunks) return item.isRange(bytes, f.start, f.end);
  if (!(item instanceof Uint8Array)) return false;
  return item.length === f.end - f.start && item.buffer === bytes.buffer && item.byteOffset === bytes.byteOffset + f.start;
}

const encoder = new TextEncoder();

function put(out: Chunks, number: number, item: Item): void {
  const writer = out.writer();
  if (typeof item === "number") writer.uint32(tag(number, VARINT)).int64(exact(item));
  else if (item instanceof Float32) writer.uint32(tag(number, FIXED32)).float(item.value);
  // Not writer.string(), which writes half a surrogate pair as it is: no UTF-8 reader would take the file.
  else if (typeof item === "string") writer.uint32(tag(number, DELIMITED)).bytes(encoder.encode(item));
  else {
    // A length, but not cut to 32 bits: sizes are counted right for models too large to be written, too.
    writer.uint32(tag(number, DELIMITED)).int64(item.byteLength);
    if (item instanceof Chunks) out.addAll(item);
    else out.add(item);
  }
}

function tag(number: number, wire: Wire): number {
  return number * 8 + wire;
}

const INT64_MAX: protobuf.Long = { low: -1, high: 0x7fffffff, unsigned: false };
const MINUS_INT64_MAX: protobuf.Long = { low: 1, high: -0x80000000, unsigned: false };

/** Saturated numbers ("to the end") become the largest int64 again, as in tensors. */
function exact(value: number): number | protobuf.Long {
  if (value >= Number.MAX_SAFE_INTEGER) return INT64_MAX;
  return value <= -Number.MAX_SAFE_INTEGER ? MINUS_INT64_MAX : value;
}
