/** Graphs of the IR: a graph owns its nodes, always in topological order, and its values. */
import { internal, ModelError } from "../errors.js";
import type { Attribute } from "./attribute.js";
import { Node, type Origin, Value } from "./node.js";
import type { Tensor } from "./tensor.js";

export * from "./model.js";
export * from "./node.js";

/** A graph owns its nodes (always in topological order) and its values. */
export class Graph {
  name: string;
  /** GraphProto this graph was decoded from; opaque to all but the codec. */
  origin: Origin;
  /** The node that holds this graph as an attribute; undefined for a main graph or a function body. */
  owner: Node | undefined;
  /** IR < 4: initializers must be listed as inputs, and are constants all the same. */
  initializersAreConstant = false;
  readonly #inputs: Value[] = [];
  readonly #outputs: Value[] = [];
  /** @internal */ readonly _inputSet = new Set<Value>();
  /** @internal */ readonly _outputSet = new Set<Value>();
  #nodes: Node[] = [];
  /** Nodes of this graph that hold subgraphs: freshName looks into them without walking all nodes. */
  readonly #controlFlow = new Set<Node>();
  readonly #values = new Map<string, Value>();
  readonly #initializers = new Map<string, Value>();
  #fresh = 0;

  constructor(name = "") {
    this.name = name;
  }

  get inputs(): readonly Value[] {
    return this.#inputs;
  }
  get outputs(): readonly Value[] {
    return this.#outputs;
  }
  /** In topological order. Copy before a loop that inserts or removes. */
  get nodes(): readonly Node[] {
    return this.#nodes;
  }
  /** Values that have an initializer, in file order. */
  get initializers(): readonly Value[] {
    return [...this.#initializers.values()];
  }
  /** Every value this graph defines (inputs, initializers, node outputs). */
  get values(): Iterable<Value> {
    return this.#values.values();
  }
  value(name: string): Value | undefined {
    return this.#values.get(name);
  }
  /** The value a name means here: own, or of an enclosing graph. */
  resolve(name: string): Value | undefined {
    return this.#values.get(name) ?? this.owner?._graph?.resolve(name);
  }

  addInput(value: Value): Value {
    this.#adopt(value);
    this.#inputs.push(value);
    this._inputSet.add(value);
    return value;
  }
  addOutput(value: Value): void {
    this.#outputs.push(value);
    this._outputSet.add(value);
  }
  /** Replaces output `index`; the new value must carry the old one's name for the interface to stay (checked by check.ts). */
  setOutput(index: number, value: Value): void {
    this.#outputs[index] = value;
    this._outputSet.clear();
    for (const o of this.#outputs) this._outputSet.add(o);
  }
  /** Makes these the outputs, in this order; the others become ordinary values. */
  setOutputs(values: readonly Value[]): void {
    this.#outputs.splice(0, this.#outputs.length, ...values);
    this._outputSet.clear();
    for (const o of values) this._outputSet.add(o);
  }
  /** Adds an initializer under `name` (made unique if taken). */
  addInitializer(name: string, tensor: Tensor): Value {
    const v = this.#adopt(new Value(this.freshName(name)));
    v._initializer = tensor;
    v.type = { kind: "tensor", dtype: tensor.dtype, shape: tensor.dims };
    this.#initializers.set(v.name, v);
    return v;
  }
  /** @internal The codec attaches an initializer to a value that may also be an input. */
  attachInitializer(value: Value, tensor: Tensor): void {
    if (value._graph !== this) this.#adopt(value);
    value._initializer = tensor;
    value.type ??= { kind: "tensor", dtype: tensor.dtype, shape: tensor.dims };
    this.#initializers.set(value.name, value);
  }
  /** Replaces the tensor of a constant value in place: its name and readers stay. */
  setConstant(value: Value, tensor: Tensor): void {
    if (value._initializer) value._initializer = tensor;
    else if (value._producer?.opType === "Constant") {
      for (const k of [...value._producer.attributes.keys()]) value._producer.setAttribute(k, undefined);
      value._producer.setAttribute("value", { kind: "tensor", value: tensor });
    } else throw internal(`"${value.name}" is not a constant.`);
    value.type = { kind: "tensor", dtype: tensor.dtype, shape: tensor.dims };
  }
  removeInitializer(value: Value): void {
    if (value._uses.size > 0 || value.isOutput) throw internal(`Initializer "${value.name}" is still read.`);
    this.#initializers.delete(value.name);
    value._initializer = undefined;
    if (!this._inputSet.has(value)) this.#disown(value);
  }
  /** Removes a graph input that nothing reads (only sensible for an input that repeats an initializer). */
  removeInput(value: Value): void {
    const at = this.#inputs.indexOf(value);
    if (at >= 0) this.#inputs.splice(at, 1);
    this._inputSet.delete(value);
    if (!value._initializer) this.#disown(value);
  }

  /** A name no value of this graph, its outer graphs or its subgraphs has. */
  freshName(base: string): string {
    let name = base;
    while (this.resolve(name) || this.#definesInside(name)) name = `${base}_${++this.#fresh}`;
    return name;
  }
  #definesInside(name: string): boolean {
    for (const node of this.#controlFlow) {
      for (const g of node.subgraphs()) if (g.#values.has(name) || g.#definesInside(name)) return true;
    }
    return false;
  }
  /** @internal Node.setAttribute reports here when it may have gained or lost a subgraph. */
  _noteSubgraphs(node: Node): void {
    if (node.subgraphs().length > 0) this.#controlFlow.add(node);
    else this.#controlFlow.delete(node);
  }

  /** @internal Appends an already wired node (codec, clone, builder). */
  appendNode(node: Node): Node {
    this.#own(node);
    this.#nodes.push(node);
    return node;
  }
  /**
   * Makes a node with fresh outputs and puts it before `anchor` (default: at the end).
   * `outputs` are names (made unique; "" leaves the output out); attributes as given.
   */
  insertNode(
    opType: string,
    inputs: readonly (Value | undefined)[],
    options: {
      outputs?: readonly string[];
      attributes?: Readonly<Record<string, Attribute>>;
      before?: Node;
      name?: string;
      domain?: string;
    } = {},
  ): Node {
    const at = options.before ? this.#nodes.indexOf(options.before) : this.#nodes.length;
    if (at < 0) throw internal(`Anchor "${options.before?.label}" is not in graph "${this.name}".`);
    const node = new Node(opType, { name: options.name ?? "", ...(options.domain === undefined ? {} : { domain: options.domain }) });
    inputs.forEach((v, i) => {
      node.setInput(i, v);
    });
    for (const [k, a] of Object.entries(options.attributes ?? {})) node.setAttribute(k, a);
    for (const name of options.outputs ?? [opType.toLowerCase()]) {
      node.addOutput(name === "" ? undefined : this.#adopt(new Value(this.freshName(name))));
    }
    node._graph = this;
    this._noteSubgraphs(node);
    this.#nodes.splice(at, 0, node);
    return node;
  }

  /** Puts `nodes`, which have taken over the outputs of `node` that anyone reads, in its place. */
  replaceNode(node: Node, nodes: readonly Node[]): void {
    const at = this.#nodes.indexOf(node);
    if (at < 0) throw internal(`Node "${node.label}" is not in graph "${this.name}".`);
    for (const g of node.subgraphs()) releaseCaptures(g);
    node.truncateInputs(0);
    this.#controlFlow.delete(node);
    node._graph = undefined;
    for (const n of nodes) this.#own(n);
    this.#nodes.splice(at, 1, ...nodes);
  }

  /** Every reader of `of`, graph outputs included, reads `by` instead. */
  replaceUses(of: Value, by: Value): void {
    for (const { node, index } of of.uses()) node.setInput(index, by);
    this.#outputs.forEach((o, i) => {
      if (o === of) this.setOutput(i, by);
    });
  }

  /**
   * Like replaceUses, but a graph output keeps its name: `by` (a node output of this graph) takes over the name.
   * Returns false, changing nothing, when that is impossible (`by` is itself an input, a constant, an output, or outer).
   */
  bypass(of: Value, by: Value): boolean {
    if (!of.isOutput) {
      this.replaceUses(of, by);
      return true;
    }
    const p = by._producer;
    if (!p || p._graph !== this || by.isOutput || p.opType === "Constant") return false;
    const q = of._producer;
    if (!q) return false;
    // The producer of `by` writes `of` directly; readers of `by` follow.
    const at = p.outputs.indexOf(by);
    q.releaseOutput(q.outputs.indexOf(of));
    for (const { node, index } of by.uses()) node.setInput(index, of);
    this.replaceProducerOutput(p, at, of);
    this.#disown(by);
    return true;
  }
  /** @internal Puts `value` in output slot `at` of `node`, dropping what was there. */
  replaceProducerOutput(node: Node, at: number, value: Value): void {
    node.releaseOutput(at);
    (node.outputs as (Value | undefined)[])[at] = value;
    value._producer = node;
  }

  /** Removes a node nobody reads. @throws InternalError while an output is used or is a graph output. */
  removeNode(node: Node): void {
    for (const o of node.outputs) {
      if (o && (o._uses.size > 0 || this._outputSet.has(o)))
        throw internal(`Node "${node.label}" is removed while "${o.name}" is still read.`);
    }
    this.removeNodes([node]);
  }
  /** Removes many nodes at once; the caller guarantees that only they read each other. */
  removeNodes(nodes: Iterable<Node>): void {
    const dead = new Set(nodes);
    if (dead.size === 0) return;
    for (const node of dead) {
      for (const g of node.subgraphs()) releaseCaptures(g);
      node.truncateInputs(0);
      for (const o of node.outputs) if (o) this.#disown(o);
      this.#controlFlow.delete(node);
      node._graph = undefined;
    }
    this.#nodes = this.#nodes.filter((n) => !dead.has(n));
  }

  /** Re-establishes topological order, stable. @throws ModelError if the graph has a cycle. */
  sort(): void {
    const state = new Map<Node, 1 | 2>();
    const order: Node[] = [];
    // Iterative depth-first: real graphs are thousands of nodes deep.
    for (const root of this.#nodes) {
      const stack: { node: Node; deps: Node[]; at: number }[] = [];
      const enter = (node: Node) => {
        if (state.get(node) === 2) return;
        if (state.get(node) === 1) {
          throw new ModelError("MODEL_CYCLE", `The graph has a cycle through node "${node.label}".`, { at: { node: node.label } });
        }
        state.set(node, 1);
        stack.push({ node, deps: this.#dependencies(node), at: 0 });
      };
      enter(root);
      while (stack.length > 0) {
        const top = stack[stack.length - 1] as { node: Node; deps: Node[]; at: number };
        const next = top.deps[top.at++];
        if (next) enter(next);
        else {
          state.set(top.node, 2);
          order.push(top.node);
          stack.pop();
        }
      }
    }
    this.#nodes = order;
  }
  #dependencies(node: Node): Node[] {
    const out: Node[] = [];
    const visit = (v: Value | undefined) => {
      if (v?._producer && v._graph === this) out.push(v._producer);
    };
    node.inputs.forEach(visit);
    for (const v of captures(node)) visit(v);
    return out;
  }

  #adopt(value: Value): Value {
    const have = this.#values.get(value.name);
    if (have && have !== value) {
      throw new ModelError("MODEL_DUPLICATE_NAME", `Two values of graph "${this.name}" are called "${value.name}".`, {
        at: { value: value.name },
      });
    }
    value._graph = this;
    this.#values.set(value.name, value);
    return value;
  }
  /** A value of no graph: sort and check must not mistake it, or its producer, for living parts of this one. */
  #disown(value: Value): void {
    this.#values.delete(value.name);
    value._graph = undefined;
  }
  #own(node: Node): void {
    node._graph = this;
    this._noteSubgraphs(node);
    for (const o of node.outputs) if (o) this.#adopt(o);
  }
  /** @internal For the codec: declares a value before its producer is seen. */
  declare(value: Value): Value {
    return this.#adopt(value);
  }
}

/** Every node of `graph` and its subgraphs, outer to inner: a node, then the nodes of its bodies, then the node after it. */
export function* everyNode(graph: Graph): Iterable<Node> {
  for (const node of graph.nodes) {
    yield node;
    for (const body of node.subgraphs()) yield* everyNode(body);
  }
}

/** `graph` and its subgraphs at any depth, outer to inner. */
export function* everyGraph(graph: Graph): Iterable<Graph> {
  yield graph;
  for (const node of graph.nodes) for (const body of node.subgraphs()) yield* everyGraph(body);
}

/** Outer values that the subgraphs of `node` read, at any depth, each once. */
export function captures(node: Node): Value[] {
  const found = new Set<Value>();
  const visit = (g: Graph, inside: Set<Graph>) => {
    inside.add(g);
    for (const n of g.nodes) {
      for (const v of n.inputs) if (v?._graph && !inside.has(v._graph)) found.add(v);
      for (const s of n.subgraphs()) visit(s, inside);
    }
    for (const v of g.outputs) if (v._graph && !inside.has(v._graph)) found.add(v);
  };
  for (const g of node.subgraphs()) visit(g, new Set());
  return [...found];
}

/** Takes back every read that nodes of `g`, a subgraph about to be dropped, make. */
export function releaseCaptures(g: Graph): void {
  for (const n of g.nodes) {
    for (const s of n.subgraphs()) releaseCaptures(s);
    n.truncateInputs(0);
  }
}
