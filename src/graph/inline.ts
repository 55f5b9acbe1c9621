/** Puts the nodes of one graph in the place of a node of another: a call of a local function, an If whose branch is known. */
import type { Attribute } from "./attribute.js";
import { isKnown } from "./dim.js";
import { Graph, type Model, Node, Value } from "./graph.js";

export interface Inlining {
  /** What the inputs of the body are; undefined where the call leaves one out. */
  readonly inputs: ReadonlyMap<Value, Value | undefined>;
  /** Name of a value or node of the body in its new place, before it is made unique there. */
  rename(name: string): string;
  /** What a reference to an attribute of the enclosing function stands for; undefined where nothing gives it. */
  attribute?(name: string): Attribute | undefined;
  /** Whether the symbols in the body's types mean what they mean around `node`. */
  readonly sharesSymbols: boolean;
}

/**
 * Replaces `node` by the nodes of `body`, in their order; the outputs of `node` keep their names and readers. `body` is
 * left as it is. Returns the new nodes of this graph, Identity nodes included that stand where an output of the body is
 * one of its inputs, a constant of an outer graph, or another output as well.
 */
export function inline(node: Node, body: Graph, inlining: Inlining): readonly Node[] {
  const graph = node.graph as Graph;
  const copier = new Copier(graph, inlining);
  // Output values of the node are made by what makes the body's, where that is possible.
  const taken = new Map<Value, Value>();
  const handed: [from: Value, to: Value][] = [];
  body.outputs.forEach((from, i) => {
    const to = node.outputs[i];
    if (!to) return;
    const isMade = from.producer !== undefined && from.graph === body && !taken.has(from);
    if (isMade) taken.set(from, to);
    else handed.push([from, to]);
  });
  node.outputs.forEach((_, i) => {
    node.releaseOutput(i);
  });
  for (const v of body.initializers) {
    if (!v.initializer || inlining.inputs.has(v)) continue;
    copier.values.set(v, graph.addInitializer(inlining.rename(v.name), v.initializer));
  }
  const nodes = body.nodes.map((n) => copier.node(n, graph, taken));
  for (const [from, to] of handed) {
    const identity = new Node("Identity", { name: "" });
    identity.setInput(0, copier.read(from));
    identity.addOutput(to);
    nodes.push(identity);
  }
  graph.replaceNode(node, nodes);
  return nodes;
}

/** Copies nodes under new names. */
class Copier {
  /** Values of the body, and of graphs inside it -> copies. Others are values around the node and stay. */
  readonly values: Map<Value, Value | undefined>;
  readonly #target: Graph;
  readonly #inlining: Inlining;
  readonly #names = new Set<string>();
  readonly #nodeNames: Set<string>;

  constructor(target: Graph, inlining: Inlining) {
    this.#target = target;
    this.#inlining = inlining;
    this.values = new Map(inlining.inputs);
    this.#nodeNames = new Set(target.nodes.map((n) => n.name));
  }

  read(value: Value): Value | undefined {
    return this.values.has(value) ? this.values.get(value) : value;
  }

  /** `taken`: values that become existing ones of the target. */
  node(original: Node, graph: Graph, taken: ReadonlyMap<Value, Value> = new Map()): Node {
    const copy = new Node(original.opType, {
      name: original.name === "" ? "" : this.#nodeName(this.#inlining.rename(original.name)),
      domain: original.domain,
      overload: original.overload,
    });
    original.inputs.forEach((v, i) => {
      copy.setInput(i, v && this.read(v));
    });
    while (copy.inputs.length > 0 && copy.inputs.at(-1) === undefined) copy.truncateInputs(copy.inputs.length - 1);
    for (const [name, a] of original.attributes) copy.setAttribute(name, this.#attribute(a));
    for (const o of original.outputs) copy.addOutput(o && (this.#takenOver(o, taken) ?? this.#fresh(o, graph)));
    return copy;
  }

  /** ONNX Runtime wants the names of the nodes of a graph to differ. */
  #nodeName(base: string): string {
    let name = base;
    for (let n = 2; this.#nodeNames.has(name); n++) name = `${base}_${n}`;
    this.#nodeNames.add(name);
    return name;
  }

  #takenOver(value: Value, taken: ReadonlyMap<Value, Value>): Value | undefined {
    const to = taken.get(value);
    if (to) this.values.set(value, to);
    return to;
  }

  #fresh(value: Value, graph: Graph): Value {
    const base = this.#inlining.rename(value.name);
    let name = graph === this.#target ? graph.freshName(base) : base;
    // Values that no graph has adopted yet are unknown to freshName.
    for (let n = 2; this.#names.has(name) || this.#isTaken(name); n++) name = `${base}_${n}`;
    this.#names.add(name);
    const type =
      value.type?.kind === "tensor" && !this.#inlining.sharesSymbols && !value.type.shape?.every(isKnown) ? undefined : value.type;
    const copy = new Value(name, type);
    this.values.set(value, copy);
    return copy;
  }

  #isTaken(name: string): boolean {
    return this.#target.resolve(name) !== undefined;
  }

  #attribute(a: Attribute): Attribute | undefined {
    const given = a.kind === "reference" ? this.#inlining.attribute?.(a.value) : a;
    if (given?.kind === "graph") return { kind: "graph", value: this.#graph(given.value) };
    if (given?.kind === "graphs") return { kind: "graphs", value: given.value.map((g) => this.#graph(g)) };
    return given;
  }

  #graph(original: Graph): Graph {
    const copy = new Graph(original.name);
    copy.initializersAreConstant = original.initializersAreConstant;
    for (const v of original.inputs) copy.addInput(this.#fresh(v, copy));
    for (const v of original.initializers) {
      const mine = (v.isInput && this.values.get(v)) || this.#fresh(v, copy);
      if (v.initializer) copy.attachInitializer(mine, v.initializer);
    }
    for (const n of original.nodes) copy.appendNode(this.node(n, copy));
    for (const v of original.outputs) {
      const mine = this.read(v);
      if (mine) copy.addOutput(mine);
    }
    return copy;
  }
}

/** The local function that `node` calls; undefined for an operator. */
export function calledFunction(model: Model, node: Node): Model["functions"][number] | undefined {
  return model.functions.find(
    (f) => f.name === node.opType && f.overload === node.overload && (f.domain === "ai.onnx" ? "" : f.domain) === node.domain,
  );
}
