/** Makes a model that shows a failure small: for bug reports, and for whoever looks for the cause. */
import { OnnxPruneError } from "../errors.js";
import { cloneModel } from "../graph/clone.js";
import { isKnown } from "../graph/dim.js";
import type { Model, Node, Value, ValueType } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import { typeText } from "../graph/print.js";
import { extract } from "./extract.js";

export interface ReduceOptions {
  /** Models tried; default 500. */
  readonly attempts?: number;
  /** Numeric shapes for inputs with symbolic extents: fixed first, where the failure stays. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (nodes: number, tried: number) => void;
}

export interface Reduced {
  /** The smallest model found for which the failure stays; the given one when nothing smaller fails. */
  readonly model: Model;
  readonly tried: number;
}

/**
 * The smallest part of `model` found for which `stillFails` holds: outputs are dropped, the graph is cut at inner values
 * from either end (by halves, then less), nodes are bypassed or replaced by inputs, until none of that fails any more.
 *
 * `stillFails` is given valid models and must hold for `model` itself. What it throws counts as "does not fail", but for
 * errors that are no OnnxPruneError: a wrong predicate should show.
 */
export async function reduceModel(
  model: Model,
  stillFails: (candidate: Model) => Promise<boolean>,
  options: ReduceOptions = {},
): Promise<Reduced> {
  let best = model;
  let tried = 0;
  const limit = options.attempts ?? 500;
  const better = async (candidates: Iterable<Model>): Promise<boolean> => {
    for (const candidate of candidates) {
      options.signal?.throwIfAborted();
      if (tried >= limit) return false;
      tried++;
      if (!(await fails(candidate, stillFails))) continue;
      best = candidate;
      options.onProgress?.(best.graph.nodes.length, tried);
      return true;
    }
    return false;
  };
  if (options.inputShapes) await better([fixed(model, options.inputShapes)]);
  const moves = [fewerOutputs, cutBehind, cutBefore, bypassed, cutAround];
  for (let at = 0; at < moves.length && tried < limit; ) {
    // After a success the large steps are worth trying again.
    if (await better((moves[at] as (typeof moves)[number])(best))) at = 0;
    else at++;
  }
  return { model: best, tried };
}

async function fails(candidate: Model, stillFails: (candidate: Model) => Promise<boolean>): Promise<boolean> {
  try {
    return await stillFails(candidate);
  } catch (error) {
    if (error instanceof OnnxPruneError) return false;
    throw error;
  }
}

/** The model with numbers for the extents of its inputs, and no declared types of inner values. */
function fixed(model: Model, shapes: Readonly<Record<string, readonly number[]>>): Model {
  const next = cloneModel(model);
  const types = infer(model, { bind: shapes });
  for (const v of next.graph.values) {
    if (v.constant || v.type?.kind !== "tensor") continue;
    const shape = shapes[v.name];
    const mine = model.graph.value(v.name);
    if (v.isInput && shape) v.type = { ...v.type, shape };
    else if (v.isOutput && mine) v.type = types.type(mine) ?? v.type;
    else if (!v.isInput) v.type = undefined;
    v.origin = undefined;
  }
  next.sha256 = undefined;
  return next;
}

/** One output alone, then all but one. */
function* fewerOutputs(model: Model): Iterable<Model> {
  const names = model.graph.outputs.map((o) => o.name);
  if (names.length < 2) return;
  for (const name of names) yield extract(model, { outputs: [name] });
  if (names.length > 2) for (const name of names) yield extract(model, { outputs: names.filter((n) => n !== name) });
}

/** What the last nodes compute is left out: an inner value becomes the output. */
function* cutBehind(model: Model): Iterable<Model> {
  const { nodes } = model.graph;
  const types = infer(model);
  for (const step of halves(nodes.length)) {
    const node = nodes[nodes.length - 1 - step] as Node;
    const names = node.outputs.flatMap((o) => (o && inputType(types, o) && !o.constant ? [o.name] : []));
    if (names.length > 0) yield extract(model, { outputs: names });
  }
}

/** What the first nodes compute is left out: what is still read of it becomes inputs. */
function* cutBefore(model: Model): Iterable<Model> {
  const { nodes } = model.graph;
  const types = infer(model);
  for (const step of halves(nodes.length)) {
    const front = new Set(nodes.slice(0, step));
    const alive = [...front].flatMap((n) => n.outputs.flatMap((o) => (o && isReadOutside(o, front) && !o.constant ? [o] : [])));
    if (alive.length > 0) yield* withInputs(model, types, alive);
  }
}

/** One value becomes an input, and what only it needs goes. */
function* cutAround(model: Model): Iterable<Model> {
  const types = infer(model);
  for (const node of [...model.graph.nodes].reverse()) {
    for (const o of node.outputs) if (o && o.useCount > 0 && !o.isOutput && !o.constant) yield* withInputs(model, types, [o]);
  }
}

/** A node is left out where one of its inputs has the type of its output. */
function* bypassed(model: Model): Iterable<Model> {
  const types = infer(model);
  for (const [at, node] of [...model.graph.nodes.entries()].reverse()) {
    const outputs = node.outputs.filter((o) => o && (o.useCount > 0 || o.isOutput));
    const [output] = outputs;
    if (outputs.length !== 1 || !output) continue;
    const alike = node.inputs.flatMap((v, i) => (v && !v.constant && sameType(types, v, output) ? [i] : []));
    for (const i of alike.slice(0, 2)) {
      const next = cloneModel(model);
      const twin = next.graph.nodes[at] as Node;
      const [from, to] = [next.graph.value(output.name), twin.inputs[i]];
      if (from && to && next.graph.bypass(from, to)) yield extract(next, { outputs: next.graph.outputs.map((o) => o.name) });
    }
  }
}

/** n/2, n/4 … 1: large steps first. */
function* halves(n: number): Iterable<number> {
  for (let step = Math.floor(n / 2); step >= 1; step = Math.floor(step / 2)) yield step;
}

function* withInputs(model: Model, types: Types, values: readonly Value[]): Iterable<Model> {
  const inputs = new Map<string, ValueType>();
  for (const v of values) {
    const type = inputType(types, v);
    if (!type) return;
    inputs.set(v.name, type);
  }
  const outputs = model.graph.outputs.filter((o) => !inputs.has(o.name)).map((o) => o.name);
  if (outputs.length > 0) yield extract(model, { outputs, inputs });
}

/** The type a value can be declared with: a tensor whose extents are numbers or plain symbols. */
function inputType(types: Types, v: Value): ValueType | undefined {
  const type = types.type(v);
  if (type?.kind !== "tensor" || !type.shape?.every((d) => isKnown(d) || /^\w+$/.test(d))) return undefined;
  return type;
}

function sameType(types: Types, a: Value, b: Value): boolean {
  const [x, y] = [types.type(a), types.type(b)];
  return x?.kind === "tensor" && x.shape !== undefined && typeText(x) === typeText(y);
}

/** Whether a node outside `front`, or a subgraph of one, or a graph output reads the value. */
function isReadOutside(v: Value, front: ReadonlySet<Node>): boolean {
  const holder = (node: Node): Node => {
    let at = node;
    while (at.graph?.owner) at = at.graph.owner;
    return at;
  };
  return v.isOutput || v.uses().some((u) => !front.has(holder(u.node)));
}
