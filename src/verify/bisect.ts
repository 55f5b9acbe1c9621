/** Which value is the first that differs between two graphs, found in few runs and little memory. */
import type { Kept } from "../graph/coupling/choices.js";
import type { Coupling } from "../graph/coupling/groups.js";
import { takeKept } from "../graph/coupling/slice.js";
import { isFloat } from "../graph/dtype.js";
import type { Model, Node, Value } from "../graph/graph.js";
import { infer } from "../graph/infer.js";
import type { Tensor } from "../graph/tensor.js";
import type { FirstDifference } from "../report.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { difference } from "./difference.js";
import { extract } from "./extract.js";
import { keptPart } from "./kept-part.js";
import { runAll } from "./pieces.js";

export interface BisectRequest {
  readonly reference: Model;
  readonly candidate: Model;
  readonly feeds: Feeds;
  /** Relative error allowed per value. */
  readonly tolerance: number;
  /** Where the candidate's axes keep only some indices of the reference's. Without it values are compared whole. */
  readonly removal?: { readonly coupling: Coupling; readonly kept: Kept };
  /** Names of the values to compare; default: all that both graphs have. */
  readonly among?: ReadonlySet<string>;
}

/** Values that become outputs of one session. */
const VALUES_AT_ONCE = 48;

/**
 * The node at which candidate and reference part; undefined when no value that reaches an output differs.
 *
 * Values with the same name are compared, the reference's at its kept positions. A binary search over cuts of the
 * graph: a cut is what is still read after the first p nodes, so a run holds no more than the model itself would, and
 * only the part of the model before the cut is loaded. Where everything at a cut agrees, what is wrong lies after it;
 * else before. The search ends at a node with agreeing inputs and a differing output, after log₂(nodes) runs of each graph.
 * A difference that vanishes again before any output is not one that is looked for.
 */
export async function bisect(runner: Runner, request: BisectRequest): Promise<FirstDifference | undefined> {
  const search = new Search(runner, request);
  let low = 0;
  let high = search.nodes.length;
  let found = await search.differing(high);
  if (!found) return undefined;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    const here = await search.differing(middle);
    if (here) {
      high = middle;
      found = here;
    } else low = middle;
  }
  return search.describe(found);
}

/** Every value that both graphs have, compared. */
export interface ValuesCompared {
  readonly count: number;
  /** Largest relative error of any of them. */
  readonly maxRel: number;
  /** The first, in graph order, that differs. */
  readonly first: FirstDifference | undefined;
}

/**
 * Compares every float value that both graphs have, a few at a time, whether or not it reaches an output: finds what
 * `bisect` is not looking for, in nodes / 48 runs of each graph.
 */
export async function compareValues(runner: Runner, request: BisectRequest): Promise<ValuesCompared> {
  return new Search(runner, request).all();
}

interface Pair {
  readonly mine: Value;
  readonly theirs: Value;
  /** Number of the node that makes it, and of the last that reads it (Infinity: an output). */
  readonly made: number;
  readonly read: number;
}

class Search {
  /** Nodes of the reference whose values may be compared, in graph order. */
  readonly nodes: readonly Node[];
  readonly #runner: Runner;
  readonly #request: BisectRequest;
  readonly #pairs: readonly Pair[];

  constructor(runner: Runner, request: BisectRequest) {
    const { reference, candidate, removal, among } = request;
    this.#runner = runner;
    this.#request = request;
    // The Gathers of the oracle and of the slicer have names of their own, which may collide.
    const known = removal?.coupling.typing.model.graph;
    const isOwn = (n: Node) => !known || n.outputs.some((o) => o && known.value(o.name));
    this.nodes = reference.graph.nodes.filter(isOwn);
    // A Gather before a node is a part of that node.
    const order = new Map<Node, number>();
    let next = 0;
    for (const n of reference.graph.nodes) order.set(n, isOwn(n) ? next++ : next);
    const types = infer(reference);
    const pairs: Pair[] = [];
    for (const [made, node] of this.nodes.entries()) {
      for (const mine of node.outputs) {
        const theirs = mine && candidate.graph.value(mine.name);
        const type = mine && types.type(mine);
        if (!mine || !theirs || type?.kind !== "tensor" || mine.constant || theirs.constant || (known && !known.value(mine.name))) continue;
        if (among && !among.has(mine.name)) continue;
        // Sizes computed from shapes rightly differ; other integers are judged by what they lead to.
        if (types.content(mine) || !(isFloat(type.dtype) || mine.isOutput)) continue;
        const read = mine.isOutput ? Number.POSITIVE_INFINITY : Math.max(-1, ...mine.uses().map((u) => order.get(outermost(u.node)) ?? -1));
        pairs.push({ mine, theirs, made, read });
      }
    }
    this.#pairs = pairs;
  }

  /** The first value, of those alive after `count` nodes, that differs. */
  async differing(count: number): Promise<Pair | undefined> {
    const alive = this.#pairs.filter((p) => p.made < count && p.read >= count);
    for (let at = 0; at < alive.length; at += VALUES_AT_ONCE) {
      const pairs = alive.slice(at, at + VALUES_AT_ONCE);
      const [want, got] = await this.#both(pairs);
      for (const p of pairs) {
        const found = this.#compare(got[p.mine.name], want[p.mine.name], p.mine.name);
        if (!(found.maxRel <= this.#request.tolerance)) return p;
      }
    }
    return undefined;
  }

  async all(): Promise<ValuesCompared> {
    let maxRel = 0;
    let first: Pair | undefined;
    for (let at = 0; at < this.#pairs.length; at += VALUES_AT_ONCE) {
      const pairs = this.#pairs.slice(at, at + VALUES_AT_ONCE);
      const [want, got] = await this.#both(pairs);
      for (const p of pairs) {
        const found = this.#compare(got[p.mine.name], want[p.mine.name], p.mine.name);
        maxRel = Math.max(maxRel, found.maxRel);
        if (!(found.maxRel <= this.#request.tolerance)) first ??= p;
      }
    }
    return { count: this.#pairs.length, maxRel, first: first && (await this.describe(first)) };
  }

  async describe(pair: Pair): Promise<FirstDifference> {
    const node = this.nodes[pair.made] as Node;
    const reads = [...new Set(this.#readBy(node))];
    const inputs = reads.flatMap((v) => this.#pairs.find((p) => p.mine === v) ?? []);
    const [want, got] = await this.#both([pair, ...inputs]);
    const name = pair.mine.name;
    const { maxRel, maxAbs, expected } = this.#compare(got[name], want[name], name);
    const actual = got[name] as Tensor;
    const whole = want[name] as Tensor;
    const worst = worstOf(actual, expected);
    const compared = new Map(inputs.map((p) => [p.mine, this.#compare(got[p.mine.name], want[p.mine.name], p.mine.name).maxRel]));
    return {
      value: name,
      node: node.label,
      op: node.qualifiedType,
      maxRel,
      maxAbs,
      axes: whole.dims.map((extent, a) => ({ extent, compared: expected.dims[a] ?? 0 })),
      ...(worst ? { worst } : {}),
      inputs: reads.map((v) => ({
        value: v.name,
        constant: v.constant !== undefined,
        maxRel: v.constant ? this.#constants(node, v, pair) : compared.get(v),
      })),
      skipped: this.#skippedBefore(node),
    };
  }

  /** Values only the reference has, from `node` back to the nearest that both have. */
  #skippedBefore(node: Node): string[] {
    const found = new Set<string>();
    const stack = [node];
    for (let at = stack.pop(); at; at = stack.pop()) {
      for (const v of this.#readBy(at)) {
        if (v.constant || !v.producer || found.has(v.name) || this.#request.candidate.graph.value(v.name)) continue;
        found.add(v.name);
        stack.push(v.producer);
      }
    }
    return [...found].reverse();
  }

  /** What a node of the reference reads, through the Gathers that only the reference has. */
  #readBy(node: Node): Value[] {
    const known = this.#request.removal?.coupling.typing.model.graph;
    const original = known && node.outputs.flatMap((o) => (o && known.value(o.name)?.producer) ?? [])[0];
    const inputs = (original ?? node).inputs.flatMap((v) => v ?? []);
    return original ? inputs.map((v) => (v.constant ? v : (this.#request.reference.graph.value(v.name) ?? v))) : inputs;
  }

  /** How far the candidate's constant is from what is kept of the original's. */
  #constants(node: Node, value: Value, pair: Pair): number | undefined {
    const { removal } = this.#request;
    const typing = removal?.coupling.typing;
    const original = node.outputs.flatMap((o) => (o && typing?.model.graph.value(o.name)?.producer) ?? [])[0];
    const index = original?.inputs.indexOf(value) ?? -1;
    const have = pair.theirs.producer?.inputs[index]?.constant;
    const axes = original && typing?.axesOfInput(original, index);
    if (!removal || !have || !value.constant || !axes || !isFloat(value.constant.dtype)) return undefined;
    const want = takeKept(value.constant, axes, removal.kept);
    return sameDims(have, want) ? difference(have, want).maxRel : Number.POSITIVE_INFINITY;
  }

  async #both(pairs: readonly Pair[]): Promise<[Record<string, Tensor>, Record<string, Tensor>]> {
    const names = pairs.map((p) => p.mine.name);
    return [await this.#fetch(this.#request.reference, names), await this.#fetch(this.#request.candidate, names)];
  }

  async #fetch(model: Model, names: readonly string[]): Promise<Record<string, Tensor>> {
    const part = extract(model, { outputs: names, keepInputs: true });
    const [values] = await runAll(this.#runner, part, [this.#request.feeds], { optimization: "disabled", fetch: names });
    return values ?? {};
  }

  /** What the candidate has of a value of the reference. */
  #keptOf(tensor: Tensor, name: string, { coupling: { typing }, kept }: NonNullable<BisectRequest["removal"]>): Tensor {
    const value = typing.model.graph.value(name);
    const axes = value && typing.axesOf(value);
    // An extent that only the run knows is whole.
    return axes && axes.length === tensor.dims.length ? keptPart(tensor, axes, typing.system, kept) : tensor;
  }

  #compare(got: Tensor | undefined, want: Tensor | undefined, name: string): { maxRel: number; maxAbs: number; expected: Tensor } {
    if (!got || !want) throw new Error(`ONNX Runtime gave no "${name}".`);
    const expected = this.#request.removal ? this.#keptOf(want, name, this.#request.removal) : want;
    if (!sameDims(got, expected)) return { maxRel: Number.POSITIVE_INFINITY, maxAbs: Number.POSITIVE_INFINITY, expected };
    const { maxRel, maxAbs } = difference(got, expected);
    return { maxRel: Number.isNaN(maxRel) ? Number.POSITIVE_INFINITY : maxRel, maxAbs, expected };
  }
}

/** The node of the main graph that holds `node`. */
function outermost(node: Node): Node {
  let at = node;
  while (at.graph?.owner) at = at.graph.owner;
  return at;
}

function sameDims(a: Tensor, b: Tensor): boolean {
  return a.dims.length === b.dims.length && a.dims.every((d, i) => d === b.dims[i]);
}

function worstOf(got: Tensor, want: Tensor): FirstDifference["worst"] {
  if (!sameDims(got, want) || got.size === 0) return undefined;
  const [x, y] = [got.numbers(), want.numbers()];
  let flat = 0;
  let most = -1;
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i] as number, y[i] as number];
    const d = Object.is(a, b) ? 0 : Math.abs(a - b);
    if (d > most || (Number.isNaN(d) && !Number.isNaN(most))) {
      most = d;
      flat = i;
      if (Number.isNaN(d)) break;
    }
  }
  const at: number[] = [];
  let rest = flat;
  for (const d of [...got.dims].reverse()) {
    at.unshift(rest % d);
    rest = Math.floor(rest / d);
  }
  return { at, got: x[flat] as number, want: y[flat] as number };
}

/** One sentence for messages: the value, what makes it, how far it is off, and whether its inputs agree. */
export function differenceText(d: FirstDifference): string {
  const at = d.worst ? ` at [${d.worst.at.join(", ")}]: ${d.worst.got} for ${d.worst.want}` : "";
  const constants = d.inputs.filter((i) => i.constant && i.maxRel !== undefined && i.maxRel > 0).map((i) => `"${i.value}"`);
  const why =
    constants.length > 0
      ? `its ${constants.length > 1 ? "constants" : "constant"} ${constants.join(", ")} ${constants.length > 1 ? "are" : "is"} not what is kept of the original's`
      : "what it reads agrees";
  const error = Number.isFinite(d.maxRel) ? `relative error ${d.maxRel.toExponential(1)}${at}` : d.worst ? `not finite${at}` : "other dims";
  return `The first value that differs is "${d.value}", made by ${d.op} "${d.node}" (${error}); ${why}.`;
}
