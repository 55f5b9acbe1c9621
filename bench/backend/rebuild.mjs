// A model made anew from what the IR knows, without the bytes it was decoded from: nothing may be written back by habit.
import { Graph, Model, Node, Tensor, Value } from "../../dist/graph/index.js";

/** A copy of `model` without any origin. What only an origin can carry (sparse tensors, unknown attribute kinds) is in `lost`. */
export function rebuild(model) {
  const lost = [];
  const copy = new Model(graphOf(model.graph, new Map(), lost));
  copy.irVersion = model.irVersion;
  for (const [domain, version] of model.opsets) copy.opsets.set(domain, version);
  for (const f of model.functions)
    copy.functions.push({ ...f, opsets: new Map(f.opsets), body: graphOf(f.body, new Map(), lost), origin: undefined });
  copy.producerName = model.producerName;
  copy.producerVersion = model.producerVersion;
  return { model: copy, lost };
}

function graphOf(graph, values, lost) {
  const of = (v) => {
    if (!values.has(v)) values.set(v, new Value(v.name, v.type));
    return values.get(v);
  };
  const copy = new Graph(graph.name);
  copy.initializersAreConstant = graph.initializersAreConstant;
  for (const v of graph.values) copy.declare(of(v));
  for (const v of graph.inputs) copy.addInput(of(v));
  for (const v of graph.initializers) {
    if (v.initializer) copy.attachInitializer(of(v), tensorOf(v.initializer));
    else lost.push(`sparse initializer "${v.name}"`);
  }
  for (const node of graph.nodes) {
    const next = new Node(node.opType, { name: node.name, domain: node.domain, overload: node.overload });
    node.inputs.forEach((v, i) => {
      next.setInput(i, v && of(v));
    });
    for (const [name, a] of node.attributes) {
      if (a.kind === "opaque") lost.push(`attribute "${name}" of ${node.opType}: ${a.value}`);
      else next.setAttribute(name, attributeOf(a, values, lost));
    }
    for (const v of node.outputs) next.addOutput(v && of(v));
    copy.appendNode(next);
  }
  for (const v of graph.outputs) copy.addOutput(of(v));
  return copy;
}

function attributeOf({ origin: _, ...a }, values, lost) {
  switch (a.kind) {
    case "graph":
      return { ...a, value: graphOf(a.value, values, lost) };
    case "graphs":
      return { ...a, value: a.value.map((g) => graphOf(g, values, lost)) };
    case "tensor":
      return { ...a, value: tensorOf(a.value) };
    case "tensors":
      return { ...a, value: a.value.map(tensorOf) };
    default:
      return a;
  }
}

function tensorOf(t) {
  if (t.dtype === "string") return Tensor.ofStrings(t.dims, t.strings);
  return Tensor.ofBytes(t.dtype, t.dims, t.bytes.slice());
}
