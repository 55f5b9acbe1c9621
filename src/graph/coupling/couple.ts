/** Types every axis of a model by its ops' equations: the driver of OpSpec.axes. */
import { isKnown } from "../dim.js";
import { captures, type Model, type Node, type Value } from "../graph.js";
import { infer, type Types } from "../infer.js";
import type { OpContext, OpSpec } from "../op.js";
import { NEWEST_OPSETS } from "../ops/index.js";
import { type Axis, AxisSystem, type Reason } from "./axis.js";
import type { AxisContext, Slot } from "./context.js";

/** A sum over axes of a node's inputs: one record per summed label. */
export interface Contraction {
  readonly node: Node;
  readonly slots: readonly Slot[];
}

/** Parts that must keep equally many indices, e.g. the blocks of a grouped convolution. */
export interface Balance {
  readonly parts: readonly Axis[];
  readonly node: Node;
  readonly why: string;
}

/** The typing of one model: axes of every value of the main graph. Valid while the model is not changed. */
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
  /** Nodes that no rule covers, with the reason. */
  readonly barriers: ReadonlyMap<Node, string>;
}

/**
 * Infers which axes of `model` are one and the same.
 *
 * One pass in topological order; near linear in nodes and axes. Graph inputs and outputs, unknown ops, values captured
 * by subgraphs, and axes that an op mixes (normalised, reduced, convolved over) are frozen with their reasons.
 */
export function couple(model: Model, types: Types = infer(model)): Typing {
  const system = new AxisSystem();
  const valueAxes = new Map<Value, readonly Axis[]>();
  const useAxes = new Map<Node, Map<number, readonly Axis[]>>();
  const contractions: Contraction[] = [];
  const balances: Balance[] = [];
  const barriers = new Map<Node, string>();
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

  for (const node of graph.nodes) {
    const outputs = node.outputs;
    if (outputs.every((o) => !o || o.constant !== undefined)) continue;
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
      continue;
    }
    const spec = types.spec(node);
    const at: Reason = { text: "", node: node.label };
    const freezeAll = (why: string) => {
      barriers.set(node, why);
      node.inputs.forEach((_, i) => {
        for (const a of axesOfInput(node, i) ?? []) system.pin(a, { ...at, text: why });
      });
      for (const o of outputs) if (o) for (const a of axesOf(o) ?? []) system.pin(a, { ...at, text: why });
    };
    const why = whyOpaque(node, spec, types, model.opsets.get(node.domain) ?? 1);
    if (why) {
      freezeAll(why);
      for (const v of captures(node))
        for (const a of axesOf(v) ?? []) system.pin(a, { ...at, text: `a subgraph of ${node.opType} reads it` });
      continue;
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
      pick: (a, indices) => system.pick(a, indices, { ...at, text: `${node.opType} picks from it in a way that cannot be followed` }),
      family: (parts, rows) => system.family(parts, rows, outputs[0]?.name ?? ""),
      contract: (...slots) => {
        for (const { input, axis, over } of slots) {
          const a = over ?? ((axesOfInput(node, input) as readonly Axis[])[axis] as Axis);
          // A sum over an extent known only at run time cannot be gathered at fixed positions.
          if (!isKnown(a.size))
            system.pin(a, { ...at, text: `${node.opType} sums over it, and its extent ${a.size} is known only at run time` });
        }
        contractions.push({ node, slots });
      },
      balance: (parts, text) => {
        balances.push({ parts, node, why: text });
      },
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
  }

  /** Pins the axes whose extents shape arithmetic puts into `value`. */
  const pinMeasured = (value: Value, text: string) => {
    const stack: Value[] = [value];
    const seen = new Set<Node>();
    while (stack.length > 0) {
      const node = (stack.pop() as Value).producer;
      if (!node || seen.has(node) || !isShapeArithmetic(node, types)) continue;
      seen.add(node);
      const [measured] = node.inputs;
      if (isMeasure(node) && measured) {
        for (const a of axesOf(measured) ?? []) system.pin(a, { text, node: node.label });
      } else for (const v of node.inputs) if (v) stack.push(v);
    }
  };

  for (const o of graph.outputs) {
    for (const a of axesOf(o) ?? []) system.pin(a, { text: `"${o.name}" is a graph output` });
    pinMeasured(o, `the model's output "${o.name}" tells its extent`);
  }
  for (const node of graph.nodes) {
    if (isShapeArithmetic(node, types)) continue;
    const spec = types.spec(node);
    const sizes = spec?.resize && !barriers.has(node) ? (spec.sizeOperands ?? []) : [];
    node.inputs.forEach((v, k) => {
      // An extent read as data keeps its value (slice.ts), which needs it to be a number.
      if (v && !sizes.includes(k) && !types.content(v)?.every(isKnown))
        pinMeasured(v, `${node.opType} "${node.label}" computes with its extent`);
    });
  }
  for (const v of graph.values) {
    if (v.uses().some((u) => u.node.graph !== graph)) pinMeasured(v, `a subgraph reads its extent from "${v.name}"`);
    // A value read inside a subgraph must keep its shape: the body is not rewritten.
    for (const { node } of v.uses()) {
      if (node.graph === graph) continue;
      for (const a of axesOf(v) ?? []) system.pin(a, { text: `a subgraph reads "${v.name}"`, node: node.label });
    }
  }
  function* allShapes(): Iterable<readonly Axis[]> {
    yield* valueAxes.values();
    for (const of of useAxes.values()) yield* of.values();
  }
  function* allAxes(): Iterable<Axis> {
    for (const axes of allShapes()) yield* axes;
  }
  if (system.hasFamilies) for (const axes of allShapes()) pinStrayFamilies(system, axes);
  return { model, types, system, allAxes, axesOf, axesOfInput, contractions, balances, barriers };
}

/**
 * The dependent axis of a grouped weight is read block by block, rows of axis 0 against positions of axis 1. Anywhere
 * else (the weight transposed, reshaped, concatenated, or read by another kind of node) its members are kept whole.
 */
function pinStrayFamilies(system: AxisSystem, axes: readonly Axis[]): void {
  axes.forEach((axis, k) => {
    for (const { family, rows } of system.familiesIn(axis)) {
      const isBlockwise = k === 1 && family === system.find(axis) && system.find(rows) === system.find(axes[0] as Axis);
      if (!isBlockwise) system.pin(family, { text: "the input axis of a grouped weight is read other than block by block" });
    }
  });
}

/**
 * Constants of rank ≤ 1 are typed at each use: exporters share one zero bias or scalar among many nodes, which couples
 * nothing in truth (slice.ts clones them where uses differ). Matrices stay shared: tied weights are meant.
 */
export function isTypedPerUse(value: Value): boolean {
  const c = value.constant;
  return c !== undefined && c.dims.length <= 1;
}

/** A node that tells extents: of its input only the shape matters. */
export function isMeasure(node: Node): boolean {
  return node.isStandard && (node.opType === "Shape" || node.opType === "Size");
}

/** A node whose outputs are all small integer tensors with known (possibly symbolic) contents, made from shapes. */
export function isShapeArithmetic(node: Node, types: Types): boolean {
  if (node.outputs.length === 0) return false;
  return node.outputs.every((o) => !o || types.content(o) !== undefined);
}

function whyOpaque(node: Node, spec: OpSpec | undefined, types: Types, opset: number): string | undefined {
  if (node.subgraphs().length > 0) return `${node.opType} has subgraphs, which are kept as they are`;
  if (!spec) {
    const newest = NEWEST_OPSETS.get(node.domain);
    if (newest !== undefined && opset > newest)
      return `opset ${opset} is newer than ${newest}, the newest whose operators this version has read`;
    return `${node.qualifiedType} is not an operator this version knows`;
  }
  if (!spec.axes) return `no axis rule is known for ${node.qualifiedType}`;
  for (const v of [...node.inputs, ...node.outputs]) {
    if (!v) continue;
    if (types.type(v)?.kind === "other") return `"${v.name}" is not a tensor`;
    if (!types.shape(v)) return `the rank of "${v.name}" is unknown`;
  }
  return undefined;
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
