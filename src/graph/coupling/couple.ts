/** Types every axis of a model by its ops' equations: the driver of OpSpec.axes. */
import { type Dim, isKnown } from "../dim.js";
import { everyGraph, everyNode, type Graph, type Model, type Node, type Value } from "../graph.js";
import { infer, type Types } from "../infer.js";
import type { OpContext } from "../op.js";
import { type Axis, AxisSystem, type Member, type Reason } from "./axis.js";
import { type Chain, findChains } from "./chains.js";
import type { AxisContext, Slot } from "./context.js";
import { collapseStrays, settleFamilies, spreadProducts, type TypedTensor } from "./families.js";
import { isMeasure, isShapeArithmetic, type Measured, Measures, Rulers } from "./measures.js";
import { whyOpaque } from "./opaque.js";

/** A sum over axes of a node's inputs: one record per summed label. */
export interface Contraction {
  readonly node: Node;
  readonly slots: readonly Slot[];
}

/** Parts that must keep equally many indices while the rows they lie in stay, e.g. the channels of each group of a convolution. */
export interface Balance {
  readonly parts: readonly Member[];
  readonly node: Node | undefined;
  readonly why: string;
}

/** The typing of one model: axes of every value of the main graph and of its subgraphs. Valid while the model is not changed. */
export interface Typing {
  readonly model: Model;
  readonly types: Types;
  readonly system: AxisSystem;
  /** Axes of a value as its readers see it; small constants are typed per use (`axesOfInput`). undefined: rank unknown. */
  axesOf(value: Value): readonly Axis[] | undefined;
  /** Axes of input `index` of `node`. */
  axesOfInput(node: Node, index: number): readonly Axis[] | undefined;
  /** Every axis of every typed value and use, each once per place. */
  allAxes(): Iterable<Axis>;
  readonly contractions: readonly Contraction[];
  readonly balances: readonly Balance[];
  /** Nodes that are typed together, as a permutation of one axis; what lies between them has no axes of its own. */
  readonly chains: readonly Chain[];
  /** What shape arithmetic is computed from, and where extents can be read. */
  readonly measures: Measures;
  readonly rulers: Rulers;
  /** Nodes whose axes are all kept whole, with the reason. */
  readonly barriers: ReadonlyMap<Node, string>;
}

/**
 * Infers which axes of `model` are one and the same.
 *
 * One pass in topological order, bodies where their node stands; near linear in nodes and axes. Graph inputs and outputs,
 * unknown ops, and axes that an op mixes (normalised, reduced, convolved over) are frozen with their reasons. A value that a
 * body captures is an ordinary value there.
 */
export function couple(model: Model, types: Types = infer(model)): Typing {
  const system = new AxisSystem();
  const valueAxes = new Map<Value, readonly Axis[]>();
  const useAxes = new Map<Node, Map<number, readonly Axis[]>>();
  const contractions: Contraction[] = [];
  const balanced: { readonly axes: readonly Axis[]; readonly node: Node | undefined; readonly why: string }[] = [];
  /** Axes that an op reads together without the other axes of their tensor. */
  const apart: (readonly Axis[])[] = [];
  const barriers = new Map<Node, string>();
  /** Bodies without types: all they touch is kept whole, and nothing in them is rewritten. */
  const opaque = new Set<Node>();
  const graph = model.graph;

  const fresh = (value: Value): readonly Axis[] | undefined => {
    const shape = types.shape(value);
    if (!shape) return undefined;
    if (value.isInput && !value.constant) {
      return shape.map((d, i) => system.fixed(d, `${value.name}:${i}`, { text: `"${value.name}" is a graph input` }));
    }
    return shape.map((d, i) => system.atom(d, `${value.name}:${i}`));
  };
  const axesOf = (value: Value): readonly Axis[] | undefined => {
    let axes = valueAxes.get(value);
    if (!axes) {
      axes = fresh(value);
      if (axes) valueAxes.set(value, axes);
    }
    return axes;
  };
  const axesOfInput = (node: Node, index: number): readonly Axis[] | undefined => {
    const value = node.inputs[index];
    if (!value) return undefined;
    if (!isTypedPerUse(value)) return axesOf(value);
    const of = useAxes.get(node) ?? new Map<number, readonly Axis[]>();
    useAxes.set(node, of);
    let axes = of.get(index);
    if (!axes) {
      axes = fresh(value);
      if (axes) of.set(index, axes);
    }
    return axes;
  };

  // What a body returns keeps its name, which a chain that leaves would take along.
  const chains = [...everyGraph(graph)].flatMap((g) => findChains(g, types).filter((c) => g === graph || !c.output.isOutput));
  const chainOf = new Map(chains.flatMap((c) => c.nodes.map((n) => [n, c] as const)));
  const typeNode = (node: Node): void => {
    const outputs = node.outputs;
    const chain = chainOf.get(node);
    if (chain) {
      node.inputs.forEach((v, i) => {
        if (i > 0 && v)
          for (const a of axesOfInput(node, i) ?? []) system.pin(a, { text: `${node.opType} reads sizes from it`, node: node.label });
      });
      if (node === chain.nodes.at(-1)) valueAxes.set(chain.output, permuted(system, axesOf(chain.input) ?? [], chain));
      return;
    }
    if (outputs.every((o) => !o || o.constant !== undefined)) return;
    // Shape arithmetic says how long axes are, not what they hold: it couples nothing (slice.ts rewrites it).
    if (isShapeArithmetic(node, types)) {
      for (const o of outputs) {
        const shape = o && types.shape(o);
        if (o && shape)
          valueAxes.set(
            o,
            shape.map((d, i) => system.fixed(d, `${o.name}:${i}`, { text: "shape arithmetic", node: node.label })),
          );
      }
      // What it looks up in a table is a number, whatever else the table is good for.
      const tables = isMeasure(node) ? [] : node.inputs.filter((v) => v?.constant && !isTypedPerUse(v));
      for (const v of tables)
        for (const a of (v && axesOf(v)) ?? []) system.pin(a, { text: "shape arithmetic looks it up", node: node.label });
      return;
    }
    const spec = types.spec(node);
    const at: Reason = { text: "", node: node.label };
    const freezeAll = (why: string) => {
      barriers.set(node, why);
      node.inputs.forEach((_, i) => {
        for (const a of axesOfInput(node, i) ?? []) system.pin(a, { ...at, text: why });
      });
      for (const o of outputs) if (o) for (const a of axesOf(o) ?? []) system.pin(a, { ...at, text: why });
      for (const body of node.subgraphs()) freezeBody(body, { ...at, text: why });
    };
    const why = whyOpaque(node, spec, types, model.opsets.get(node.domain) ?? 1);
    if (why) {
      freezeAll(why);
      return;
    }
    const base = types.context(node);
    let blocked = false;
    const read = new Set<number>();
    const context: AxisContext = {
      ...contextMethods(base),
      in: (i) => {
        read.add(i);
        return axesOfInput(node, i) as readonly Axis[];
      },
      has: (i) => node.inputs[i] !== undefined,
      out: (i, axes) => {
        const o = outputs[i];
        if (!o) return;
        // At once, lest what is made of it depends on more and more.
        collapseStrays(system, axes, false);
        const have = valueAxes.get(o);
        if (have)
          axes.forEach((a, k) => {
            system.unify(have[k] as Axis, a, at);
          });
        else valueAxes.set(o, axes);
      },
      outShape: (i) => types.shape(outputs[i] as Value) ?? [],
      atom: (size) => system.atom(size, `${outputs[0]?.name ?? node.label}:added`),
      same: (a, b) => {
        system.unify(a, b, { ...at, text: `${node.opType} reads them as one axis` });
      },
      freeze: (a, text) => {
        system.pin(a, { ...at, text });
      },
      fixed: (size, text) => system.fixed(size, outputs[0]?.name ?? "", { ...at, text }),
      prod: (parts) => system.prod(parts),
      sum: (parts) => system.sum(parts),
      split: (a, sizes) => system.split(a, sizes, { ...at, text: `${node.opType} splits it in a way that cannot be followed` }),
      cut: (a, offsets) => system.cut(a, offsets, { ...at, text: `${node.opType} cuts it in a way that cannot be followed` }),
      apart: (axes) => {
        collapseStrays(system, axes, false);
        apart.push(axes);
      },
      uniform: (a) => system.uniform(a, { ...at, text: `${node.opType} reads it by position` }),
      pick: (a, indices) =>
        system.pick(context.uniform(a), indices, { ...at, text: `${node.opType} picks from it in a way that cannot be followed` }),
      family: (parts, rows) => system.family(parts, rows, outputs[0]?.name ?? ""),
      dependent: (rows, size) => system.dependent(rows, size, `${outputs[0]?.name ?? node.label}:added`),
      dependsOn: (a, rows) => system.dependsOn(a, rows),
      inRow: (a, rows, index) => system.inRow(a, rows, index),
      major: (a, rows) => system.major(a, rows),
      contract: (...slots) => {
        for (const { input, axis } of slots) {
          const a = (axesOfInput(node, input) as readonly Axis[])[axis] as Axis;
          // A sum over an extent known only at run time cannot be gathered at fixed positions.
          if (!isKnown(a.size))
            system.pin(a, { ...at, text: `${node.opType} sums over it, and its extent ${a.size} is known only at run time` });
        }
        contractions.push({ node, slots });
      },
      balance: (axes, text) => {
        balanced.push({ axes, node, why: text });
      },
      body: (body, inputs) => typeBody(body, inputs, at),
      barrier: (text) => {
        blocked = true;
        freezeAll(text);
      },
    };
    spec?.axes?.(context);
    // An operand the rule says nothing about must not look free.
    node.inputs.forEach((_, i) => {
      if (read.has(i)) return;
      const text = spec?.sizeOperands?.includes(i)
        ? `${node.opType} reads sizes or positions from it`
        : `${node.opType} reads it in a way no rule describes`;
      for (const a of axesOfInput(node, i) ?? []) system.pin(a, { ...at, text });
    });
    for (const o of outputs) {
      if (!o || blocked) continue;
      if (!valueAxes.has(o))
        for (const a of axesOf(o) ?? []) system.pin(a, { ...at, text: `the rule for ${node.opType} leaves output "${o.name}" open` });
      nameOrigins(valueAxes.get(o), o);
    }
  };

  const freezeBody = (body: Graph, why: Reason) => {
    for (const v of [...body.inputs, ...body.outputs]) for (const a of axesOf(v) ?? []) system.pin(a, why);
    for (const node of everyNode(body)) {
      opaque.add(node);
      const touched = [...node.inputs.map((_, i) => axesOfInput(node, i)), ...node.outputs.map((o) => o && axesOf(o))];
      for (const axes of touched) for (const a of axes ?? []) system.pin(a, why);
    }
  };

  const typeBody: (body: Graph, ...rest: [Parameters<AxisContext["body"]>[1], Reason]) => ReturnType<AxisContext["body"]> = (
    body,
    inputs,
    at,
  ) => {
    body.inputs.forEach((v, i) => {
      const given = inputs[i];
      const shape = types.shape(v);
      // A state that changes its extent on the way round has another one inside.
      const fits = (a: Axis | undefined, d: Dim) => a !== undefined && given?.length === shape?.length && a.size === d;
      const why: Reason = { ...at, text: `the extents of "${v.name}" inside a body are not those it is given` };
      for (const [k, a] of (given ?? []).entries()) if (!fits(a, shape?.[k] ?? "")) system.pin(a, why);
      if (shape)
        valueAxes.set(
          v,
          shape.map((d, k) => (fits(given?.[k], d) ? (given?.[k] as Axis) : system.fixed(d, `${v.name}:${k}`, why))),
        );
    });
    const contradiction = types.contradiction(body);
    if (contradiction) {
      freezeBody(body, { ...at, text: `a body contradicts the shapes it is given: ${contradiction.message}` });
      return body.outputs.map(() => undefined);
    }
    for (const node of body.nodes) typeNode(node);
    return body.outputs.map((o) => {
      // ONNX Runtime refuses such a body; the slicer leaves what it returns as it is.
      if (o.graph !== body) for (const a of axesOf(o) ?? []) system.pin(a, { ...at, text: `a body returns "${o.name}" as it is` });
      return axesOf(o);
    });
  };

  for (const node of graph.nodes) typeNode(node);

  const measures = new Measures(types);
  const pinAll = (measured: readonly Measured[], why: Reason) => {
    for (const { value, axis } of measured) {
      const a = axesOf(value)?.[axis];
      if (a) system.pin(a, { node: value.uses().find((u) => isMeasure(u.node))?.node.label, ...why });
    }
  };
  /** Pins the axes whose extents shape arithmetic puts into `value`. */
  const pinMeasured = (value: Value, text: string) => {
    pinAll(measures.of(value).flat(), { text });
  };

  /**
   * A size of symbols that changes with a free axis is written anew from the extents its symbols name (slice.ts). Where no
   * place in the model has one of them, the axis stays.
   */
  const rulers = new Rulers(graph, types);
  const isWhole = ({ value, axis }: Measured) => system.reason(axesOf(value)?.[axis] as Axis) !== undefined;
  const pinUntold = (node: Node, sizes: readonly number[]) => {
    const at = (d: Dim): Reason => ({
      text: `${node.opType} has a size that changes with it, and ${d} in it cannot be told`,
      node: node.label,
    });
    for (const k of sizes) {
      const v = node.inputs[k];
      const content = (v && types.content(v)) ?? [];
      const measured = v ? measures.of(v) : [];
      content.forEach((d, e) => {
        if (!rulers.canTell(d, node, isWhole)) pinAll(measured[e] ?? [], at(d));
      });
    }
    // What lies inside a chain has no axes.
    if (chainOf.has(node)) return;
    const touched = [...node.inputs.map((_, i) => axesOfInput(node, i)), ...node.outputs.map((o) => o && axesOf(o))];
    for (const a of touched.flatMap((axes) => axes ?? [])) {
      const { size } = system.find(a);
      if (!isKnown(size) && !system.reason(a) && !rulers.canTell(size, node, isWhole)) system.pin(a, at(size));
    }
  };

  for (const o of graph.outputs) {
    for (const a of axesOf(o) ?? []) system.pin(a, { text: `"${o.name}" is a graph output` });
    pinMeasured(o, `the model's output "${o.name}" tells its extent`);
  }
  for (const body of everyGraph(graph))
    if (body !== graph) for (const o of body.outputs) pinMeasured(o, `a body returns its extent as "${o.name}"`);
  for (const node of everyNode(graph)) {
    const isOpaque = opaque.has(node);
    if (isShapeArithmetic(node, types) && !isOpaque) continue;
    const spec = types.spec(node);
    const sizes = spec?.resize && !isOpaque ? (spec.sizeOperands ?? []) : [];
    node.inputs.forEach((v, k) => {
      // An extent read as data keeps its value (slice.ts), which needs it to be a number.
      if (v && !sizes.includes(k) && (isOpaque || !types.content(v)?.every(isKnown)))
        pinMeasured(v, `${node.opType} "${node.label}" computes with its extent`);
    });
    if (sizes.length > 0) pinUntold(node, sizes);
  }
  function* allTensors(): Iterable<TypedTensor> {
    for (const axes of apart) yield { axes, isConstant: false };
    for (const [value, axes] of valueAxes) yield { axes, isConstant: value.constant !== undefined };
    for (const of of useAxes.values()) for (const axes of of.values()) yield { axes, isConstant: true };
  }
  function* allAxes(): Iterable<Axis> {
    for (const { axes } of allTensors()) yield* axes;
  }
  spreadProducts(system, allTensors);
  for (const { axis, value } of settleFamilies(system, allTensors))
    balanced.push({ axes: [axis], node: undefined, why: `"${value}" has as many indices of it in every row` });
  const balances = balancesOf(system, balanced);
  return { model, types, system, allAxes, axesOf, axesOfInput, contractions, balances, chains, measures, rulers, barriers };
}

function permuted(system: AxisSystem, axes: readonly Axis[], { moved, nodes }: Chain): readonly Axis[] {
  const at: Reason = { text: "it is permuted in a way that cannot be followed", node: nodes[0]?.label };
  return axes.map((a, k) => (k === moved?.axis ? system.pick(system.uniform(a, at), moved.order, at) : a));
}

/** The balances of families that still are: once for the same members, with the first reason given. */
function balancesOf(system: AxisSystem, stated: readonly { axes: readonly Axis[]; node: Node | undefined; why: string }[]): Balance[] {
  const seen = new Set<string>();
  const out: Balance[] = [];
  for (const { axes, node, why } of stated) {
    const parts = axes.flatMap((a) => system.members(a));
    const key = parts.map((p) => system.find(p.axis).id).join(",");
    if (parts.length === 1 || axes.every((a) => system.reason(a)) || seen.has(key)) continue;
    seen.add(key);
    out.push({ parts, node, why });
  }
  return out;
}

/**
 * Constants of rank ≤ 1 are typed at each use: exporters share one zero bias or scalar among many nodes, which couples
 * nothing in truth (slice.ts clones them where uses differ). Matrices stay shared: tied weights are meant.
 */
export function isTypedPerUse(value: Value): boolean {
  const c = value.constant;
  // What a body returns has its name in the body's list of outputs: it cannot be cloned for one reader.
  return c !== undefined && c.dims.length <= 1 && !(value.isOutput && value.graph?.owner !== undefined);
}

function contextMethods(base: OpContext): OpContext {
  return {
    node: base.node,
    opset: base.opset,
    type: (i) => base.type(i),
    shape: (i) => base.shape(i),
    constant: (i) => base.constant(i),
    content: (i) => base.content(i),
  };
}

/** Atoms born inside a rule have no name of their own yet: they take the place where they first appear. */
function nameOrigins(axes: readonly Axis[] | undefined, value: Value): void {
  axes?.forEach((a, i) => {
    if (a.origin === "" || a.origin.endsWith(":added")) (a as { origin: string }).origin = `${value.name}:${i}`;
  });
}
