/**
 * Reading protobuf messages as what they are on the wire: a sequence of numbered fields over a slice of the file.
 *
 * protobufjs reads every tag, length and number. Its decoded messages would throw away where the bytes of each field lie,
 * so this keeps that: nothing is copied, and edit.ts can write a message back with only the fields that changed.
 * Sub-messages are slices too, and are split when somebody looks into them.
 */
import protobuf from "protobufjs/minimal.js";
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
export const FIXED32 = 5;

/** One message, split into fields. Readers of absent scalars return undefined; of several occurrences the last one counts. */
export class Message {
  readonly bytes: Uint8Array;
  readonly fields: readonly Field[];
  readonly #kind: string;
  readonly #reader: protobuf.Reader;

  /**
   * @param kind name of the message type, for errors
   * @throws ModelError MODEL_MALFORMED when the bytes are not a protobuf message; so do all readers of its fields.
   */
  constructor(bytes: Uint8Array, kind: string) {
    this.bytes = bytes;
    this.#kind = kind;
    this.#reader = new protobuf.Reader(bytes);
    this.fields = this.#split();
  }

  /** Occurrences of field `number` with the given wire type, in file order. */
  all(number: number, wire: Wire): Field[] {
    return this.fields.filter((f) => f.number === number && f.wire === wire);
  }
  /** Occurrences of a repeated field of numbers: packed, or one number each with wire type `unpacked`. */
  runs(number: number, unpacked: Wire): Field[] {
    return this.fields.filter((f) => f.number === number && (f.wire === unpacked || f.wire === DELIMITED));
  }
  has(number: number): boolean {
    return this.fields.some((f) => f.number === number);
  }
  content(field: Field): Uint8Array {
    return this.bytes.subarray(field.start, field.end);
  }
  /** What `use` makes of a field's content; the reader stands at its start and ends with it. `use` must not throw errors of its own. */
  read<T>(field: Field, use: (reader: protobuf.Reader) => T): T {
    const reader = this.#reader;
    reader.pos = field.start;
    reader.len = field.end;
    try {
      return use(reader);
    } catch (cause) {
      throw malformed(this.#kind, this.bytes, field.from, cause);
    }
  }

  int(number: number): number | undefined {
    const f = this.#last(number, VARINT);
    return f && this.read(f, readInt);
  }
  float(number: number): number | undefined {
    const f = this.#last(number, FIXED32);
    return f && this.read(f, readFloat);
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
    return this.#numbers(this.runs(number, VARINT), readInt);
  }
  /** Floats, packed or not. */
  floats(number: number): number[] {
    return this.#numbers(this.runs(number, FIXED32), readFloat);
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
  #numbers(runs: readonly Field[], readOne: (reader: protobuf.Reader) => number): number[] {
    const out: number[] = [];
    for (const f of runs) {
      this.read(f, (reader) => {
        while (reader.pos < reader.len) out.push(readOne(reader));
      });
    }
    return out;
  }

  #split(): Field[] {
    const reader = this.#reader;
    const fields: Field[] = [];
    while (reader.pos < reader.len) {
      const from = reader.pos;
      try {
        fields.push(nextField(reader));
      } catch (cause) {
        throw malformed(this.#kind, this.bytes, from, cause);
      }
    }
    return fields;
  }
}

function nextField(reader: protobuf.Reader): Field {
  const from = reader.pos;
  const tag = reader.tag();
  const number = tag >>> 3;
  const wire = tag & 7;
  let start = reader.pos;
  if (wire === DELIMITED && number !== 0) {
    const length = reader.size();
    start = reader.pos;
    reader.skip(length);
  } else {
    // Refuses number 0 and wire types that are none. The end tag of a group belongs to the field.
    reader.skipType(wire, 0, number);
  }
  return { number, wire: wire as Wire, from, start, end: reader.pos };
}

/** An int64, saturated to ±(2^53 - 1). */
export function readInt(reader: protobuf.Reader): number {
  const { low, high } = reader.int64();
  const value = high * 4294967296 + (low >>> 0);
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, value));
}

function readFloat(reader: protobuf.Reader): number {
  return reader.float();
}

/** UTF-8 text of bytes[start, end). */
export function textOf(bytes: Uint8Array, start: number, end: number): string {
  return protobuf.util.utf8.read(bytes, start, end);
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

/** protobufjs says RangeError when bytes are missing, and Error when they are wrong. */
function malformed(kind: string, bytes: Uint8Array, at: number, cause: unknown): ModelError {
  const why = cause instanceof RangeError ? "it does not end" : cause instanceof Error ? cause.message : String(cause);
  return new ModelError(
    "MODEL_MALFORMED",
    `Expected ${kind} in protobuf format, but the field at byte ${bytes.byteOffset + at} cannot be read: ${why}.`,
    { cause, hint: "The file is truncated or is not ONNX. Export or download it again, and check its size." },
  );
}
