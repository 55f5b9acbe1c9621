/** A copy of a model that passes may edit while the original stays as it was. */
import { internal } from "../errors.js";
import type { Attribute } from "./attribute.js";
import { captures, Graph, Model, Node, Value, type ValueType } from "./graph.js";

/**
 * An independent copy of `model`: new graphs, nodes and values (subgraphs and local functions too), the same names and order.
 *
 * Tensors, types, attributes without graphs, and origins are immutable and shared, so the cost is linear in the number
 * of nodes and edges and no weight is read. `uses()` of a copied value lists its readers in graph order. `copies` is told
 * what became of each node and value.
 */
export function cloneModel(model: Model, copies: Copies = new Copies()): Model {
  const copy = new Model(cloneGraph(model.graph, copies));
  copy.irVersion = model.irVersion;
  for (const [domain, version] of model.opsets) copy.opsets.set(domain, version);
  for (const f of model.functions) copy.functions.push({ ...f, opsets: new Map(f.opsets), body: cloneGraph(f.body, new Copies()) });
  copy.producerName = model.producerName;
  copy.producerVersion = model.producerVersion;
  copy.origin = model.origin;
  copy.sha256 = model.sha256;
  copy.usesExternalData = model.usesExternalData;
  return copy;
}

/**
 * Part of `model` as a model of its own: copies of `nodes`, which must be nodes of the main graph in its order. Constants
 * they read come along, save those named in `asInputs`; whatever else they read from outside becomes an input, of the
 * element type `typeOf` gives and of any shape. `outputs` are values of the main graph that the part makes.
 */
export function extract(
  model: Model,
  nodes: readonly Node[],
  outputs: readonly Value[],
  asInputs: ReadonlySet<Value>,
  typeOf: (value: Value) => ValueType | undefined,
): Model {
  const copies = new Copies();
  const graph = new Graph(model.graph.name);
  graph.initializersAreConstant = model.graph.initializersAreConstant;
  const inside = new Set(nodes);
  const outer = new Set(nodes.flatMap((n) => [...n.inputs, ...captures(n)]));
  for (const v of outer) {
    if (!v || (v.producer && inside.has(v.producer))) continue;
    const copy = copyOf(v, copies);
    if (v.initializer && !asInputs.has(v)) graph.attachInitializer(copy, v.initializer);
    else {
      const type = typeOf(v);
      copy.type = type?.kind === "tensor" ? { ...type, shape: undefined } : type;
      copy.origin = undefined;
      graph.addInput(copy);
    }
  }
  for (const node of nodes) graph.appendNode(cloneNode(node, copies));
  for (const v of outputs) graph.addOutput(copyOf(v, copies));
  const part = new Model(graph);
  part.irVersion = model.irVersion;
  for (const [domain, version] of model.opsets) part.opsets.set(domain, version);
  for (const f of model.functions) part.functions.push({ ...f, opsets: new Map(f.opsets), body: cloneGraph(f.body, new Copies()) });
  return part;
}

/** What became of the nodes and values of a model's main graph and its subgraphs in a copy: names repeat among bodies. */
export class Copies {
  /** @internal */ readonly nodes = new Map<Node, Node>();
  /** @internal */ readonly values = new Map<Value, Value>();

  node(original: Node): Node {
    return found(this.nodes.get(original), original.label);
  }
  value(original: Value): Value {
    return found(this.values.get(original), original.name);
  }
}

function found<T>(copy: T | undefined, name: string): T {
  if (copy === undefined) throw internal(`"${name}" was not copied.`);
  return copy;
}

/** `copies` knows the values of the graphs around this one: a subgraph may read any of them. */
export function cloneGraph(graph: Graph, copies: Copies): Graph {
  const copy = new Graph(graph.name);
  copy.origin = graph.origin;
  copy.initializersAreConstant = graph.initializersAreConstant;
  // All values first: order is kept, and a graph whose nodes are (still) out of order is copied as it is.
  for (const v of graph.values) copy.declare(copyOf(v, copies));
  for (const v of graph.inputs) copy.addInput(copyOf(v, copies));
  for (const v of graph.initializers) if (v.initializer) copy.attachInitializer(copyOf(v, copies), v.initializer);
  for (const node of graph.nodes) copy.appendNode(cloneNode(node, copies));
  for (const v of graph.outputs) copy.addOutput(copyOf(v, copies));
  return copy;
}

function cloneNode(node: Node, copies: Copies): Node {
  const copy = new Node(node.opType, { name: node.name, domain: node.domain, overload: node.overload, origin: node.origin });
  node.inputs.forEach((v, i) => {
    copy.setInput(i, v && copyOf(v, copies));
  });
  copies.nodes.set(node, copy);
  for (const [name, a] of node.attributes) copy.setAttribute(name, cloneAttribute(a, copies));
  for (const v of node.outputs) copy.addOutput(v && copyOf(v, copies));
  return copy;
}

/** The node that gets the attribute becomes the owner of its graphs (Node.setAttribute). */
function cloneAttribute(a: Attribute, copies: Copies): Attribute {
  if (a.kind === "graph") return { ...a, value: cloneGraph(a.value, copies) };
  if (a.kind === "graphs") return { ...a, value: a.value.map((g) => cloneGraph(g, copies)) };
  return a;
}

/** The copy of `v`, made on first sight, so that a value no graph defines is copied too and check.ts can name it. */
function copyOf(v: Value, copies: Copies): Value {
  let copy = copies.values.get(v);
  if (!copy) {
    copy = new Value(v.name, v.type);
    copy.origin = v.origin;
    copies.values.set(v, copy);
  }
  return copy;
}
