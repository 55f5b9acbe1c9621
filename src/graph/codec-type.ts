/** ValueInfoProto and TypeProto: the types of values, both ways. */
import { ModelError } from "../errors.js";
import type { Dim } from "./dim.js";
import { dtypeOfWire, wireOfDtype } from "./dtype.js";
import type { Value, ValueType } from "./graph.js";
import { type Chunks, edit, type Item } from "./proto/edit.js";
import {
  TensorShapeProto_Dimension as Dimension,
  TensorShapeProto,
  TypeProto,
  TypeProto_Map,
  TypeProto_Opaque,
  TypeProto_Optional,
  TypeProto_Sequence,
  TypeProto_SparseTensor,
  TypeProto_Tensor,
  ValueInfoProto,
} from "./proto/generated/fields.js";
import { Message } from "./proto/wire.js";

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
  const m = new Message(bytes, "TypeProto");
  const tensor = m.message(TypeProto.tensorType);
  if (!tensor) return m.fields.length === 0 ? undefined : { kind: "other", text: typeText(m, 0) };
  const t = new Message(tensor, "TypeProto.Tensor");
  const dtype = dtypeOfWire(t.int(TypeProto_Tensor.elemType) ?? 0);
  // An element type newer than our table is carried, like all that we do not understand.
  if (dtype === undefined) return { kind: "other", text: typeText(m, 0) };
  const shape = t.message(TypeProto_Tensor.shape);
  const dims = shape && new Message(shape, "TensorShapeProto").contents(TensorShapeProto.dim);
  return { kind: "tensor", dtype, shape: dims?.map((d, axis) => decodeDim(d, `?${name}[${axis}]`)) };
}

function decodeDim(bytes: Uint8Array, unknown: string): Dim {
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
    const type = encodeType(value.type, old);
    if (type) edits.set(ValueInfoProto.type, [type]);
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

/** Undefined for types that only their own declaration can tell. */
function encodeType(type: ValueType, base: Uint8Array | undefined): Chunks | undefined {
  if (type.kind === "other") return undefined;
  const m = base && new Message(base, "TypeProto");
  const oldTensor = m?.message(TypeProto.tensorType);
  const t = oldTensor && new Message(oldTensor, "TypeProto.Tensor");
  const oldShape = t?.message(TypeProto_Tensor.shape);
  const tensor = edit(
    t,
    new Map([
      [TypeProto_Tensor.elemType, [wireOfDtype(type.dtype)]],
      [TypeProto_Tensor.shape, type.shape ? [encodeShape(type.shape, oldShape)] : []],
    ]),
  );
  const others = [TypeProto.sequenceType, TypeProto.mapType, TypeProto.optionalType, TypeProto.sparseTensorType, TypeProto.opaqueType];
  return edit(m, new Map<number, Item[]>([[TypeProto.tensorType, [tensor]], ...others.map((n): [number, Item[]] => [n, []])]));
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

/** As ONNX prints types: "seq(tensor(float32))". */
function typeText(m: Message, depth: number): string {
  if (depth > MAX_DEPTH) throw new ModelError("MODEL_TOO_DEEP", `Types are nested more than ${MAX_DEPTH} deep.`);
  const inner = (bytes: Uint8Array | undefined) => (bytes ? typeText(new Message(bytes, "TypeProto"), depth + 1) : "undefined");
  const element = (n: number | undefined) => dtypeOfWire(n ?? 0) ?? `element type ${n}`;
  const sequence = m.message(TypeProto.sequenceType);
  if (sequence) return `seq(${inner(new Message(sequence, "TypeProto.Sequence").message(TypeProto_Sequence.elemType))})`;
  const optional = m.message(TypeProto.optionalType);
  if (optional) return `optional(${inner(new Message(optional, "TypeProto.Optional").message(TypeProto_Optional.elemType))})`;
  const map = m.message(TypeProto.mapType);
  if (map) {
    const entry = new Message(map, "TypeProto.Map");
    return `map(${element(entry.int(TypeProto_Map.keyType))}, ${inner(entry.message(TypeProto_Map.valueType))})`;
  }
  const sparse = m.message(TypeProto.sparseTensorType);
  if (sparse) return `sparse_tensor(${element(new Message(sparse, "TypeProto.SparseTensor").int(TypeProto_SparseTensor.elemType))})`;
  const opaque = m.message(TypeProto.opaqueType);
  if (opaque) return `opaque(${new Message(opaque, "TypeProto.Opaque").text(TypeProto_Opaque.name)})`;
  const tensor = m.message(TypeProto.tensorType);
  return tensor ? `tensor(${element(new Message(tensor, "TypeProto.Tensor").int(TypeProto_Tensor.elemType))})` : "undefined";
}
