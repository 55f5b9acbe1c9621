/** Who reads what in one graph, and what a value depends on. A node with subgraphs reads what they capture. */
import { captures, type Graph, type Node, type Value } from "../graph.js";

/** A snapshot of the reads of one graph: it does not follow later edits. */
export class Dataflow {
  readonly graph: Graph;
  readonly #at = new Map<Node, number>();
  readonly #reads = new Map<Node, readonly Value[]>();
  readonly #readers = new Map<Value, Node[]>();
  /** Outputs of nodes that depend on what callers feed. */
  readonly #varying = new Set<Value>();

  constructor(graph: Graph) {
    this.graph = graph;
    for (const [i, node] of graph.nodes.entries()) {
      const reads = [...new Set([...node.inputs.filter((v) => v !== undefined), ...captures(node)])];
      this.#at.set(node, i);
      this.#reads.set(node, reads);
      for (const v of reads) {
        const readers = this.#readers.get(v);
        if (readers) readers.push(node);
        else this.#readers.set(v, [node]);
      }
      if (reads.some((v) => this.isVarying(v))) for (const o of node.outputs) if (o) this.#varying.add(o);
    }
  }

  /** Nodes of this graph that read `value`, in graph order. */
  readers(value: Value): readonly Node[] {
    return this.#readers.get(value) ?? [];
  }

  /** What `node` reads for more than its extents. */
  dataReads(node: Node): readonly Value[] {
    return node.isStandard && (node.opType === "Shape" || node.opType === "Size") ? [] : (this.#reads.get(node) ?? []);
  }

  /** False for what is the same in every run: constants, and what is computed from them alone. */
  isVarying(value: Value): boolean {
    if (value.constant) return false;
    if (value.graph === this.graph && value.producer) return this.#varying.has(value);
    return true;
  }

  /** The node of this graph that makes `value`. */
  producer(value: Value): Node | undefined {
    return value.graph === this.graph ? value.producer : undefined;
  }

  /** Position of what makes `value`: -1 for what stands before all nodes. */
  position(value: Value): number {
    const node = this.producer(value);
    return node ? (this.#at.get(node) as number) : -1;
  }

  /** Nodes that `value` is computed by, in graph order; those it knows only the extents of included when `extents`. */
  before(value: Value, { extents }: { readonly extents: boolean }): readonly Node[] {
    const found = new Set<Node>();
    const pending: Value[] = [value];
    for (let v = pending.pop(); v; v = pending.pop()) {
      const node = this.producer(v);
      if (!node || found.has(node)) continue;
      found.add(node);
      pending.push(...(extents ? (this.#reads.get(node) ?? []) : this.dataReads(node)));
    }
    return this.inOrder(found);
  }

  /** Those of `nodes`, given in graph order, whose results depend on `value`. */
  dependents(value: Value, nodes: readonly Node[]): readonly Node[] {
    const reached = new Set<Value>([value]);
    return nodes.filter((node) => {
      if (!this.dataReads(node).some((v) => reached.has(v))) return false;
      for (const o of node.outputs) if (o) reached.add(o);
      return true;
    });
  }

  /** Those of `nodes`, given in graph order, that nobody needs once `entry` stands for the inputs `operands` of `sum`. */
  unneeded(nodes: readonly Node[], sum: Node, operands: readonly number[], entry: Value): ReadonlySet<Node> {
    const kept = new Set([entry, ...sum.inputs.filter((_, i) => !operands.includes(i))]);
    const dead = new Set<Node>();
    for (const node of [...nodes].reverse()) {
      const isDead = (o: Value | undefined) =>
        !o || (!o.isOutput && !kept.has(o) && this.readers(o).every((reader) => dead.has(reader) || reader === sum));
      if (node.outputs.every(isDead)) dead.add(node);
    }
    return dead;
  }

  inOrder(nodes: Iterable<Node>): Node[] {
    return [...nodes].sort((a, b) => (this.#at.get(a) as number) - (this.#at.get(b) as number));
  }
}
