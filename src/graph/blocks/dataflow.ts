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
    return node.isStandard && (node.opType === "Shape" || node.opType === "Size") ? [] : this.#readsOf(node);
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

  /**
   * Nodes by which `value` depends on `entry`, in graph order; with `extents`, also what only the extents of something in between tell.
   * Looks at what stands between the two alone.
   */
  between(entry: Value, value: Value, { extents }: { readonly extents: boolean }): readonly Node[] {
    const needed = new Set<Value>([value]);
    const cone: Node[] = [];
    for (let at = this.#position(value); at > this.#position(entry); at--) {
      const node = this.graph.nodes[at] as Node;
      if (!node.outputs.some((o) => o && needed.has(o))) continue;
      cone.push(node);
      for (const v of extents ? this.#readsOf(node) : this.dataReads(node)) needed.add(v);
    }
    const reached = new Set<Value>([entry]);
    return cone.reverse().filter((node) => {
      if (!this.dataReads(node).some((v) => reached.has(v))) return false;
      for (const o of node.outputs) if (o) reached.add(o);
      return true;
    });
  }

  /** The last value that `a` and `b` both depend on, themselves aside. */
  meeting(a: Value, b: Value): Value | undefined {
    const sides = [new Set<Value>(), new Set<Value>()] as const;
    const isCommon = (v: Value | undefined) => v !== undefined && sides.every((side) => side.has(v));
    for (let at = Math.max(this.#position(a), this.#position(b)); at >= 0; at--) {
      const node = this.graph.nodes[at] as Node;
      const common = node.outputs.find(isCommon);
      if (common) return common;
      for (const [i, value] of [a, b].entries()) {
        const side = sides[i] as Set<Value>;
        if (!node.outputs.some((o) => o && (o === value || side.has(o)))) continue;
        for (const v of this.dataReads(node)) if (this.isVarying(v)) side.add(v);
      }
    }
    return [...sides[0]].find((v) => this.#position(v) < 0 && sides[1].has(v));
  }

  /** Nodes that nobody needs once `entry` stands for the inputs `operands` of `sum`. */
  unneeded(sum: Node, operands: readonly number[], entry: Value): ReadonlySet<Node> {
    const kept = new Set([entry, ...sum.inputs.filter((_, i) => !operands.includes(i))]);
    const dead = new Set<Node>();
    const isDead = (o: Value | undefined) =>
      !o || (!o.isOutput && !kept.has(o) && this.readers(o).every((reader) => dead.has(reader) || reader === sum));
    const pending = operands.map((i) => sum.inputs[i]);
    while (pending.length > 0) {
      const v = pending.pop();
      const node = v && this.producer(v);
      if (!node || dead.has(node) || !node.outputs.every(isDead)) continue;
      dead.add(node);
      pending.push(...this.#readsOf(node));
    }
    return dead;
  }

  inOrder(nodes: Iterable<Node>): Node[] {
    return [...nodes].sort((a, b) => (this.#at.get(a) as number) - (this.#at.get(b) as number));
  }

  #readsOf(node: Node): readonly Value[] {
    return this.#reads.get(node) ?? [];
  }

  /** Of what makes `value`: -1 for what stands before all nodes. */
  #position(value: Value): number {
    const node = this.producer(value);
    return node ? (this.#at.get(node) as number) : -1;
  }
}
