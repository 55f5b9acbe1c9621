/** What the printer and the parser of ONNX text must agree on: names of types, identifiers, quoting, numbers. */
import type { AttributeKind } from "./attribute.js";
import { type DType, dtypeOfWire } from "./dtype.js";

/** dtypes whose text name is not their own. */
const SPELLED: Partial<Record<DType, string>> = { float32: "float", float64: "double" };

const BY_NAME = new Map<string, DType>();
for (let wire = 0, d = dtypeOfWire(0); d !== undefined; d = dtypeOfWire(++wire)) BY_NAME.set(typeName(d), d);

/** "float" for float32, "double" for float64, else the dtype itself. */
export function typeName(dtype: DType): string {
  return SPELLED[dtype] ?? dtype;
}

export function dtypeOfName(name: string): DType | undefined {
  return BY_NAME.get(name);
}

/** Types that are not dense tensors, by the word they start with. */
export const TYPE_CONSTRUCTORS: ReadonlySet<string> = new Set(["seq", "map", "optional", "sparse_tensor", "opaque"]);

/** The attribute kinds that text can annotate (`axes: ints = []`). */
export const ATTRIBUTE_KINDS = [
  "int",
  "ints",
  "float",
  "floats",
  "string",
  "strings",
  "tensor",
  "tensors",
  "graph",
  "graphs",
] as const satisfies readonly AttributeKind[];

/** inf, nan …: an unquoted word of this form in an attribute is a number. */
export const SPECIAL_FLOAT = /^(inf|infinity|nan)$/i;

const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]*$/;

export function isIdentifier(name: string): boolean {
  return IDENTIFIER.test(name);
}

/** True when `word`, unquoted, would start a type. */
export function startsType(word: string): boolean {
  return BY_NAME.has(word) || TYPE_CONSTRUCTORS.has(word);
}

/** The name as it is when it can only be read as a name, else in quotes. */
export function quotable(name: string): string {
  return isIdentifier(name) && !startsType(name) && !SPECIAL_FLOAT.test(name) ? name : quote(name);
}

/** In double quotes, with `\` before `"` and `\`; line breaks stand for themselves, as in the ONNX printer. */
export function quote(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** Undoes `quote` on what stands between the quotes. */
export function unquote(body: string): string {
  return body.replace(/\\([\s\S])/g, "$1");
}

/**
 * Like `quote`, for the bytes of a string tensor. Bytes that are not UTF-8 are written `\xHH`, our own addition:
 * the ONNX parser would read "xHH".
 */
export function quoteBytes(bytes: Uint8Array): string {
  try {
    return quote(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return `"${Array.from(bytes, byteText).join("")}"`;
  }
}

function byteText(byte: number): string {
  if (byte >= 0x80) return `\\x${byte.toString(16)}`;
  return quote(String.fromCharCode(byte)).slice(1, -1);
}

/** Undoes `quoteBytes` on what stands between the quotes. */
export function unquoteBytes(body: string): Uint8Array {
  const encoder = new TextEncoder();
  const out: number[] = [];
  for (const [, hex, text] of body.matchAll(/\\x([0-9a-f]{2})|((?:\\(?!x[0-9a-f]{2})[\s\S]|[^\\])+)/g)) {
    if (hex !== undefined) out.push(Number.parseInt(hex, 16));
    else for (const b of encoder.encode(unquote(text ?? ""))) out.push(b);
  }
  return Uint8Array.from(out);
}

/** The shortest decimal that reads back as the same float32. */
export function float32Text(x: number): string {
  const f = Math.fround(x);
  // Rounding by digits below would lose the sign of -0.
  if (f === 0) return numberText(f);
  // Six digits always survive decimal → float32 → decimal; nine always tell two float32 apart.
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(f.toPrecision(digits));
    if (Math.fround(short) === f) return numberText(short);
  }
  return numberText(Number.isFinite(f) ? Number(f.toPrecision(9)) : f);
}

/** A double as the ONNX parser reads it: "nan", "-inf", "-0", "1e-7". */
export function numberText(x: number): string {
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x < 0 ? "-inf" : "inf";
  return Object.is(x, -0) ? "-0" : String(x);
}

/** The same, marked as a float: 1 becomes "1.0", so that an attribute without annotation keeps its kind. */
export function asFloatText(text: string): string {
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

/** The number a literal stands for: "1e-7", "-inf", "NaN"; undefined when it is none. */
export function numberOf(text: string): number | undefined {
  const negative = text.startsWith("-");
  const word = text.slice(negative ? 1 : 0);
  if (SPECIAL_FLOAT.test(word)) {
    if (word.toLowerCase() === "nan") return Number.NaN;
    return negative ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  const x = Number(text);
  return text === "" || Number.isNaN(x) ? undefined : x;
}

/** The symbol of an extent that a declaration leaves open (`?`): two open extents need not be equal. */
export function openDim(valueName: string, axis: number): string {
  return `?${valueName}[${axis}]`;
}
