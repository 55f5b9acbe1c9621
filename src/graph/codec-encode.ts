/** IR to bytes: every message is an edit of the one it came from. */
import { internal, ModelError } from "../errors.js";
import type { Attribute, AttributeKind } from "./attribute.js";
import { decodeOpsets, decodePlain, KINDS, kindOf } from "./codec-decode.js";
import { type ExternalFile, encodeTensor } from "./codec-tensor.js";
import { encodeValueInfo, typeChanged } from "./codec-type.js";
import type { Graph, LocalFunction, Model, Node, Origin, Value } from "./graph.js";
import { type Chunks, edit, Float32, type Item } from "./proto/edit.js";
import {
  AttributeProto,
  FunctionProto,
  GraphProto,
  ModelProto,
  NodeProto,
  OperatorSetIdProto,
  TensorProto,
  ValueInfoProto,
} from "./proto/generated/fields.js";
import { Message } from "./proto/wire.js";

type MutableEdits = Map<number, readonly Item[]>;

/** The model file, tensors above the threshold of `file` excepted: those get a place there. */
export function encodeModel(model: Model, file: ExternalFile | undefined): Chunks {
  const m = originOf(model.origin, "ModelProto");
  const edits: MutableEdits = new Map();
  edits.set(ModelProto.irVersion, [model.irVersion]);
  text(edits, m, ModelProto.producerName, model.producerName);
  text(edits, m, ModelProto.producerVersion, model.producerVersion);
  edits.set(ModelProto.graph, [encodeGraph(model.graph, file)]);
  opsets(edits, m, ModelProto.opsetImport, model.opsets);
  edits.set(
    ModelProto.functions,
    model.functions.map((f) => encodeFunction(f)),
  );
  return edit(m, edits);
}

function originOf(origin: Origin, kind: string): Message | undefined {
  return origin instanceof Uint8Array ? new Message(origin, kind) : undefined;
}

/** An optional text field: absent and "" mean the same, so it is touched only when it differs. */
function text(edits: MutableEdits, m: Message | undefined, field: number, value: string): void {
  if (value !== (m?.text(field) ?? "")) edits.set(field, value === "" ? [] : [value]);
}

function opsets(edits: MutableEdits, m: Message | undefined, field: number, now: ReadonlyMap<string, number>): void {
  const entries = m?.contents(field) ?? [];
  const before = decodeOpsets(entries);
  if (before.size === now.size && [...now].every(([domain, version]) => before.get(domain) === version)) return;
  const kept = new Map(entries.map((e) => [[...decodeOpsets([e]).keys()][0] as string, e]));
  const items = [...now].map(([domain, version]): Item => {
    const e = kept.get(domain);
    if (e && before.get(domain) === version) return e;
    const number: readonly [number, readonly Item[]] = [OperatorSetIdProto.version, [version]];
    return edit(e && new Message(e, "OperatorSetIdProto"), new Map(e ? [number] : [[OperatorSetIdProto.domain, [domain]], number]));
  });
  edits.set(field, items);
}

function encodeGraph(graph: Graph, file: ExternalFile | undefined): Chunks {
  const m = originOf(graph.origin, "GraphProto");
  const edits: MutableEdits = new Map();
  edits.set(
    GraphProto.node,
    graph.nodes.map((n) => encodeNode(n, file)),
  );
  text(edits, m, GraphProto.name, graph.name);
  const stored = named(m, GraphProto.initializer, TensorProto.name);
  const tensors = graph.initializers.map((v): Item => {
    if (!v.initializer) throw internal(`Initializer "${v.name}" has no tensor.`, { value: v.name });
    return encodeTensor(v.initializer, v.name, stored(v.name), file);
  });
  edits.set(GraphProto.initializer, tensors);
  for (const [field, values] of [
    [GraphProto.input, graph.inputs],
    [GraphProto.output, graph.outputs],
  ] as const) {
    const old = named(m, field, ValueInfoProto.name);
    edits.set(
      field,
      values.map((v) => encodeValueInfo(v, old(v.name))),
    );
  }
  if (m) valueInfos(edits, m, GraphProto.valueInfo, graph, () => definedIn(m));
  else edits.set(GraphProto.valueInfo, declarations([...graph.values].filter((v) => v.producer && !v.isOutput)));
  return edit(m, edits);
}

/** Sub-messages of `m` by their name; they are read only when somebody asks. */
function named(m: Message | undefined, field: number, nameField: number): (name: string) => Uint8Array | undefined {
  let byName: Map<string, Uint8Array> | undefined;
  return (name) => {
    byName ??= new Map(m?.contents(field).map((c) => [new Message(c, "NamedProto").text(nameField), c]));
    return byName.get(name);
  };
}

/**
 * Declarations of inner values: those of values that are gone leave, those of values whose type changed are rewritten.
 * Declarations of names that never were in the graph are none of our business and stay.
 */
function valueInfos(edits: MutableEdits, m: Message, field: number, graph: Graph, definedBefore: () => ReadonlySet<string>): void {
  let before: ReadonlySet<string> | undefined;
  const items: Item[] = [];
  for (const info of m.contents(field)) {
    const name = new Message(info, "ValueInfoProto").text(ValueInfoProto.name);
    const value = graph.value(name);
    if (!value) {
      before ??= definedBefore();
      if (!before.has(name)) items.push(info);
    } else if (value.type === undefined) {
      // No longer known; what the file says may be wrong by now. A declaration without a type stays as it is.
      if (value.origin instanceof Uint8Array && !typeChanged(value)) items.push(info);
    } else items.push(encodeValueInfo(value, info));
  }
  edits.set(field, items);
}

/** Declarations for a graph that comes from no file: of all values whose type is known. */
function declarations(values: readonly Value[]): Item[] {
  return values.filter((v) => v.type).map((v) => encodeValueInfo(v, undefined));
}

/** Names of the values that a stored graph defines. */
function definedIn(m: Message): Set<string> {
  const out = new Set<string>();
  for (const n of m.contents(GraphProto.node)) for (const o of new Message(n, "NodeProto").texts(NodeProto.output)) out.add(o);
  for (const i of m.contents(GraphProto.input)) out.add(new Message(i, "ValueInfoProto").text(ValueInfoProto.name));
  for (const t of m.contents(GraphProto.initializer)) out.add(new Message(t, "TensorProto").text(TensorProto.name));
  return out;
}

function encodeNode(node: Node, file: ExternalFile | undefined): Chunks {
  const m = originOf(node.origin, "NodeProto");
  const edits: MutableEdits = new Map();
  edits.set(NodeProto.input, node.inputs.map(nameOf));
  edits.set(NodeProto.output, node.outputs.map(nameOf));
  text(edits, m, NodeProto.name, node.name);
  text(edits, m, NodeProto.opType, node.opType);
  const old = named(m, NodeProto.attribute, AttributeProto.name);
  const attributes = [...node.attributes].map(([name, a]) => encodeAttribute(name, a, old, file));
  edits.set(NodeProto.attribute, attributes);
  const domain = m?.text(NodeProto.domain) ?? "";
  if ((domain === "ai.onnx" ? "" : domain) !== node.domain) text(edits, m, NodeProto.domain, node.domain);
  text(edits, m, NodeProto.overload, node.overload);
  return edit(m, edits);
}

function nameOf(value: Value | undefined): string {
  return value?.name ?? "";
}

/** `old` finds the attribute of a name that the node was decoded with: its doc string goes over to the new one. */
function encodeAttribute(name: string, a: Attribute, old: (name: string) => Uint8Array | undefined, file: ExternalFile | undefined): Item {
  const m = originOf(a.origin ?? old(name), "AttributeProto");
  const edits: MutableEdits = new Map();
  text(edits, m, AttributeProto.name, name);
  const sameKind = m !== undefined && kindOf(m) === a.kind;
  switch (a.kind) {
    case "tensor": {
      const base = m?.message(AttributeProto.t);
      edits.set(AttributeProto.t, [encodeTensor(a.value, undefined, base, file)]);
      break;
    }
    case "tensors":
      edits.set(
        AttributeProto.tensors,
        a.value.map((t) => encodeTensor(t, undefined, undefined, file)),
      );
      break;
    case "graph":
      edits.set(AttributeProto.g, [encodeGraph(a.value, file)]);
      break;
    case "graphs":
      edits.set(
        AttributeProto.graphs,
        a.value.map((g) => encodeGraph(g, file)),
      );
      break;
    case "opaque":
      if (!sameKind) throw internal(`Attribute "${name}" is opaque and has no origin.`);
      break;
    default:
      if (!sameKind || !samePlain(a, decodePlain(m))) writePlain(edits, a);
  }
  if (!sameKind) changeKind(edits, a.kind);
  return edit(m, edits);
}

type Plain = Exclude<Attribute, { kind: "tensor" | "tensors" | "graph" | "graphs" | "opaque" }>;

function writePlain(edits: MutableEdits, a: Plain): void {
  switch (a.kind) {
    case "int":
      edits.set(AttributeProto.i, [a.value]);
      break;
    case "ints":
      edits.set(AttributeProto.ints, a.value);
      break;
    case "float":
      edits.set(AttributeProto.f, [new Float32(a.value)]);
      break;
    case "floats":
      edits.set(
        AttributeProto.floats,
        a.value.map((v) => new Float32(v)),
      );
      break;
    case "string":
      edits.set(AttributeProto.s, [a.value]);
      break;
    case "strings":
      edits.set(AttributeProto.strings, a.value);
      break;
    case "reference":
      edits.set(AttributeProto.refAttrName, [a.value]);
      if (a.of) edits.set(AttributeProto.type, [typeOfKind(a.of)]);
      break;
    default:
      a satisfies never;
  }
}

function samePlain(a: Attribute, b: Attribute): boolean {
  if (a.kind !== b.kind) return false;
  if (a.kind === "reference" && b.kind === "reference") return a.value === b.value && a.of === b.of;
  if (Array.isArray(a.value) && Array.isArray(b.value)) {
    const other: readonly unknown[] = b.value;
    return a.value.length === other.length && a.value.every((v, i) => Object.is(v, other[i]));
  }
  return Object.is(a.value, b.value);
}

/** Sets the type field and drops whatever other value the message holds. */
function changeKind(edits: MutableEdits, kind: Attribute["kind"]): void {
  const others = [
    AttributeProto.tp,
    AttributeProto.typeProtos,
    AttributeProto.sparseTensor,
    AttributeProto.sparseTensors,
    AttributeProto.refAttrName,
  ];
  for (const field of [...KINDS.map(([, , f]) => f), ...others]) if (!edits.has(field)) edits.set(field, []);
  // A reference has the type of what it refers to, which writePlain sets.
  if (kind !== "reference" && kind !== "opaque") edits.set(AttributeProto.type, [typeOfKind(kind)]);
}

function typeOfKind(kind: AttributeKind): number {
  const entry = KINDS.find(([k]) => k === kind);
  if (!entry) throw internal(`Attribute kind "${kind}" has no AttributeType.`);
  return entry[1];
}

/** Tensors of functions stay inside: whether a runtime follows external data there was never tested. */
function encodeFunction(f: LocalFunction): Chunks {
  const [initializer] = f.body.initializers;
  if (initializer) {
    throw new ModelError("FUNCTION_INITIALIZER", `Function "${f.name}" has initializer "${initializer.name}"; ONNX functions have none.`, {
      at: { value: initializer.name },
      hint: "Make it a Constant node in the function's body.",
    });
  }
  const m = originOf(f.origin, "FunctionProto");
  const edits: MutableEdits = new Map();
  text(edits, m, FunctionProto.name, f.name);
  edits.set(FunctionProto.input, f.inputs);
  edits.set(FunctionProto.output, f.outputs);
  // With an origin, attributes are partly in attribute_proto, with their defaults; both lists stay as they are.
  if (!m) edits.set(FunctionProto.attribute, f.attributes);
  edits.set(
    FunctionProto.node,
    f.body.nodes.map((n) => encodeNode(n, undefined)),
  );
  opsets(edits, m, FunctionProto.opsetImport, f.opsets);
  text(edits, m, FunctionProto.domain, f.domain);
  text(edits, m, FunctionProto.overload, f.overload);
  if (m) valueInfos(edits, m, FunctionProto.valueInfo, f.body, () => functionDefines(m));
  else edits.set(FunctionProto.valueInfo, declarations([...f.body.values]));
  return edit(m, edits);
}

function functionDefines(m: Message): Set<string> {
  const out = new Set(m.texts(FunctionProto.input));
  for (const n of m.contents(FunctionProto.node)) for (const o of new Message(n, "NodeProto").texts(NodeProto.output)) out.add(o);
  return out;
}
