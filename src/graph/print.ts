/**
 * Models as ONNX text, the syntax of onnx.parser.parse_model (docs/Syntax.md of the ONNX repository).
 *
 * What is printed with every tensor (`tensors: "all"`) is accepted there, save for forms ONNX's text has no word for:
 * subgraph names and attribute names that are not identifiers (printed in quotes), op types and domains that are not
 * (quoted, `"my-domain".Op`), lists of tensors or graphs (ONNX reads them as empty), and int4, uint4, int2 and uint2
 * tensors (printed by element; ONNX puts one element in each byte). Our parser (parse.ts) reads all of them.
 * float16, bfloat16 and the 8-bit floats are printed as bit patterns, which is what ONNX reads.
 *
 * Doc strings, metadata and whatever else only the codec knows (`origin`) are not printed.
 */
import { UnsupportedError } from "../errors.js";
import type { Attribute } from "./attribute.js";
import type { Dim } from "./dim.js";
import type { Graph, LocalFunction, Model, Node, Value, ValueType } from "./graph.js";
import type { Tensor } from "./tensor.js";
import { asFloatText, float32Text, isIdentifier, numberText, openDim, quotable, quote, quoteBytes, typeName } from "./text-syntax.js";

export interface PrintOptions {
  /** "elide" (default) writes tensors of more than 16 elements as `{...}` and never reads them from disk. */
  readonly tensors?: "all" | "elide";
  /** Appends the types of a node's outputs as a comment, `# float[N,64,8,8]`. Default false. */
  readonly types?: boolean;
  /** Declares the types of node outputs beside the initializers (value_info), so that they are parsed back. Default false. */
  readonly declareTypes?: boolean;
}

/** Above this many elements a tensor is elided. */
const ELIDE_ABOVE = 16;

/** The whole model as text, with a line break at its end. */
export function print(model: Model, options: PrintOptions = {}): string {
  const parts = [modelHeader(model), printGraph(model.graph, options)];
  for (const f of model.functions) parts.push("", printFunction(f, options));
  return `${parts.join("\n")}\n`;
}

/** One graph: `name (inputs) => (outputs) <initializers> { nodes }`. */
export function printGraph(graph: Graph, options: PrintOptions = {}): string {
  return graphText(graph, options, "");
}

/** One node, on one line unless it holds subgraphs. */
export function printNode(node: Node, options: PrintOptions = {}): string {
  return nodeText(node, options, "");
}

/**
 * `float[N,3,224,224]`; `float` is a scalar, `float[]` a tensor of unknown rank; "?" for an unknown type.
 * An extent that the declaration of `valueName` leaves open is `?`.
 */
export function typeText(type: ValueType | undefined, valueName?: string): string {
  if (type === undefined) return "?";
  if (type.kind === "other") return type.text;
  const name = typeName(type.dtype);
  if (type.shape === undefined) return `${name}[]`;
  return type.shape.length === 0 ? name : `${name}[${type.shape.map((d, axis) => dimText(d, axis, valueName)).join(",")}]`;
}

function dimText(dim: Dim, axis: number, valueName: string | undefined): string {
  if (typeof dim === "number") return String(dim);
  if (dim === "?" || (valueName !== undefined && dim === openDim(valueName, axis))) return "?";
  return isIdentifier(dim) ? dim : quote(dim);
}

function modelHeader(model: Model): string {
  const entries = [`ir_version: ${model.irVersion}`, opsetText(model.opsets)];
  if (model.producerName !== "") entries.push(`producer_name: ${quote(model.producerName)}`);
  if (model.producerVersion !== "") entries.push(`producer_version: ${quote(model.producerVersion)}`);
  return `<${entries.join(", ")}>`;
}

function opsetText(opsets: ReadonlyMap<string, number>): string {
  return `opset_import: [${[...opsets].map(([domain, version]) => `${quote(domain)} : ${version}`).join(", ")}]`;
}

function printFunction(f: LocalFunction, options: PrintOptions): string {
  const header = [`domain: ${quote(f.domain)}`, opsetText(f.opsets)];
  if (f.overload !== "") header.push(`overload: ${quote(f.overload)}`);
  const attributes = f.attributes.length > 0 ? ` <${f.attributes.map(quotable).join(", ")}>` : "";
  const names = (list: readonly string[]) => `(${list.map(quotable).join(", ")})`;
  const signature = `${quotable(f.name)}${attributes} ${names(f.inputs)} => ${names(f.outputs)}`;
  const types = options.declareTypes ? [...f.body.values].filter((v) => v.type).map(declaration) : [];
  return `<${header.join(", ")}>\n${signature}${listText(types, "")} ${body(f.body, options, "")}`;
}

function graphText(graph: Graph, options: PrintOptions, indent: string): string {
  const declared = (values: readonly Value[]) => `(${values.map(declaration).join(", ")})`;
  const signature = `${quotable(graph.name)} ${declared(graph.inputs)} => ${declared(graph.outputs)}`;
  const extras = graph.initializers.map((v) => initializerText(v, options));
  if (options.declareTypes) for (const v of computed(graph)) if (v.type) extras.push(declaration(v));
  return `${signature}${listText(extras, indent)} ${body(graph, options, indent)}`;
}

/** ` <…>` with an entry per line; nothing for no entries. */
function listText(entries: readonly string[], indent: string): string {
  return entries.length === 0 ? "" : ` <\n${entries.map((e) => `${indent}  ${e}`).join(",\n")}\n${indent}>`;
}

/** Node outputs that the signature does not declare. */
function* computed(graph: Graph): Iterable<Value> {
  for (const node of graph.nodes) for (const o of node.outputs) if (o && !o.isOutput) yield o;
}

function body(graph: Graph, options: PrintOptions, indent: string): string {
  return `{\n${graph.nodes.map((n) => `${indent}  ${nodeText(n, options, `${indent}  `)}\n`).join("")}${indent}}`;
}

function declaration(v: Value): string {
  return v.type === undefined ? quotable(v.name) : `${typeText(v.type, v.name)} ${quotable(v.name)}`;
}

function initializerText(v: Value, options: PrintOptions): string {
  const t = v.initializer as Tensor;
  return `${tensorTypeText(t)} ${quotable(v.name)} = ${dataText(t, options)}`;
}

function nodeText(node: Node, options: PrintOptions, indent: string): string {
  const label = node.name === "" ? "" : `[${quotable(node.name)}] `;
  const outputs = node.outputs.map(nameOrHole).join(", ");
  const inputs = `(${node.inputs.map(nameOrHole).join(", ")})`;
  const attributes = [...node.attributes].map(
    ([name, a]) => `${isIdentifier(name) ? name : quote(name)}${attributeText(a, options, indent)}`,
  );
  let call = operatorText(node);
  if (attributes.length === 0) call += ` ${inputs}`;
  else if (node.subgraphs().length === 0) call += ` <${attributes.join(", ")}> ${inputs}`;
  else call += ` ${inputs}${listText(attributes, indent)}`;
  const types = options.types ? `  # ${node.outputs.map((o) => typeText(o?.type, o?.name)).join(", ")}` : "";
  return `${label}${outputs === "" ? "" : `${outputs} `}= ${call}${types}`;
}

function nameOrHole(v: Value | undefined): string {
  return v === undefined ? '""' : quotable(v.name);
}

function operatorText(node: Node): string {
  const type = isIdentifier(node.opType) ? node.opType : quote(node.opType);
  const overload = node.overload === "" ? "" : `:${isIdentifier(node.overload) ? node.overload : quote(node.overload)}`;
  if (node.domain === "") return type + overload;
  return `${node.domain.split(".").every(isIdentifier) ? node.domain : quote(node.domain)}.${type}${overload}`;
}

/** Everything after the attribute's name. The kind is annotated only where the value does not show it. */
function attributeText(a: Attribute, options: PrintOptions, indent: string): string {
  const list = (kind: string, items: readonly string[]) => (items.length === 0 ? `: ${kind} = []` : ` = [${items.join(", ")}]`);
  // ONNX's indentation of a subgraph: one level below the attribute that holds it.
  const inner = `${indent}  `;
  switch (a.kind) {
    case "int":
      return ` = ${intText(a.value)}`;
    case "ints":
      return list("ints", a.value.map(intText));
    case "float":
      return ` = ${asFloatText(float32Text(a.value))}`;
    case "floats":
      return list(
        "floats",
        a.value.map((x) => asFloatText(float32Text(x))),
      );
    case "string":
      return ` = ${quote(a.value)}`;
    case "strings":
      return list("strings", a.value.map(quote));
    case "tensor":
      return ` = ${tensorText(a.value, options)}`;
    case "tensors":
      return `: tensors = [${a.value.map((t) => tensorText(t, options)).join(", ")}]`;
    case "graph":
      return ` = ${graphText(a.value, options, inner)}`;
    case "graphs":
      return `: graphs = [${a.value.map((g) => graphText(g, options, inner)).join(", ")}]`;
    case "reference":
      return `${a.of ? `: ${a.of}` : ""} = @${quotable(a.value)}`;
    case "opaque":
      return `: opaque = ${quote(a.value)}`;
    default:
      return a satisfies never;
  }
}

/** Saturated integers (±2^53) stand for "to the end": they are written as the int64 limits, as Tensor does. */
function intText(x: number): string {
  if (x >= Number.MAX_SAFE_INTEGER) return "9223372036854775807";
  return x <= -Number.MAX_SAFE_INTEGER ? "-9223372036854775807" : String(x);
}

function tensorText(t: Tensor, options: PrintOptions): string {
  return `${tensorTypeText(t)} ${dataText(t, options)}`;
}

function tensorTypeText(t: Tensor): string {
  return typeText({ kind: "tensor", dtype: t.dtype, shape: t.dims });
}

function dataText(t: Tensor, options: PrintOptions): string {
  if (options.tensors !== "all" && t.size > ELIDE_ABOVE) return "{...}";
  return `{${elements(t).join(", ")}}`;
}

function elements(t: Tensor): string[] {
  switch (t.dtype) {
    case "string":
      return t.strings.map(quoteBytes);
    case "float32":
    case "complex64":
      return Array.from(t.data as Float32Array, float32Text);
    case "float64":
    case "complex128":
      return Array.from(t.data as Float64Array, numberText);
    case "int4":
    case "uint4":
    case "int2":
    case "uint2":
      return Array.from(t.numbers(), String);
    case "float4e2m1":
      return Array.from({ length: t.size }, (_, i) => String(((t.bytes[i >> 1] as number) >> (4 * (i & 1))) & 15));
    case "undefined":
      throw new UnsupportedError("PRINT_TENSOR", `A tensor of undefined element type and dims [${t.dims}] cannot be printed.`);
    default:
      // Integers, bool, and the floats of 16 and 8 bits, whose `data` are bit patterns.
      return Array.from(t.data as ArrayLike<number | bigint>, String);
  }
}
