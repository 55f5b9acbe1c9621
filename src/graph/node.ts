/**
 * Values and nodes of the IR, with use-def links kept both ways by the mutators below.
 *
 * Edges are object references; names are labels (a value's name is unique in its graph and is the stable key across
 * clones). A node inside a subgraph may read values of an outer graph: such a use is an ordinary use of the outer
 * value, with `node.graph !== value.graph`.
 */
import { internal, ModelError } from "../errors.js";
import type { Attribute } from "./attribute.js";
import type { Dim } from "./dim.js";
import type { DType } from "./dtype.js";
import type { Graph } from "./graph.js";
import { Tensor } from "./tensor.js";

/** A dense tensor. `shape` undefined = rank unknown. */
export interface TensorType {
  readonly kind: "tensor";
  readonly dtype: DType;
  readonly shape: readonly Dim[] | undefined;
}
/** Sequences, maps, optionals, sparse tensors: carried through, never looked into. `text` is for printing. */
export interface OtherType {
  readonly kind: "other";
  readonly text: string;
}
export type ValueType = TensorType | OtherType;

/** One place where a value is read. */
export interface Use {
  readonly node: Node;
  readonly index: number;
}

/** Opaque codec record (protobuf message) behind an object, so that what we do not model survives unchanged. */
export type Origin = object | undefined;

/** One tensor-valued name: a graph input, an initializer, or a node output. */
export class Value {
  readonly name: string;
  /** Declared or inferred type. */
  type: ValueType | undefined;
  /** ValueInfoProto this value was declared by (input, output or value_info). */
  origin: Origin;
  /** @internal */ _graph: Graph | undefined;
  /** @internal */ _producer: Node | undefined;
  /** @internal */ _initializer: Tensor | undefined;
  /** @internal insertion-ordered: "node" may appear once per input index */
  readonly _uses = new Map<Node, Set<number>>();

  constructor(name: string, type?: ValueType) {
    this.name = name;
    this.type = type;
  }

  /** The graph that owns this value; undefined only for a value not yet added. */
  get graph(): Graph | undefined {
    return this._graph;
  }
  /** The node whose output this is. */
  get producer(): Node | undefined {
    return this._producer;
  }
  /** Tensor of the initializer of this name, also when it is an overridable default of a graph input. */
  get initializer(): Tensor | undefined {
    return this._initializer;
  }
  get isInput(): boolean {
    return this._graph?._inputSet.has(this) ?? false;
  }
  get isOutput(): boolean {
    return this._graph?._outputSet.has(this) ?? false;
  }

  /**
   * The tensor this value always has: an initializer, or the output of a Constant node with a tensor-like attribute.
   * An initializer that is also a graph input is a default that callers may override, hence not a constant, except
   * under IR < 4, where every initializer had to be listed among the inputs.
   */
  get constant(): Tensor | undefined {
    if (this._initializer) return this.isInput && !this._graph?.initializersAreConstant ? undefined : this._initializer;
    const p = this._producer;
    if (p && p.opType === "Constant" && p.isStandard) return p.constantTensor();
    return undefined;
  }

  /** Every read of this value, in the order the reads were made, nodes of subgraphs included. Graph outputs are not uses. */
  uses(): Use[] {
    const out: Use[] = [];
    for (const [node, indices] of this._uses) for (const index of indices) out.push({ node, index });
    return out;
  }
  get useCount(): number {
    let n = 0;
    for (const s of this._uses.values()) n += s.size;
    return n;
  }
  /** The shape, when it is a tensor of known rank. */
  get shape(): readonly Dim[] | undefined {
    return this.type?.kind === "tensor" ? this.type.shape : undefined;
  }
  get dtype(): DType | undefined {
    return this.type?.kind === "tensor" ? this.type.dtype : undefined;
  }
}

/** One operation. Inputs and outputs may have holes (an empty name in ONNX). */
export class Node {
  name: string;
  readonly domain: string;
  readonly opType: string;
  readonly overload: string;
  /** NodeProto this node was decoded from (doc string, metadata, unknown fields); opaque to all but the codec. */
  origin: Origin;
  /** @internal */ _graph: Graph | undefined;
  readonly #inputs: (Value | undefined)[] = [];
  readonly #outputs: (Value | undefined)[] = [];
  readonly #attributes = new Map<string, Attribute>();

  constructor(opType: string, options: { name?: string; domain?: string; overload?: string; origin?: Origin } = {}) {
    this.opType = opType;
    this.name = options.name ?? "";
    this.domain = options.domain === "ai.onnx" ? "" : (options.domain ?? "");
    this.overload = options.overload ?? "";
    this.origin = options.origin;
  }

  get graph(): Graph | undefined {
    return this._graph;
  }
  get inputs(): readonly (Value | undefined)[] {
    return this.#inputs;
  }
  get outputs(): readonly (Value | undefined)[] {
    return this.#outputs;
  }
  get attributes(): ReadonlyMap<string, Attribute> {
    return this.#attributes;
  }
  /** Of the default ONNX domain (ai.onnx). */
  get isStandard(): boolean {
    return this.domain === "";
  }
  /** What to call this node in messages: its name, else its first output. */
  get label(): string {
    return this.name !== "" ? this.name : (this.#outputs.find((o) => o)?.name ?? `${this.opType} without outputs`);
  }
  /** "Conv", or "com.microsoft.FusedConv" outside the default domain. */
  get qualifiedType(): string {
    return this.isStandard ? this.opType : `${this.domain}.${this.opType}`;
  }

  /** Replaces one input (append with index === inputs.length); keeps use lists right. */
  setInput(index: number, value: Value | undefined): void {
    while (this.#inputs.length < index) this.#inputs.push(undefined);
    const old = this.#inputs[index];
    if (old) {
      const s = old._uses.get(this);
      s?.delete(index);
      if (s?.size === 0) old._uses.delete(this);
    }
    this.#inputs[index] = value;
    if (value) {
      const s = value._uses.get(this);
      if (s) s.add(index);
      else value._uses.set(this, new Set([index]));
    }
  }
  /** Drops trailing inputs so that `length` remain. */
  truncateInputs(length: number): void {
    while (this.#inputs.length > length) {
      this.setInput(this.#inputs.length - 1, undefined);
      this.#inputs.pop();
    }
  }
  /** @internal Adds an output slot; only Graph.addNode and the codec call this before the node is in a graph. */
  addOutput(value: Value | undefined): void {
    if (value?._producer) throw internal(`Value "${value.name}" already has a producer.`);
    if (value) value._producer = this;
    this.#outputs.push(value);
  }
  /** @internal Detaches output `index` (used when another node takes over the value). */
  releaseOutput(index: number): Value | undefined {
    const v = this.#outputs[index];
    if (v) v._producer = undefined;
    this.#outputs[index] = undefined;
    return v;
  }
  /** Sets or (undefined) removes an attribute; a graph given here becomes owned by this node. */
  setAttribute(name: string, attribute: Attribute | undefined): void {
    this.#scalarTensor = undefined;
    if (attribute === undefined) this.#attributes.delete(name);
    else this.#attributes.set(name, attribute);
    if (attribute?.kind === "graph") attribute.value.owner = this;
    else if (attribute?.kind === "graphs") for (const g of attribute.value) g.owner = this;
    this._graph?._noteSubgraphs(this);
  }

  /** Attribute readers: the value, or `fallback` when absent. @throws ModelError when it has another type. */
  int(name: string): number | undefined;
  int(name: string, fallback: number): number;
  int(name: string, fallback?: number): number | undefined {
    const a = this.#read(name, "int");
    return a === undefined ? fallback : (a as number);
  }
  float(name: string): number | undefined;
  float(name: string, fallback: number): number;
  float(name: string, fallback?: number): number | undefined {
    const a = this.#read(name, "float");
    return a === undefined ? fallback : (a as number);
  }
  ints(name: string): readonly number[] | undefined;
  ints(name: string, fallback: readonly number[]): readonly number[];
  ints(name: string, fallback?: readonly number[]): readonly number[] | undefined {
    const a = this.#read(name, "ints");
    return a === undefined ? fallback : (a as readonly number[]);
  }
  string(name: string): string | undefined;
  string(name: string, fallback: string): string;
  string(name: string, fallback?: string): string | undefined {
    const a = this.#read(name, "string");
    return a === undefined ? fallback : (a as string);
  }
  tensor(name: string): Tensor | undefined {
    return this.#read(name, "tensor") as Tensor | undefined;
  }
  #read(name: string, kind: Attribute["kind"]): unknown {
    const a = this.#attributes.get(name);
    if (a === undefined) return undefined;
    if (a.kind !== kind) {
      throw new ModelError(
        "MODEL_ATTRIBUTE_TYPE",
        `Attribute "${name}" of ${this.opType} "${this.label}" should be ${kind}, but is ${a.kind}.`,
        {
          at: { node: this.label },
        },
      );
    }
    return a.value;
  }

  /** The tensor a Constant node stands for; undefined for forms we do not read (sparse, strings, references). */
  constantTensor(): Tensor | undefined {
    const v = this.#attributes.get("value");
    if (v?.kind === "tensor") return v.value;
    return this.#constantFromScalar();
  }
  #scalarTensor: Tensor | undefined;
  #constantFromScalar(): Tensor | undefined {
    if (!this.#scalarTensor) for (const [name, a] of this.#attributes) this.#scalarTensor ??= scalarConstant(name, a);
    return this.#scalarTensor;
  }

  /** Graphs held by attributes, in attribute order. */
  subgraphs(): Graph[] {
    const out: Graph[] = [];
    for (const a of this.#attributes.values()) {
      if (a.kind === "graph") out.push(a.value);
      else if (a.kind === "graphs") out.push(...a.value);
    }
    return out;
  }
}

/** A Constant node's scalar forms (value_int, value_floats …) as a tensor. */
function scalarConstant(name: string, a: Attribute): Tensor | undefined {
  if (name === "value_int" && a.kind === "int") return Tensor.ints([a.value], []);
  if (name === "value_ints" && a.kind === "ints") return Tensor.ints(a.value);
  if (name === "value_float" && a.kind === "float") return Tensor.floats([], [a.value]);
  if (name === "value_floats" && a.kind === "floats") return Tensor.floats([a.value.length], a.value);
  return undefined;
}
