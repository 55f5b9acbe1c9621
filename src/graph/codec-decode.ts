/** Bytes to IR: names become references, messages become origins. */
import { ModelError, UnsupportedError } from "../errors.js";
import type { Attribute } from "./attribute.js";
import { type TensorSource, tensorOf } from "./codec-tensor.js";
import { decodeValueInfo } from "./codec-type.js";
import { dtypeOfWire } from "./dtype.js";
import { captures, Graph, type LocalFunction, Model, Node, Value, type ValueType } from "./graph.js";
import {
  AttributeProto,
  AttributeProto_AttributeType as AttributeType,
  FunctionProto,
  GraphProto,
  ModelProto,
  NodeProto,
  OperatorSetIdProto,
  SparseTensorProto,
  TensorProto,
  Version,
} from "./proto/generated/fields.js";
import { Message, textOf } from "./proto/wire.js";

/** Graphs in attributes of nodes of graphs in …; deeper is a hostile file. */
const MAX_DEPTH = 64;

/** What holds for everything in one file. */
interface File {
  readonly source: TensorSource;
  readonly initializersAreConstant: boolean;
}

/** See decode() in codec.ts. */
export function decodeModel(input: Uint8Array, options: TensorSource): Model {
  // A plain view: slices of a Buffer are Buffers, which are slow to make.
  const bytes = new Uint8Array(input.buffer, input.byteOffset, input.length);
  if (bytes.length === 0) throw notOnnx("Expected an ONNX model, but the file is empty.");
  const lfs = "version https://git-lfs";
  if (textOf(bytes, 0, Math.min(bytes.length, lfs.length)) === lfs) {
    throw new ModelError("MODEL_NOT_ONNX", "Expected an ONNX model, but this is a Git LFS pointer to one.", {
      hint: "Fetch the file with `git lfs pull`.",
    });
  }
  const m = new Message(bytes, "ModelProto");
  const graph = m.message(ModelProto.graph);
  if (!graph) throw notOnnx("Expected an ONNX model, but it has no graph.");
  const irVersion = m.int(ModelProto.irVersion);
  if (irVersion === undefined) throw notOnnx("Expected an ONNX model, but it has no IR version.");
  if (irVersion > Version.IR_VERSION) {
    throw new UnsupportedError(
      "UNSUPPORTED_IR_VERSION",
      `The model has IR version ${irVersion}; this version reads up to ${Version.IR_VERSION}.`,
      {
        hint: "Update onnx-prune, or export the model for an older ONNX release.",
      },
    );
  }

  let external = false;
  const source: TensorSource = {
    external: options.external,
    onExternal: (data) => {
      external = true;
      options.onExternal?.(data);
    },
  };
  const file: File = { source, initializersAreConstant: irVersion < 4 };
  const model = new Model(decodeGraph(graph, undefined, file, 0));
  model.irVersion = irVersion;
  for (const [domain, version] of decodeOpsets(m.contents(ModelProto.opsetImport))) model.opsets.set(domain, version);
  for (const f of m.contents(ModelProto.functions)) model.functions.push(decodeFunction(f, file));
  model.producerName = m.text(ModelProto.producerName);
  model.producerVersion = m.text(ModelProto.producerVersion);
  model.origin = bytes;
  model.usesExternalData = external;
  return model;
}

function notOnnx(message: string): ModelError {
  return new ModelError("MODEL_NOT_ONNX", message, { hint: "Give a file written by an ONNX exporter (usually *.onnx)." });
}

/** domain -> version, from OperatorSetIdProtos. */
export function decodeOpsets(entries: readonly Uint8Array[]): Map<string, number> {
  const out = new Map<string, number>();
  for (const e of entries) {
    const m = new Message(e, "OperatorSetIdProto");
    const domain = m.text(OperatorSetIdProto.domain);
    out.set(domain === "ai.onnx" ? "" : domain, m.int(OperatorSetIdProto.version) ?? 0);
  }
  return out;
}

function decodeGraph(bytes: Uint8Array, owner: Node | undefined, file: File, depth: number): Graph {
  if (depth > MAX_DEPTH) {
    throw new ModelError("MODEL_TOO_DEEP", `Graphs are nested more than ${MAX_DEPTH} deep.`, {
      hint: "The file is damaged or hostile; no exporter nests like that.",
    });
  }
  const m = new Message(bytes, "GraphProto");
  const graph = new Graph(m.text(GraphProto.name));
  graph.origin = bytes;
  graph.owner = owner;
  graph.initializersAreConstant = file.initializersAreConstant;
  for (const info of m.contents(GraphProto.input)) {
    const { name, type } = decodeValueInfo(info);
    refuseDuplicate(graph, name, undefined);
    graph.addInput(declared(new Value(name, type), info));
  }
  for (const t of m.contents(GraphProto.initializer)) addInitializer(graph, t, file);
  for (const t of m.contents(GraphProto.sparseInitializer)) declareSparse(graph, t);

  const nodes = m.contents(GraphProto.node);
  const outputs = m.contents(GraphProto.output).map((info) => ({ info, ...decodeValueInfo(info) }));
  declareNodes(graph, nodes);
  // The declaration in the interface counts for more than the one in value_info.
  for (const { info, name, type } of outputs) declare(graph, name, type, info);
  for (const info of m.contents(GraphProto.valueInfo)) {
    const { name, type } = decodeValueInfo(info);
    declare(graph, name, type, info);
  }
  connectNodes(graph, nodes, file, depth);
  for (const { name } of outputs) graph.addOutput(outputOf(graph, name));
  return graph;
}

function declared(value: Value, info: Uint8Array): Value {
  value.origin = info;
  return value;
}

/** Gives a value its declaration, unless it has one already. */
function declare(graph: Graph, name: string, type: ValueType | undefined, info: Uint8Array): void {
  const value = graph.value(name);
  if (!value || value.origin) return;
  declared(value, info);
  value.type = type ?? value.type;
}

function addInitializer(graph: Graph, bytes: Uint8Array, file: File): void {
  const { name, tensor } = tensorOf(bytes, "", file.source);
  const input = graph.value(name);
  if (input?.initializer) refuseDuplicate(graph, name, undefined);
  graph.attachInitializer(input ?? new Value(name), tensor);
}

/** A sparse initializer defines a value like any other, but its data stays in the origin: it is not a constant to us. */
function declareSparse(graph: Graph, bytes: Uint8Array): void {
  const sparse = new Message(bytes, "SparseTensorProto");
  const stored = sparse.message(SparseTensorProto.values);
  if (!stored) return;
  const values = new Message(stored, "TensorProto");
  const name = values.text(TensorProto.name);
  if (graph.value(name)) return;
  const dtype = dtypeOfWire(values.int(TensorProto.dataType) ?? 0) ?? "undefined";
  graph.declare(new Value(name, { kind: "tensor", dtype, shape: sparse.ints(SparseTensorProto.dims) }));
}

/** Creates the nodes and the values they define, so that any node may be referred to before it is read. */
function declareNodes(graph: Graph, messages: readonly Uint8Array[]): void {
  for (const bytes of messages) {
    const m = new Message(bytes, "NodeProto");
    const node = new Node(m.text(NodeProto.opType), {
      name: m.text(NodeProto.name),
      domain: m.text(NodeProto.domain),
      overload: m.text(NodeProto.overload),
      origin: bytes,
    });
    for (const name of m.texts(NodeProto.output)) {
      if (name !== "") refuseDuplicate(graph, name, node);
      node.addOutput(name === "" ? undefined : graph.declare(new Value(name)));
    }
    graph.appendNode(node);
  }
}

function refuseDuplicate(graph: Graph, name: string, node: Node | undefined): void {
  const have = graph.value(name);
  if (!have) return;
  const first = have.producer ? `an output of "${have.producer.label}"` : have.isInput ? "a graph input" : "an initializer";
  const second = node ? `node "${node.label}" (${node.qualifiedType})` : `the graph "${graph.name}"`;
  throw new ModelError("MODEL_DUPLICATE_NAME", `Value "${name}" is defined twice: it is ${first}, and ${second} defines it again.`, {
    at: { value: name, ...(node ? { node: node.label } : {}) },
    hint: "Value names must be unique. The exporter wrote an invalid graph; onnx.checker will say the same.",
  });
}

function connectNodes(graph: Graph, messages: readonly Uint8Array[], file: File, depth: number): void {
  const nodes = [...graph.nodes];
  nodes.forEach((node, i) => {
    const m = new Message(messages[i] as Uint8Array, "NodeProto");
    m.texts(NodeProto.input).forEach((name, index) => {
      node.setInput(index, name === "" ? undefined : inputOf(graph, name, node));
    });
    for (const a of m.contents(NodeProto.attribute)) {
      const { name, attribute } = decodeAttribute(a, node, file, depth);
      if (node.attributes.has(name)) {
        throw new ModelError("MODEL_DUPLICATE_NAME", `Node "${node.label}" (${node.qualifiedType}) has two attributes "${name}".`, {
          at: { node: node.label },
        });
      }
      node.setAttribute(name, attribute);
    }
  });
  if (!isSorted(graph)) graph.sort();
}

/** The specification asks for topological order, and not every exporter delivers it. */
function isSorted(graph: Graph): boolean {
  const done = new Set<Node>();
  const isLate = (v: Value | undefined) => v?.producer !== undefined && v.graph === graph && !done.has(v.producer);
  for (const node of graph.nodes) {
    if (node.inputs.some(isLate) || captures(node).some(isLate)) return false;
    done.add(node);
  }
  return true;
}

function inputOf(graph: Graph, name: string, node: Node): Value {
  const value = graph.resolve(name);
  if (value) return value;
  throw new ModelError("MODEL_UNDEFINED_VALUE", `Node "${node.label}" (${node.qualifiedType}) reads "${name}", which nothing defines.`, {
    at: { node: node.label, value: name },
    hint: "The graph is invalid: a node or initializer was lost when it was exported or edited.",
  });
}

function outputOf(graph: Graph, name: string): Value {
  const value = graph.resolve(name);
  if (value) return value;
  throw new ModelError("MODEL_UNDEFINED_VALUE", `Graph "${graph.name}" has output "${name}", which nothing defines.`, {
    at: { value: name },
    hint: "The graph is invalid: the node that computed this output was lost when it was exported or edited.",
  });
}

function decodeAttribute(bytes: Uint8Array, node: Node, file: File, depth: number): { name: string; attribute: Attribute } {
  const m = new Message(bytes, "AttributeProto");
  const name = m.text(AttributeProto.name);
  const tensor = (t: Uint8Array) => tensorOf(t, `${node.label}.${name}`, file.source).tensor;
  const graph = (g: Uint8Array) => decodeGraph(g, node, file, depth + 1);
  const nothing = new Uint8Array();
  const attribute = ((): Attribute => {
    switch (kindOf(m)) {
      case "tensor":
        return { kind: "tensor", value: tensor(m.message(AttributeProto.t) ?? nothing), origin: bytes };
      case "tensors":
        return { kind: "tensors", value: m.contents(AttributeProto.tensors).map(tensor), origin: bytes };
      case "graph":
        return { kind: "graph", value: graph(m.message(AttributeProto.g) ?? nothing), origin: bytes };
      case "graphs":
        return { kind: "graphs", value: m.contents(AttributeProto.graphs).map(graph), origin: bytes };
      default:
        return { ...decodePlain(m), origin: bytes };
    }
  })();
  return { name, attribute };
}

/** Kind of an attribute message. The type field came with IR 2; before, the field in use told. */
export function kindOf(m: Message): Attribute["kind"] {
  if (m.text(AttributeProto.refAttrName) !== "") return "reference";
  const type = m.int(AttributeProto.type) ?? AttributeType.UNDEFINED;
  for (const [kind, number, field] of KINDS) if (type === AttributeType.UNDEFINED ? m.has(field) : type === number) return kind;
  return "opaque";
}

/** kind, its AttributeType, and the field that holds the value */
export const KINDS = [
  ["int", AttributeType.INT, AttributeProto.i],
  ["ints", AttributeType.INTS, AttributeProto.ints],
  ["float", AttributeType.FLOAT, AttributeProto.f],
  ["floats", AttributeType.FLOATS, AttributeProto.floats],
  ["string", AttributeType.STRING, AttributeProto.s],
  ["strings", AttributeType.STRINGS, AttributeProto.strings],
  ["tensor", AttributeType.TENSOR, AttributeProto.t],
  ["tensors", AttributeType.TENSORS, AttributeProto.tensors],
  ["graph", AttributeType.GRAPH, AttributeProto.g],
  ["graphs", AttributeType.GRAPHS, AttributeProto.graphs],
] as const satisfies readonly (readonly [Attribute["kind"], number, number])[];

/** An attribute that holds neither tensors nor graphs. */
export function decodePlain(m: Message): Attribute {
  switch (kindOf(m)) {
    case "int":
      return { kind: "int", value: m.int(AttributeProto.i) ?? 0 };
    case "ints":
      return { kind: "ints", value: m.ints(AttributeProto.ints) };
    case "float":
      return { kind: "float", value: m.float(AttributeProto.f) ?? 0 };
    case "floats":
      return { kind: "floats", value: m.floats(AttributeProto.floats) };
    case "string":
      return { kind: "string", value: m.text(AttributeProto.s) };
    case "strings":
      return { kind: "strings", value: m.texts(AttributeProto.strings) };
    case "reference": {
      const type = m.int(AttributeProto.type);
      const of = KINDS.find(([, number]) => number === type)?.[0];
      return { kind: "reference", value: m.text(AttributeProto.refAttrName), ...(of ? { of } : {}) };
    }
    default:
      return { kind: "opaque", value: `attribute type ${m.int(AttributeProto.type) ?? AttributeType.UNDEFINED}` };
  }
}

/** A function's body is a graph whose inputs have no types but those in value_info. */
function decodeFunction(bytes: Uint8Array, file: File): LocalFunction {
  const m = new Message(bytes, "FunctionProto");
  const name = m.text(FunctionProto.name);
  const body = new Graph(name);
  body.initializersAreConstant = file.initializersAreConstant;
  const inputs = m.texts(FunctionProto.input);
  const outputs = m.texts(FunctionProto.output);
  for (const input of inputs) {
    refuseDuplicate(body, input, undefined);
    body.addInput(new Value(input));
  }
  const nodes = m.contents(FunctionProto.node);
  declareNodes(body, nodes);
  for (const info of m.contents(FunctionProto.valueInfo)) {
    const { name: value, type } = decodeValueInfo(info);
    declare(body, value, type, info);
  }
  connectNodes(body, nodes, file, 0);
  for (const output of outputs) body.addOutput(outputOf(body, output));
  const defaults = m.contents(FunctionProto.attributeProto).map((a) => decodeAttribute(a, new Node(name), file, 0));
  return {
    domain: m.text(FunctionProto.domain),
    name,
    overload: m.text(FunctionProto.overload),
    inputs,
    outputs,
    attributes: [...m.texts(FunctionProto.attribute), ...defaults.map((a) => a.name)],
    defaults: new Map(defaults.map((a) => [a.name, a.attribute])),
    opsets: decodeOpsets(m.contents(FunctionProto.opsetImport)),
    body,
    origin: bytes,
  };
}
