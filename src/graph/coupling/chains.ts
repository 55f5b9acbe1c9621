/**
 * Chains of Reshape, Transpose and their like that, all in all, permute the indices of one axis: channel shuffles in every
 * spelling, and detours that end where they began. Typed node by node they are products, in which whole rows leave; seen
 * as what they do they are a Gather, in which every index may leave on its own.
 */
import { type Dim, exactDiv, isKnown } from "../dim.js";
import type { Graph, Node, Value } from "../graph.js";
import type { Types } from "../infer.js";

export interface Chain {
  /** In order; only they read each other's outputs. */
  readonly nodes: readonly Node[];
  readonly input: Value;
  readonly output: Value;
  /** The axis that is permuted: index k of the output is index order[k] of the input. undefined: nothing moves. */
  readonly moved: { readonly axis: number; readonly order: readonly number[] } | undefined;
}

/** A run of indices of one axis of the chain's input: index i of it counts `step` times. */
interface Factor {
  readonly axis: number;
  readonly size: Dim;
  readonly step: number;
}

/** Most indices of an axis that are followed one by one. */
const LONGEST_ORDER = 1 << 16;

const REGROUPING: ReadonlySet<string> = new Set(["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"]);

/** All chains of `graph`, each as short as it can be; no two share a node. */
export function findChains(graph: Graph, types: Types): Chain[] {
  const out: Chain[] = [];
  const taken = new Set<Node>();
  for (const node of graph.nodes) {
    if (taken.has(node) || !isRegrouping(node)) continue;
    const chain = chainFrom(node, types);
    if (!chain) continue;
    for (const n of chain.nodes) taken.add(n);
    out.push(chain);
  }
  return out;
}

function isRegrouping(node: Node): boolean {
  return node.isStandard && REGROUPING.has(node.opType);
}

function chainFrom(first: Node, types: Types): Chain | undefined {
  const input = first.inputs[0];
  const shape = input && types.shape(input);
  if (!input || !shape || input.constant || types.content(input)) return undefined;
  let state: Factor[][] | undefined = shape.map((size, axis) => (size === 1 ? [] : [{ axis, size, step: 1 }]));
  const nodes: Node[] = [];
  for (let node: Node | undefined = first; node; ) {
    const output: Value | undefined = node.outputs[0];
    const next: readonly Dim[] | undefined = output && types.shape(output);
    if (!output || !next || output.constant) return undefined;
    state = node.opType === "Transpose" ? transposed(node, state) : regrouped(state, next);
    if (!state) return undefined;
    nodes.push(node);
    const moved = nodes.length > 1 ? closed(shape, next, state) : undefined;
    if (moved) return { nodes, input, output, moved: moved === "nothing" ? undefined : moved };
    node = onlyReader(output, first.graph);
  }
  return undefined;
}

/** The regrouping that alone reads a value, as its data. */
function onlyReader(value: Value, graph: Graph | undefined): Node | undefined {
  const [use, ...more] = value.uses();
  if (!use || more.length > 0 || value.isOutput || use.index !== 0 || use.node.graph !== graph) return undefined;
  return isRegrouping(use.node) ? use.node : undefined;
}

function transposed(node: Node, state: readonly Factor[][]): Factor[][] | undefined {
  const perm = node.ints("perm") ?? state.map((_, a) => state.length - 1 - a);
  const out = perm.map((a) => state[a]);
  return out.every((f) => f !== undefined) ? (out as Factor[][]) : undefined;
}

/** The factors read row-major under another shape; undefined where an extent ends inside a factor that does not divide. */
function regrouped(state: readonly Factor[][], shape: readonly Dim[]): Factor[][] | undefined {
  const left = state.flat();
  const out: Factor[][] = [];
  for (const extent of shape) {
    const here: Factor[] = [];
    for (let need: Dim = extent; need !== 1; ) {
      const f = left[0];
      if (!f) return undefined;
      const rest = exactDiv(need, f.size);
      if (rest !== undefined) {
        here.push(f);
        left.shift();
        need = rest;
        continue;
      }
      const inner: Dim | undefined = exactDiv(f.size, need);
      if (inner === undefined || !isKnown(inner) || !isKnown(need)) return undefined;
      here.push({ axis: f.axis, size: need, step: f.step * inner });
      left[0] = { axis: f.axis, size: inner, step: f.step };
      need = 1;
    }
    out.push(here);
  }
  return left.length === 0 ? out : undefined;
}

/** What happened to the input's axes, when each is where it was; undefined when they are not. */
function closed(from: readonly Dim[], to: readonly Dim[], state: readonly Factor[][]): Chain["moved"] | "nothing" {
  if (from.length !== to.length || to.some((d, a) => d !== from[a] || (state[a] as Factor[]).some((f) => f.axis !== a))) return undefined;
  const moved = state.flatMap((factors, axis) => (isInOrder(factors) ? [] : [axis]));
  const [axis] = moved;
  if (axis === undefined) return "nothing";
  const size = to[axis] as Dim;
  if (moved.length > 1 || !isKnown(size) || size > LONGEST_ORDER) return undefined;
  let order = [0];
  for (const f of state[axis] as Factor[]) {
    const run = Array.from({ length: f.size as number }, (_, i) => i * f.step);
    order = order.flatMap((at) => run.map((i) => at + i));
  }
  return { axis, order };
}

function isInOrder(factors: readonly Factor[]): boolean {
  return factors.every((f, i) => {
    const next = factors[i + 1];
    return next ? isKnown(next.size) && f.step === next.step * next.size : f.step === 1;
  });
}
