/** The invariants of the IR, numbered so that messages and ARCHITECTURE.md can cite them. */
import { InternalError } from "../errors.js";
import type { Graph, Model, Node, Value, ValueType } from "./graph.js";
import { print, typeText } from "./print.js";
import type { Tensor } from "./tensor.js";

export interface CheckOptions {
  /** Invariant 5: sentences about values whose declared type is not what their node gives (infer.ts). Not checked without it. */
  readonly reinfer?: (model: Model) => readonly string[];
  /** Invariant 6: what inputs and outputs must be. Without it only their being defined is checked. */
  readonly interface?: Interface;
}

/**
 * Violations of the invariants, each a sentence that starts with the number of the invariant and names node or value:
 *
 * 1 every value has one definition, and its name is unique in its graph; 2 a node reads only what is defined before it;
 * 3 uses and inputs, and nodes and the graphs that list them, agree both ways; 4 a constant's data has its declared dims
 * and dtype; 5 re-inferring each known op gives the declared type; 6 graph outputs are defined in their graph, and names
 * and types of the model's inputs and outputs are those of `interface`; 7 opset imports cover every domain used;
 * 8 what a subgraph captures exists around it, under a name that means it there.
 *
 * Linear in the size of the model; tensors are not read from disk.
 */
export function check(model: Model, options: CheckOptions = {}): string[] {
  const checker = new Checker();
  checker.root(model.graph, model.opsets);
  for (const f of model.functions) checker.root(f.body, f.opsets);
  const violations = [...checker.violations];
  // Inference trusts the structure, so it only runs on one that holds.
  if (options.reinfer && violations.length === 0) violations.push(...options.reinfer(model).map((v) => `(5) ${v}`));
  if (options.interface) violations.push(...interfaceChanges(options.interface, interfaceOf(model)));
  return violations;
}

/** A graph input or output as callers see it. `type` is undefined where the model does not declare one. */
export interface Port {
  readonly name: string;
  readonly type: ValueType | undefined;
}
export interface Interface {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}

/** What callers of the model rely on. Inputs that only repeat an initializer (IR < 4) are not part of it. */
export function interfaceOf(model: Model): Interface {
  const port = (v: Value): Port => ({ name: v.name, type: v.type });
  const { inputs, outputs } = model.graph;
  return { inputs: inputs.filter((v) => v.constant === undefined).map(port), outputs: outputs.map(port) };
}

/** A pass left a graph that is not valid: our bug, with the evidence. */
export class BrokenGraphError extends InternalError {
  readonly violations: readonly string[];
  /** The model before and after the pass as ONNX text, large tensors elided. */
  readonly before: string;
  readonly after: string;

  constructor(pass: string, violations: readonly string[], before: Model, after: Model) {
    super("PASS_BROKE_GRAPH", `Pass "${pass}" broke the graph: ${violations.join(" ")}`, {
      at: { pass },
      hint: "This is a bug in the pass. Please report it with the model and the command line; leave the pass out to go on.",
    });
    this.violations = violations;
    this.before = print(before, { types: true });
    this.after = print(after, { types: true });
  }
}

/**
 * Checks what `pass` made of `before`: all invariants, and the interface of `before`. Violations that `before` has too
 * are not the pass's doing and are let through.
 *
 * @throws BrokenGraphError PASS_BROKE_GRAPH with every new violation and both models as text.
 */
export function assertValid(pass: string, before: Model, after: Model, options: Pick<CheckOptions, "reinfer"> = {}): void {
  const violations = check(after, { ...options, interface: interfaceOf(before) });
  if (violations.length === 0) return;
  const old = new Set(check(before, options));
  const fresh = violations.filter((v) => !old.has(v));
  if (fresh.length > 0) throw new BrokenGraphError(pass, fresh, before, after);
}

class Checker {
  readonly violations: string[] = [];
  /** Values defined above the node at hand, and the graphs whose values it may read. */
  readonly #defined = new Set<Value>();
  readonly #visible = new Set<Graph>();
  readonly #nodes = new Set<Node>();
  readonly #domainsMissing = new Set<string>();

  /** A main graph or a function body, with all that is inside. */
  root(graph: Graph, opsets: ReadonlyMap<string, number>): void {
    this.#domainsMissing.clear();
    this.#nodes.clear();
    this.#graph(graph, opsets);
    this.#uses(graph);
  }

  #graph(graph: Graph, opsets: ReadonlyMap<string, number>): void {
    this.#visible.add(graph);
    for (const v of graph.inputs) this.#define(v, graph, v.producer === undefined, `an input of ${graphName(graph)}`);
    for (const v of graph.initializers) {
      const known = this.#defined.has(v);
      if (!v.isInput || !known) this.#define(v, graph, v.producer === undefined, `an initializer of ${graphName(graph)}`);
      if (v.initializer) this.#tensor(v, v.initializer);
    }
    for (const node of graph.nodes) this.#node(node, graph, opsets);
    this.#outputs(graph);
    this.#visible.delete(graph);
  }

  #node(node: Node, graph: Graph, opsets: ReadonlyMap<string, number>): void {
    const name = nodeName(node);
    if (this.#nodes.has(node)) this.#violation(3, `${name} is listed twice.`);
    this.#nodes.add(node);
    if (node.graph !== graph) this.#violation(3, `${name} is listed by ${graphName(graph)}, but says it is in ${graphName(node.graph)}.`);
    if (!opsets.has(node.domain) && !this.#domainsMissing.has(node.domain)) {
      this.#domainsMissing.add(node.domain);
      this.#violation(7, `${name} is of domain "${node.domain}", which no opset import covers.`);
    }
    node.inputs.forEach((v, i) => {
      if (!v) return;
      this.#read(v, graph, name);
      if (!v._uses.get(node)?.has(i))
        this.#violation(3, `${name} reads "${v.name}" as input ${i}, but "${v.name}" does not list that use.`);
    });
    for (const inner of node.subgraphs()) {
      if (inner.owner !== node) this.#violation(3, `${graphName(inner)} is held by ${name}, but names another owner.`);
      this.#graph(inner, opsets);
    }
    for (const o of node.outputs) {
      if (!o) continue;
      this.#define(o, graph, o.producer === node && !o.isInput && !o.initializer, `an output of ${name}`);
      if (o.constant) this.#tensor(o, o.constant);
    }
  }

  /** `sole`: the value agrees that this is its one definition. */
  #define(v: Value, graph: Graph, sole: boolean, as: string): void {
    if (this.#defined.has(v) || !sole) this.#violation(1, `"${v.name}", ${as}, is also defined elsewhere.`);
    else if (graph.value(v.name) !== v) {
      this.#violation(1, `"${v.name}", ${as}, is not the value that ${graphName(graph)} knows by this name.`);
    }
    this.#defined.add(v);
  }

  #read(v: Value, graph: Graph, reader: string): void {
    const owner = v.graph;
    if (owner === undefined || owner.value(v.name) !== v) this.#violation(2, `${reader} reads "${v.name}", which no graph defines.`);
    else if (owner !== graph && !this.#visible.has(owner)) {
      this.#violation(8, `${reader} reads "${v.name}" of ${graphName(owner)}, which is not around ${graphName(graph)}.`);
    } else if (owner !== graph && graph.resolve(v.name) !== v) {
      this.#violation(8, `${reader} reads "${v.name}" of ${graphName(owner)}, but a nearer value has this name.`);
    } else if (!this.#defined.has(v)) this.#violation(2, `${reader} reads "${v.name}" before it is defined.`);
  }

  #outputs(graph: Graph): void {
    for (const v of graph.outputs) {
      const where = `output "${v.name}" of ${graphName(graph)}`;
      if (v.graph === graph && graph.value(v.name) === v && this.#defined.has(v)) continue;
      // ONNX Runtime refuses a subgraph that returns an outer value as it is.
      this.#violation(6, `${where} is ${v.graph && v.graph !== graph ? `a value of ${graphName(v.graph)}` : "not defined"}.`);
    }
  }

  #tensor(v: Value, t: Tensor): void {
    if (v.type && (v.type.kind !== "tensor" || v.type.dtype !== t.dtype || !fits(t.dims, v.type))) {
      const data = typeText({ kind: "tensor", dtype: t.dtype, shape: t.dims });
      this.#violation(4, `"${v.name}" is declared as ${typeText(v.type)}, but its data is ${data}.`);
    }
    if (!t.isLoaded) return;
    const [got, want] = t.dtype === "string" ? [t.strings.length, t.size] : [t.bytes.length, t.byteLength];
    if (got !== want) this.#violation(4, `"${v.name}" should have ${want} bytes or strings of data, but has ${got}.`);
  }

  /** The other way of invariant 3, once all nodes of a root are known. */
  #uses(graph: Graph): void {
    for (const v of graph.values) {
      for (const { node, index } of v.uses()) {
        if (!this.#nodes.has(node)) this.#violation(3, `"${v.name}" lists a use by ${nodeName(node)}, which is in no graph of the model.`);
        else if (node.inputs[index] !== v) {
          this.#violation(3, `"${v.name}" lists a use as input ${index} of ${nodeName(node)}, which reads something else there.`);
        }
      }
    }
    for (const node of graph.nodes) for (const inner of node.subgraphs()) this.#uses(inner);
  }

  #violation(invariant: number, sentence: string): void {
    this.violations.push(`(${invariant}) ${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}`);
  }
}

/** Symbols in the declared type may stand for any extent: the input of a default value, say. */
function fits(dims: readonly number[], { shape }: ValueType & { kind: "tensor" }): boolean {
  return shape === undefined || (shape.length === dims.length && shape.every((d, axis) => typeof d === "string" || d === dims[axis]));
}

function interfaceChanges(before: Interface, after: Interface): string[] {
  return [...portChanges("input", before.inputs, after.inputs), ...portChanges("output", before.outputs, after.outputs)];
}

function portChanges(what: "input" | "output", before: readonly Port[], after: readonly Port[]): string[] {
  const names = (ports: readonly Port[]) => ports.map((p) => `"${p.name}"`).join(", ");
  if (names(before) !== names(after))
    return [`(6) The model's ${what}s were ${names(before) || "none"}, and are ${names(after) || "none"}.`];
  return before.flatMap((was, i) => {
    const [old, now] = [typeText(was.type), typeText(after[i]?.type)];
    return was.type === undefined || old === now ? [] : [`(6) The model's ${what} "${was.name}" was ${old}, and is ${now}.`];
  });
}

function nodeName(node: Node): string {
  return `node "${node.label}" (${node.qualifiedType})`;
}

function graphName(graph: Graph | undefined): string {
  return graph === undefined ? "no graph" : `graph "${graph.name}"`;
}
