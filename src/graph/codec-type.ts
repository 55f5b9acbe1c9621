/** ValueInfoProto and TypeProto: the types of values, both ways. */
import { ModelError } from "../errors.js";
import type { Dim } from "./dim.js";
import { dtypeOfWire, wireOfDtype } from "./dtype.js";
import type { Value, ValueType } from "./graph.js";
import { Lexer } from "./parse-lexer.js";
import { typeText } from "./print.js";
import { type Chunks, edit, type Item } from "./proto/edit.js";
import {
  TensorShapeProto_Dimension as Dimension,
  TensorShapeProto,
  TypeProto,
  TypeProto_Map,
  TypeProto_Opaque,
  TypeProto_Optional,
  TypeProto_Sequence,
  TypeProto_Tensor,
  ValueInfoProto,
} from "./proto/generated/fields.js";
import { Message } from "./proto/wire.js";
import { dtypeOfName, openDim, quotable, unquote } from "./text-syntax.js";

/** Types may hold types (sequences of maps of …); real ones are three deep. */
const MAX_DEPTH = 64;

/** Name and type of a ValueInfoProto; the type is undefined when it is absent or empty. */
export function decodeValueInfo(bytes: Uint8Array): { name: string; type: ValueType | undefined } {
  const info = new Message(bytes, "ValueInfoProto");
  const name = info.text(ValueInfoProto.name);
  const type = info.message(ValueInfoProto.type);
  return { name, type: type && decodeType(type, name) };
}

/**
 * The type in a TypeProto. Dims that the file leaves open become symbols of their own, "?name[axis]", for two unknown
 * dims need not be equal.
 */
export function decodeType(bytes: Uint8Array, name: string): ValueType | undefined {
  return typeIn(bytes, (axis) => openDim(name, axis), 0);
}

/** `open` makes the symbols of dims that the file leaves open. Inside other types these are "?", as in text. */
function typeIn(bytes: Uint8Array, open: (axis: number) => Dim, depth: number): ValueType | undefined {
  if (depth > MAX_DEPTH) throw new ModelError("MODEL_TOO_DEEP", `Types are nested more than ${MAX_DEPTH} deep.`);
  const m = new Message(bytes, "TypeProto");
  const tensor = m.message(TypeProto.tensorType);
  if (tensor) return tensorIn(tensor, open);
  const inner = (field: Uint8Array | undefined) => typeText(field && typeIn(field, () => "?", depth + 1));
  const other = (text: string): ValueType => ({ kind: "other", text });

  const sequence = m.message(TypeProto.sequenceType);
  if (sequence) return other(`seq(${inner(new Message(sequence, "TypeProto.Sequence").message(TypeProto_Sequence.elemType))})`);
  const optional = m.message(TypeProto.optionalType);
  if (optional) return other(`optional(${inner(new Message(optional, "TypeProto.Optional").message(TypeProto_Optional.elemType))})`);
  const map = m.message(TypeProto.mapType);
  if (map) {
    const entry = new Message(map, "TypeProto.Map");
    return other(`map(${elementText(entry.int(TypeProto_Map.keyType))}, ${inner(entry.message(TypeProto_Map.valueType))})`);
  }
  const sparse = m.message(TypeProto.sparseTensorType);
  if (sparse) return other(`sparse_tensor(${typeText(tensorIn(sparse, () => "?"))})`);
  const opaque = m.message(TypeProto.opaqueType);
  if (opaque) {
    const names = new Message(opaque, "TypeProto.Opaque");
    const parts = [names.text(TypeProto_Opaque.domain), names.text(TypeProto_Opaque.name)].filter((part) => part !== "");
    return other(`opaque(${parts.map((part) => part.split(".").map(quotable).join(".")).join(", ")})`);
  }
  return undefined;
}

/** The type in a TypeProto.Tensor, or in a TypeProto.SparseTensor, which has the same fields. */
function tensorIn(bytes: Uint8Array, open: (axis: number) => Dim): ValueType {
  const m = new Message(bytes, "TypeProto.Tensor");
  const dtype = dtypeOfWire(m.int(TypeProto_Tensor.elemType) ?? 0);
  // An element type newer than our table is carried, like all that we do not understand.
  if (dtype === undefined) return { kind: "other", text: elementText(m.int(TypeProto_Tensor.elemType)) };
  const shape = m.message(TypeProto_Tensor.shape);
  const dims = shape && new Message(shape, "TensorShapeProto").contents(TensorShapeProto.dim);
  return { kind: "tensor", dtype, shape: dims?.map((d, axis) => decodeDim(d, open(axis))) };
}

function elementText(wire = 0): string {
  const dtype = dtypeOfWire(wire);
  return dtype ? typeText({ kind: "tensor", dtype, shape: [] }) : `element type ${wire}`;
}

function decodeDim(bytes: Uint8Array, unknown: Dim): Dim {
  const m = new Message(bytes, "TensorShapeProto.Dimension");
  const which = m.fields.findLast((f) => f.number === Dimension.dimValue || f.number === Dimension.dimParam)?.number;
  if (which === Dimension.dimValue) {
    const extent = m.int(Dimension.dimValue) ?? 0;
    // Some exporters write -1 for "not known".
    return extent < 0 ? unknown : extent;
  }
  const symbol = m.text(Dimension.dimParam);
  return symbol === "" || /^-?\d+$/.test(symbol) || symbol.includes("?") || symbol === "None" ? unknown : symbol;
}

/**
 * `value` declared as it is now, keeping what else `base` says about it. `base` comes back unchanged when the value
 * still has the type it was decoded with.
 */
export function encodeValueInfo(value: Value, base: Uint8Array | undefined): Item {
  if (base && (value.type === undefined || !typeChanged(value))) return base;
  const info = base && new Message(base, "ValueInfoProto");
  const old = info?.message(ValueInfoProto.type);
  const edits = new Map<number, Item[]>([[ValueInfoProto.name, [value.name]]]);
  if (value.type && !sameType(value.type, old && decodeType(old, value.name))) {
    edits.set(ValueInfoProto.type, [encodeType(value.type, old)]);
  }
  return edit(info, edits);
}

/** True when a value no longer has the type its own declaration gave it, or has no declaration. */
export function typeChanged(value: Value): boolean {
  return !(value.origin instanceof Uint8Array) || !sameType(value.type, decodeValueInfo(value.origin).type);
}

function sameType(a: ValueType | undefined, b: ValueType | undefined): boolean {
  if (a === b) return true;
  if (a?.kind === "tensor" && b?.kind === "tensor") {
    if (a.dtype !== b.dtype || a.shape?.length !== b.shape?.length) return false;
    return a.shape?.every((d, i) => d === b.shape?.[i]) ?? true;
  }
  return a?.kind === "other" && b?.kind === "other" && a.text === b.text;
}

/** @throws ModelError MODEL_TEXT_SYNTAX for the text of a type that neither the codec nor the parser made. */
function encodeType(type: ValueType, base: Uint8Array | undefined): Chunks {
  const m = base && new Message(base, "TypeProto");
  if (type.kind === "other") return encodeText(new Lexer(type.text), m);
  const tensor = m?.message(TypeProto.tensorType);
  return typeOf(TypeProto.tensorType, encodeTensorType(wireOfDtype(type.dtype), type.shape, tensor), m);
}

/** A TypeProto whose one field of content is `field`. */
function typeOf(field: number, content: Chunks, base?: Message): Chunks {
  return edit(base, new Map(TYPE_FIELDS.map((f): [number, Item[]] => [f, f === field ? [content] : []])));
}

const TYPE_FIELDS = [
  TypeProto.tensorType,
  TypeProto.sequenceType,
  TypeProto.mapType,
  TypeProto.optionalType,
  TypeProto.sparseTensorType,
  TypeProto.opaqueType,
];

/** A TypeProto.Tensor or TypeProto.SparseTensor. */
function encodeTensorType(elemType: number, shape: readonly Dim[] | undefined, base?: Uint8Array): Chunks {
  const m = base && new Message(base, "TypeProto.Tensor");
  const edits = new Map<number, Item[]>([
    [TypeProto_Tensor.elemType, [elemType]],
    [TypeProto_Tensor.shape, shape ? [encodeShape(shape, m?.message(TypeProto_Tensor.shape))] : []],
  ]);
  return edit(m, edits);
}

function encodeShape(shape: readonly Dim[], base: Uint8Array | undefined): Chunks {
  const m = base && new Message(base, "TensorShapeProto");
  const old = m?.contents(TensorShapeProto.dim) ?? [];
  const dims = shape.map((d, axis): Item => {
    const was = old[axis];
    if (was && decodeDim(was, "?") === (isOpen(d) ? "?" : d)) return was;
    return edit(was && new Message(was, "TensorShapeProto.Dimension"), dimEdits(d));
  });
  return edit(m, new Map([[TensorShapeProto.dim, dims]]));
}

function dimEdits(d: Dim): Map<number, Item[]> {
  return new Map<number, Item[]>([
    [Dimension.dimValue, typeof d === "number" ? [d] : []],
    [Dimension.dimParam, typeof d === "string" && !isOpen(d) ? [d] : []],
  ]);
}

/** Built from dims the file left open: our own symbols do not go into files. */
function isOpen(d: Dim): boolean {
  return typeof d === "string" && d.includes("?");
}

/** The type that comes next in `lex`, spelled as decodeType and parse.ts spell it. */
function encodeText(lex: Lexer, base?: Message): Chunks {
  const word = lex.next();
  const element = dtypeOfName(word.text);
  if (element) return typeOf(TypeProto.tensorType, encodeTensorType(wireOfDtype(element), shapeText(lex)), base);
  lex.expect("(");
  const type = ((): Chunks => {
    switch (word.text) {
      case "seq":
        return typeOf(TypeProto.sequenceType, edit(undefined, new Map([[TypeProto_Sequence.elemType, [encodeText(lex)]]])), base);
      case "optional":
        return typeOf(TypeProto.optionalType, edit(undefined, new Map([[TypeProto_Optional.elemType, [encodeText(lex)]]])), base);
      case "map": {
        const keyType = wireText(lex);
        lex.expect(",");
        const edits = new Map<number, Item[]>([
          [TypeProto_Map.keyType, [keyType]],
          [TypeProto_Map.valueType, [encodeText(lex)]],
        ]);
        return typeOf(TypeProto.mapType, edit(undefined, edits), base);
      }
      case "sparse_tensor":
        return typeOf(TypeProto.sparseTensorType, encodeTensorType(wireText(lex), shapeText(lex)), base);
      case "opaque":
        return typeOf(TypeProto.opaqueType, opaqueText(lex), base);
      default:
        return lex.fail("a type", word);
    }
  })();
  lex.expect(")");
  return type;
}

function wireText(lex: Lexer): number {
  const word = lex.next();
  return wireOfDtype(dtypeOfName(word.text) ?? lex.fail("an element type", word));
}

/** Nothing is a scalar, `[]` an unknown rank, `?` an open dim. */
function shapeText(lex: Lexer): readonly Dim[] | undefined {
  if (!lex.accept("[")) return [];
  if (lex.accept("]")) return undefined;
  const dims: Dim[] = [];
  do {
    const { kind, text } = lex.next();
    dims.push(kind === "int" ? Number(text) : kind === "string" ? unquote(text) : text);
  } while (lex.accept(","));
  lex.expect("]");
  return dims;
}

/** `name` or `domain, name`; either may be dotted. */
function opaqueText(lex: Lexer): Chunks {
  const names: string[] = [];
  do {
    const parts: string[] = [];
    do parts.push(unquote(lex.next().text));
    while (lex.accept("."));
    names.push(parts.join("."));
  } while (lex.accept(","));
  const name: [number, Item[]] = [TypeProto_Opaque.name, names.slice(-1)];
  return edit(undefined, new Map([[TypeProto_Opaque.domain, names.slice(0, -1)], name]));
}
