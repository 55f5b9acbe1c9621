/**
 * Reading protobuf messages as what they are on the wire: a sequence of numbered fields over a slice of the file.
 *
 * Nothing is copied and nothing is thrown away: every field knows its bytes, so that edit.ts can write a message back
 * with only the fields that changed. Sub-messages are slices too, and are split when somebody looks into them.
 */
import { ModelError } from "../../errors.js";

/** One occurrence of a field. Offsets are into the message's bytes. */
export interface Field {
  readonly number: number;
  readonly wire: Wire;
  /** Start of the tag. */
  readonly from: number;
  /** Start of the content: after the tag and, for delimited fields, the length. */
  readonly start: number;
  readonly end: number;
}

export type Wire = 0 | 1 | 2 | 3 | 5;
export const VARINT = 0;
export const FIXED64 = 1;
export const DELIMITED = 2;
export const GROUP = 3;
export const FIXED32 = 5;
const GROUP_END = 4;

/** One message, split into fields. Readers of absent scalars return undefined; of several occurrences the last one counts. */
export class Message {
  readonly bytes: Uint8Array;
  readonly fields: readonly Field[];

  /**
   * @param kind name of the message type, for errors
   * @throws ModelError MODEL_MALFORMED when the bytes are not a protobuf message.
   */
  constructor(bytes: Uint8Array, kind: string) {
    this.bytes = bytes;
    this.fields = split(bytes, kind);
  }

  /** Occurrences of field `number` with the given wire type, in file order. */
  all(number: number, wire: Wire): Field[] {
    return this.fields.filter((f) => f.number === number && f.wire === wire);
  }
  has(number: number): boolean {
    return this.fields.some((f) => f.number === number);
  }
  content(field: Field): Uint8Array {
    return this.bytes.subarray(field.start, field.end);
  }

  int(number: number): number | undefined {
    const f = this.#last(number, VARINT);
    return f && new Varints(this.bytes, f.start, f.end).number();
  }
  float(number: number): number | undefined {
    const f = this.#last(number, FIXED32);
    return f && float32At(this.bytes, f.start);
  }
  /** "" when absent. */
  text(number: number): string {
    const f = this.#last(number, DELIMITED);
    return f ? textOf(this.bytes, f.start, f.end) : "";
  }
  texts(number: number): string[] {
    return this.all(number, DELIMITED).map((f) => textOf(this.bytes, f.start, f.end));
  }
  /** Integers, packed or not; beyond ±(2^53 - 1) they saturate. */
  ints(number: number): number[] {
    const out: number[] = [];
    for (const f of this.fields) {
      if (f.number !== number || (f.wire !== VARINT && f.wire !== DELIMITED)) continue;
      for (const v = new Varints(this.bytes, f.start, f.end); v.more; ) out.push(v.number());
    }
    return out;
  }
  /** Floats, packed or not. */
  floats(number: number): number[] {
    const out: number[] = [];
    for (const f of this.fields) {
      if (f.number !== number || (f.wire !== FIXED32 && f.wire !== DELIMITED)) continue;
      for (let at = f.start; at + 4 <= f.end; at += 4) out.push(float32At(this.bytes, at));
    }
    return out;
  }
  /** Contents of a repeated bytes or message field, as slices. */
  contents(number: number): Uint8Array[] {
    return this.all(number, DELIMITED).map((f) => this.content(f));
  }
  /** A singular message. Several occurrences merge, which on the wire is concatenation. */
  message(number: number): Uint8Array | undefined {
    const parts = this.contents(number);
    return parts.length <= 1 ? parts[0] : concatenate(parts);
  }

  #last(number: number, wire: Wire): Field | undefined {
    return this.fields.findLast((f) => f.number === number && f.wire === wire);
  }
}

/** Reads consecutive varints of bytes[at, end). */
export class Varints {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  at: number;
  /** The low and high 32 bits of the last value read, unsigned. */
  low = 0;
  high = 0;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.#bytes = bytes;
    this.at = at;
    this.#end = end;
  }
  get more(): boolean {
    return this.at < this.#end;
  }
  /** Reads one into `low` and `high`. @throws ModelError when the bytes end within it, or it has more than ten. */
  next(): void {
    let low = 0;
    let high = 0;
    for (let i = 0; i < 10 && this.at < this.#end; i++) {
      const byte = this.#bytes[this.at++] as number;
      const bits = byte & 127;
      if (i < 4) low |= bits << (7 * i);
      else if (i === 4) {
        low |= bits << 28;
        high = bits >> 4;
      } else high |= bits << (7 * i - 32);
      if (byte < 128) {
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    throw malformed("a number", this.#bytes, this.at, "it does not end");
  }
  /** Reads one as an int64, saturated to ±(2^53 - 1). */
  number(): number {
    this.next();
    const value = (this.high | 0) * 4294967296 + this.low;
    return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, value));
  }
}

const decoder = new TextDecoder();
const SHORT = 48;

/** UTF-8 text of bytes[start, end). */
export function textOf(bytes: Uint8Array, start: number, end: number): string {
  if (end - start > SHORT) return decoder.decode(bytes.subarray(start, end));
  // Names are short ASCII, for which this loop beats a call out of JavaScript.
  let text = "";
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number;
    if (byte > 127) return decoder.decode(bytes.subarray(start, end));
    text += String.fromCharCode(byte);
  }
  return text;
}

export function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

const word = new DataView(new ArrayBuffer(4));
function float32At(bytes: Uint8Array, at: number): number {
  for (let i = 0; i < 4; i++) word.setUint8(i, bytes[at + i] as number);
  return word.getFloat32(0, true);
}

/** Groups inside groups; ONNX has none, so this only bounds hostile files. */
const MAX_GROUPS = 32;

function split(bytes: Uint8Array, kind: string): Field[] {
  const fields: Field[] = [];
  let at = 0;
  while (at < bytes.length) {
    const field = fieldAt(bytes, at, kind, 0);
    fields.push(field);
    // The content of a group is followed by its end tag, which belongs to the field.
    at = field.end;
  }
  return fields;
}

function fieldAt(bytes: Uint8Array, from: number, kind: string, depth: number): Field {
  const cursor = new Varints(bytes, from, bytes.length);
  cursor.next();
  const wire = cursor.low & 7;
  const number = cursor.low >>> 3;
  if (number === 0 || cursor.high !== 0) throw malformed(kind, bytes, from, "a field tag is invalid");
  let start = cursor.at;
  let end: number;
  switch (wire) {
    case VARINT:
      cursor.next();
      end = cursor.at;
      break;
    case FIXED64:
      end = start + 8;
      break;
    case FIXED32:
      end = start + 4;
      break;
    case DELIMITED:
      cursor.next();
      start = cursor.at;
      end = start + cursor.high * 4294967296 + cursor.low;
      break;
    case GROUP:
      end = groupEnd(bytes, start, number, kind, depth);
      break;
    default:
      throw malformed(kind, bytes, from, `field ${number} has wire type ${wire}`);
  }
  if (end > bytes.length)
    throw malformed(kind, bytes, from, `field ${number} needs ${end - start} bytes, but ${bytes.length - start} are left`);
  return { number, wire, from, start, end };
}

function groupEnd(bytes: Uint8Array, from: number, number: number, kind: string, depth: number): number {
  if (depth > MAX_GROUPS) throw malformed(kind, bytes, from, "groups are nested too deep");
  let at = from;
  while (at < bytes.length) {
    const tag = new Varints(bytes, at, bytes.length);
    tag.next();
    if ((tag.low & 7) === GROUP_END) {
      if (tag.low >>> 3 !== number) break;
      return tag.at;
    }
    at = fieldAt(bytes, at, kind, depth + 1).end;
  }
  throw malformed(kind, bytes, from, `group ${number} does not end`);
}

function malformed(kind: string, bytes: Uint8Array, at: number, why: string): ModelError {
  return new ModelError("MODEL_MALFORMED", `Expected ${kind} in protobuf format, but at byte ${bytes.byteOffset + at} ${why}.`, {
    hint: "The file is truncated or is not ONNX. Export or download it again, and check its size.",
  });
}
