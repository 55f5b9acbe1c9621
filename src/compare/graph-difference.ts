/** What two graphs are made of, side by side: interface, operators, sizes, layers. Nothing is run. */
import { interfaceOf } from "../graph/check.js";
import { encodedSize } from "../graph/codec.js";
import { type CostOptions, cost, type NodeCost } from "../graph/cost.js";
import { isKnown } from "../graph/dim.js";
import { bitsOf, isFloat, isInteger } from "../graph/dtype.js";
import { everyNode, type Model, type Node, type ValueType } from "../graph/graph.js";
import { typeText } from "../graph/print.js";
import type { Tensor } from "../graph/tensor.js";
import { withoutFunctions } from "../passes/prepare.js";
import type { CostFigures } from "../report.js";
import { type Match, matchLayers } from "./match-layers.js";

/** A figure of both graphs; undefined where one has none. */
export interface Both<T> {
  readonly a: T;
  readonly b: T;
}

/** An input or output by name. */
export interface PortDifference {
  readonly kind: "input" | "output";
  readonly name: string;
  /** Declared types, e.g. "float[N,3,32,32]"; undefined where the graph has no such port. */
  readonly a: string | undefined;
  readonly b: string | undefined;
  /** Whether a caller of a can call b: same name, dtype and rank, no extent that is another number, no input that takes less. */
  readonly ok: boolean;
}

/** A node as it is called in its graph. */
export interface NodeName {
  readonly name: string;
  readonly op: string;
}

/** A node that has parameters or multiply-accumulates, in either graph. */
export interface LayerDifference {
  readonly a: NodeName | undefined;
  readonly b: NodeName | undefined;
  /** How the two were found to be the same layer; undefined where only one graph has it. */
  readonly matched: Match | undefined;
  /** Dims of its largest constant operand. */
  readonly dims: Both<readonly number[] | undefined>;
  readonly macs: Both<number>;
  /** Parameters read by this node and none before it. */
  readonly parameters: Both<number>;
  readonly changed: boolean;
}

export interface GraphDifference {
  readonly interface: readonly PortDifference[];
  readonly cost: Both<CostFigures>;
  /** Nodes by operator, bodies included; those whose number changed first. */
  readonly operators: readonly ({ readonly op: string } & Both<number>)[];
  /** Operator sets that differ, by domain ("" is ai.onnx). */
  readonly opsets: readonly ({ readonly domain: string } & Both<number | undefined>)[];
  /** In the order of a; what only b has stands after what came before it there. */
  readonly layers: readonly LayerDifference[];
  /** Nodes of the main graph without a partner. */
  readonly removed: readonly NodeName[];
  readonly added: readonly NodeName[];
  /** Operators whose multiply-accumulates are counted as 0, in either graph. */
  readonly notCounted: readonly string[];
}

/** Compares the graphs with their local functions put in place. */
export function graphDifference(a: Model, b: Model, options: CostOptions = {}): GraphDifference {
  const [flatA, flatB] = [withoutFunctions(a).model, withoutFunctions(b).model];
  const [costA, costB] = [cost(flatA, undefined, options), cost(flatB, undefined, options)];
  const matching = matchLayers(flatA.graph.nodes, flatB.graph.nodes);
  const figures = (model: Model, c: typeof costA): CostFigures => ({
    macs: c.macs,
    parameters: c.parameters,
    bytes: encodedSize(model),
    activationBytes: c.activationBytes,
    nodes: c.nodes,
  });
  return {
    interface: interfaceDifference(a, b),
    cost: { a: figures(a, costA), b: figures(b, costB) },
    operators: operatorsOf(flatA, flatB),
    opsets: opsetsOf(a, b),
    layers: layersOf(matching, byNode(costA.byNode), byNode(costB.byNode), flatB.graph.nodes),
    removed: matching.removed.map(nameOf),
    added: matching.added.map(nameOf),
    notCounted: [...new Set([...costA.notCounted, ...costB.notCounted])].sort(),
  };
}

/** Inputs and outputs of both, in the order of a, then those only b has. */
export function interfaceDifference(a: Model, b: Model): PortDifference[] {
  const [before, after] = [interfaceOf(a), interfaceOf(b)];
  return (["input", "output"] as const).flatMap((kind) => {
    const [mine, theirs] = kind === "input" ? [before.inputs, after.inputs] : [before.outputs, after.outputs];
    const text = (port: (typeof mine)[number] | undefined) => port && typeText(port.type, port.name);
    const shared = mine.map((p): PortDifference => {
      const other = theirs.find((t) => t.name === p.name);
      const ok = other !== undefined && fits(p.type, other.type, kind);
      return { kind, name: p.name, a: text(p), b: text(other), ok };
    });
    const added = theirs.filter((t) => !mine.some((p) => p.name === t.name));
    return [...shared, ...added.map((t): PortDifference => ({ kind, name: t.name, a: undefined, b: text(t), ok: false }))];
  });
}

/** Whether what is fed to, or expected of, `a` fits `b`. An extent that an output leaves open is judged when it is run. */
function fits(a: ValueType | undefined, b: ValueType | undefined, kind: "input" | "output"): boolean {
  if (a === undefined || b === undefined) return true;
  if (a.kind !== "tensor" || b.kind !== "tensor") return typeText(a) === typeText(b);
  if (a.dtype !== b.dtype) return false;
  const { shape: mine } = a;
  const { shape: theirs } = b;
  if (!mine || !theirs) return true;
  if (mine.length !== theirs.length) return false;
  return mine.every((d, i) => {
    const other = theirs[i] as typeof d;
    if (isKnown(d) && isKnown(other)) return d === other;
    return kind === "output" || isKnown(d) || !isKnown(other);
  });
}

function operatorsOf(a: Model, b: Model): GraphDifference["operators"] {
  const counts = new Map<string, { a: number; b: number }>();
  for (const [side, model] of [["a", a] as const, ["b", b] as const]) {
    for (const node of everyNode(model.graph)) {
      const of = counts.get(node.qualifiedType) ?? { a: 0, b: 0 };
      of[side]++;
      counts.set(node.qualifiedType, of);
    }
  }
  const change = (c: Both<number>) => Math.abs(c.b - c.a);
  return [...counts].map(([op, c]) => ({ op, ...c })).sort((x, y) => change(y) - change(x) || y.a - x.a || (x.op < y.op ? -1 : 1));
}

function opsetsOf(a: Model, b: Model): GraphDifference["opsets"] {
  const domains = [...new Set([...a.opsets.keys(), ...b.opsets.keys()])].sort();
  return domains.map((domain) => ({ domain, a: a.opsets.get(domain), b: b.opsets.get(domain) })).filter((d) => d.a !== d.b);
}

function byNode(costs: readonly NodeCost[]): ReadonlyMap<Node, NodeCost> {
  return new Map(costs.map((c) => [c.node, c]));
}

function layersOf(
  { pairs, removed, added }: ReturnType<typeof matchLayers>,
  costA: ReadonlyMap<Node, NodeCost>,
  costB: ReadonlyMap<Node, NodeCost>,
  orderB: readonly Node[],
): LayerDifference[] {
  const [gone, come] = [new Set(removed), new Set(added)];
  const ofB = new Map([...pairs].map(([x, { node }]) => [node, x]));
  /** What only b has, by the node of a after whose partner it stands. */
  const after = new Map<Node | undefined, Node[]>();
  let last: Node | undefined;
  for (const y of orderB) {
    if (come.has(y)) after.set(last, [...(after.get(last) ?? []), y]);
    else last = ofB.get(y) ?? last;
  }
  const layer = (x: Node | undefined, y: Node | undefined, matched: Match | undefined): LayerDifference[] => {
    const [cx, cy] = [x && costA.get(x), y && costB.get(y)];
    const macs = { a: cx?.macs ?? 0, b: cy?.macs ?? 0 };
    const parameters = { a: cx?.parameters ?? 0, b: cy?.parameters ?? 0 };
    if (macs.a + macs.b + parameters.a + parameters.b === 0) return [];
    const dims = { a: x && weightDims(x), b: y && weightDims(y) };
    const changed = !x || !y || macs.a !== macs.b || parameters.a !== parameters.b || String(dims.a) !== String(dims.b);
    return [{ a: x && nameOf(x), b: y && nameOf(y), matched, dims, macs, parameters, changed }];
  };
  const onlyB = (x: Node | undefined) => (after.get(x) ?? []).flatMap((y) => layer(undefined, y, undefined));
  return [
    ...onlyB(undefined),
    ...[...costA.keys()].flatMap((x) => {
      const partner = pairs.get(x);
      const own = partner ? layer(x, partner.node, partner.by) : gone.has(x) ? layer(x, undefined, undefined) : [];
      return [...own, ...onlyB(x)];
    }),
  ];
}

function nameOf(node: Node): NodeName {
  return { name: node.label, op: node.qualifiedType };
}

/** Dims of the largest constant that holds weights: floats, or integers of at most 16 bits. */
function weightDims(node: Node): readonly number[] | undefined {
  const isWeight = (t: Tensor) => isFloat(t.dtype) || (isInteger(t.dtype) && bitsOf(t.dtype) <= 16);
  const weights = node.inputs.flatMap((v) => v?.constant ?? v?.initializer ?? []).filter(isWeight);
  return weights.reduce<Tensor | undefined>((most, t) => (!most || t.size > most.size ? t : most), undefined)?.dims;
}
