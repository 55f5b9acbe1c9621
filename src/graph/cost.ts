/** What a model costs: multiply-accumulates, parameters, bytes of weights and of activations. Drives OpSpec.macs. */
import { type Dim, evaluate, product } from "./dim.js";
import { bitsOf, byteLengthOf, type DType, isFloat, isInteger } from "./dtype.js";
import { captures, type Graph, type Model, type Node, type Value } from "./graph.js";
import { infer, type Types } from "./infer.js";
import { tripsOf } from "./ops/control-flow.js";
import type { Tensor } from "./tensor.js";

/** Stands for every symbolic extent that is not a batch and not given: the side of the usual ImageNet crop. */
export const DEFAULT_EXTENT = 224;

export interface CostOptions {
  /** Numbers for symbolic extents, by symbol. */
  readonly symbols?: ReadonlyMap<string, number>;
  /** Numeric shapes of graph inputs, by name; their batch counts as given. Not together with `types`. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>>;
}

export interface NodeCost {
  readonly node: Node;
  readonly label: string;
  /** For a node with subgraphs: its own and theirs, iterations included. */
  readonly macs: number;
  /** Parameters read by this node and no node before it. */
  readonly parameters: number;
}

export interface Cost {
  /** Multiply-accumulates of one run; half of what others call FLOPs. */
  readonly macs: number;
  /**
   * Elements of float tensors and of quantised ones (integers of at most 16 bits), initializers and Constant nodes, that the
   * outputs depend on, each tensor once. Numbers that an operator packs into bytes count as those bytes.
   */
  readonly parameters: number;
  /** Bytes of all constant tensors the outputs depend on, integer ones (indices, shapes, quantised weights) included. */
  readonly parameterBytes: number;
  /** Peak bytes of inputs and intermediate values alive at once, in node order, no buffer reused in place; weights not included. */
  readonly activationBytes: number;
  /** Nodes of all graphs, as they stand. */
  readonly nodes: number;
  /** Nodes of the main graph, in order. */
  readonly byNode: readonly NodeCost[];
  /** Operators without a rule for their multiply-accumulates, or with extents that depend on data: counted as 0. Sorted. */
  readonly notCounted: readonly string[];
}

/**
 * The cost of one run at batch 1.
 *
 * Symbolic extents become numbers: by `symbols`, else 1 when the symbol is axis 0 of a graph input, else 224. A batch that
 * the model fixes to a number counts as that number. An If costs its dearer branch; a Loop or Scan costs its body
 * times the iterations when these are known, else once.
 */
export function cost(model: Model, types?: Types, options: CostOptions = {}): Cost {
  const known = types ?? infer(model, options.inputShapes ? { bind: options.inputShapes } : {});
  return new Costing(model, known, options.symbols ?? new Map()).total();
}

/** What weights are quantised to; indices and shapes are 32-bit or 64-bit integers, masks are bool. */
function isQuantised(dtype: DType): boolean {
  return isInteger(dtype) && bitsOf(dtype) <= 16;
}

class Costing {
  readonly #model: Model;
  readonly #types: Types;
  readonly #symbols: ReadonlyMap<string, number>;
  readonly #counted = new Set<Tensor>();
  readonly #notCounted = new Set<string>();
  readonly #live: ReadonlySet<Node>;
  #parameterBytes = 0;

  constructor(model: Model, types: Types, symbols: ReadonlyMap<string, number>) {
    this.#model = model;
    this.#types = types;
    this.#symbols = new Extents(model, types, symbols);
    this.#live = liveNodes(model.graph);
  }

  total(): Cost {
    const { graph } = this.#model;
    const byNode = graph.nodes.map((node): NodeCost => {
      const isLive = this.#live.has(node);
      return { node, label: node.label, macs: this.#macs(node), parameters: isLive ? this.#parameters(node) : 0 };
    });
    const outputs = graph.outputs.reduce((n, v) => n + this.#tensorParameters(v.constant), 0);
    return {
      macs: byNode.reduce((n, c) => n + c.macs, 0),
      parameters: byNode.reduce((n, c) => n + c.parameters, outputs),
      parameterBytes: this.#parameterBytes,
      activationBytes: this.#peakBytes(graph),
      nodes: countNodes(graph),
      byNode,
      notCounted: [...this.#notCounted].sort(),
    };
  }

  #macs(node: Node): number {
    const bodies = node.subgraphs();
    if (bodies.length > 0) {
      const each = bodies.map((g) => g.nodes.reduce((n, inner) => n + this.#macs(inner), 0));
      return Math.max(...each) * this.#iterations(node, bodies[0] as Graph);
    }
    const rule = this.#types.spec(node)?.macs;
    const macs = rule && this.#number(rule(this.#types.context(node)));
    if (macs === undefined) this.#notCounted.add(node.qualifiedType);
    return macs ?? 0;
  }

  #iterations(node: Node, body: Graph): number {
    let count: Dim | undefined;
    if (node.opType === "Loop") count = tripsOf(this.#types.context(node), body);
    if (node.opType === "Scan") {
      const first = node.inputs[node.inputs.length - node.int("num_scan_inputs", 0)];
      const shape = first && this.#types.shape(first);
      count = shape?.at(node.ints("scan_input_axes")?.[0] ?? 0);
    }
    return (count === undefined ? undefined : this.#number(count)) ?? 1;
  }

  /** Parameters of tensors that no node before has read, those inside its subgraphs included. */
  #parameters(node: Node): number {
    let sum = 0;
    for (const v of node.inputs) sum += this.#tensorParameters(v?.constant ?? v?.initializer);
    for (const body of node.subgraphs()) {
      for (const inner of body.nodes) sum += this.#parameters(inner);
      for (const v of body.outputs) sum += this.#tensorParameters(v.constant);
    }
    return sum;
  }

  #tensorParameters(tensor: Tensor | undefined): number {
    if (!tensor || this.#counted.has(tensor)) return 0;
    this.#counted.add(tensor);
    this.#parameterBytes += tensor.byteLength;
    return isFloat(tensor.dtype) || isQuantised(tensor.dtype) ? tensor.size : 0;
  }

  /** Values are alive from the node that makes them to the last that reads them. */
  #peakBytes(graph: Graph): number {
    const lastUse = new Map<Value, number>();
    const end = graph.nodes.length;
    for (const [at, node] of graph.nodes.entries()) for (const v of readsOf(node)) if (v.graph === graph) lastUse.set(v, at);
    for (const v of graph.outputs) lastUse.set(v, end);
    const endsAt = new Map<number, Value[]>();
    for (const [v, at] of lastUse) endsAt.set(at, [...(endsAt.get(at) ?? []), v]);
    let alive = 0;
    for (const v of graph.inputs) alive += this.#bytes(v);
    let peak = alive;
    for (const [at, node] of graph.nodes.entries()) {
      const made = node.outputs.filter((v) => v !== undefined);
      for (const v of made) alive += this.#bytes(v);
      const inner = Math.max(0, ...node.subgraphs().map((g) => this.#peakBytes(g)));
      peak = Math.max(peak, alive + inner);
      for (const v of endsAt.get(at) ?? []) alive -= this.#bytes(v);
      for (const v of made) if (!lastUse.has(v)) alive -= this.#bytes(v);
    }
    return peak;
  }

  /** Zero for constants, for what is not a tensor, and where the shape is not known. */
  #bytes(value: Value): number {
    const type = this.#types.type(value);
    if (value.constant || value.initializer || type?.kind !== "tensor" || !type.shape) return 0;
    return byteLengthOf(type.dtype, this.#number(product(type.shape)) ?? 0);
  }

  #number(d: Dim): number | undefined {
    const n = evaluate(d, this.#symbols);
    return n !== undefined && Number.isFinite(n) ? Math.max(0, n) : undefined;
  }
}

/** Numbers for all symbols: those given, 1 for batches, DEFAULT_EXTENT for the rest. */
class Extents extends Map<string, number> {
  constructor(model: Model, types: Types, symbols: ReadonlyMap<string, number>) {
    super();
    for (const v of model.graph.inputs) {
      const batch = types.shape(v)?.[0];
      if (typeof batch === "string" && !v.initializer) this.set(batch, 1);
    }
    for (const [symbol, n] of symbols) this.set(symbol, n);
  }

  override get(symbol: string): number | undefined {
    // A call such as "floor((H + 1)/2)" is not a symbol: dim.ts computes it from what stands inside.
    return super.get(symbol) ?? (symbol.endsWith(")") ? undefined : DEFAULT_EXTENT);
  }
}

function readsOf(node: Node): Value[] {
  return [...node.inputs.filter((v) => v !== undefined), ...captures(node)];
}

/** Nodes of the main graph that its outputs depend on. */
function liveNodes(graph: Graph): ReadonlySet<Node> {
  const live = new Set<Node>();
  const pending: Value[] = [...graph.outputs];
  for (let v = pending.pop(); v; v = pending.pop()) {
    const node = v.producer;
    if (!node || live.has(node)) continue;
    live.add(node);
    pending.push(...readsOf(node));
  }
  return live;
}

function countNodes(graph: Graph): number {
  return graph.nodes.reduce((n, node) => n + 1 + node.subgraphs().reduce((m, g) => m + countNodes(g), 0), 0);
}
