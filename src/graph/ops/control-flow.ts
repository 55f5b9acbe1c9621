/** If, Loop and Scan (onnx/docs/Operators.md#If). Bodies are inferred with what they are given and what they capture; Scan of opset 8 is not read. */
import { ModelError } from "../../errors.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, isKnown } from "../dim.js";
import type { Graph, Node, ValueType } from "../graph.js";
import { defineOp, type InferContext, type Inferred, type OpContext, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { frontAxis, hasInput } from "./shape-rules.js";

/** Rounds of widening: one to see which extents change, one to see what that changes in turn, one to confirm. */
const ROUNDS = 3;

const SCALAR = { kind: "tensor", shape: [] } as const;

const conditional = defineOp({
  type: "If",
  since: [1, 11, 13, 16, 19, 21, 23, 24, 25],
  inputs: ["cond"],
  outputs: ["outputs..."],

  infer(op) {
    const [yes, no] = [graphOf(op.node, "then_branch"), graphOf(op.node, "else_branch")].map((g) => g && possible(op, g));
    if (!yes || !no) return [];
    const known = conditionOf(op);
    // A branch whose nodes contradict the shapes at hand is never taken with them: exporters guard cases so.
    const taken = known !== undefined ? (known ? yes : no) : no instanceof ModelError ? yes : yes instanceof ModelError ? no : undefined;
    if (taken instanceof ModelError) throw taken;
    if (taken) return taken.map(asInferred);
    if (yes instanceof ModelError || no instanceof ModelError) return [];
    return op.node.outputs.map((_, i) => asInferred(common(yes[i], no[i], (a) => op.fresh(i, a))));
  },

  axes(op) {
    const bodies = [graphOf(op.node, "then_branch"), graphOf(op.node, "else_branch")];
    if (!bodies.every((g) => g !== undefined)) return op.barrier("If lacks a branch");
    const results = bodies.map((g) => op.body(g, []));
    const known = conditionOf(op);
    op.node.outputs.forEach((o, i) => {
      if (!o) return;
      const [yes, no] = results.map((r) => r[i]);
      const taken = known === undefined ? [yes, no].filter((a) => a !== undefined) : [known ? yes : no];
      merge(op, i, taken, "the branches of If give different extents");
    });
  },
});

/** The condition of an If where it is the same in every run: a constant, or a question about extents that are numbers. */
export function conditionOf(op: Pick<OpContext, "content">): number | undefined {
  const known = op.content(0)?.[0];
  return known !== undefined && isKnown(known) ? known : undefined;
}

/** Types of the outputs of a branch, or the contradiction that keeps it from being taken. */
function possible(op: InferContext, branch: Graph): readonly (ValueType | undefined)[] | ModelError {
  try {
    return op.body(branch, []);
  } catch (error) {
    if (error instanceof ModelError) return error;
    throw error;
  }
}

const loop = defineOp({
  type: "Loop",
  since: [1, 11, 13, 16, 19, 21, 23, 24, 25],
  inputs: ["M?", "cond?", "v_initial..."],
  outputs: ["v_final_and_scan_outputs..."],
  remark: "Multiply-accumulates are counted for a known trip count, else for one iteration.",

  infer(op) {
    const body = graphOf(op.node, "body");
    if (!body) return [];
    const states = op.node.inputs.length - 2;
    const initial = Array.from({ length: Math.max(0, states) }, (_, i) => op.type(i + 2));
    const first: ValueType[] = [
      { ...SCALAR, dtype: "int64" },
      { ...SCALAR, dtype: "bool" },
    ];
    const carried = steady(op, body, first, initial, [], 1);
    const results = carried.results.slice(1);
    const trips = tripsOf(op, body);
    return results.map((type, i) => {
      if (i < states) return asInferred(carried.states[i]);
      return asInferred(type && stacked(type, 0, trips ?? op.fresh(i, 0)));
    });
  },

  axes(op) {
    const body = graphOf(op.node, "body");
    if (!body) return op.barrier("Loop lacks a body");
    const initial = op.node.inputs.slice(2).map((_, i) => given(op, i + 2));
    const results = op.body(body, [[], [], ...initial]).slice(1);
    results.forEach((axes, i) => {
      if (i < initial.length) merge(op, i, [initial[i], axes], CHANGES);
      else collect(op, i, axes, 0);
    });
  },
});

const scan = defineOp({
  type: "Scan",
  since: [9, 11, 16, 19, 21, 23, 24, 25],
  inputs: ["initial_state_and_scan_inputs..."],
  outputs: ["final_state_and_scan_outputs..."],
  remark: "Multiply-accumulates are counted for a known length, else for one iteration.",

  infer(op) {
    const body = graphOf(op.node, "body");
    if (!body) return [];
    const scanned = op.node.int("num_scan_inputs", 0);
    const states = op.node.inputs.length - scanned;
    const inAxes = op.node.ints("scan_input_axes", new Array(scanned).fill(0));
    const outAxes = op.node.ints("scan_output_axes", []);
    let length: Dim | undefined;
    const slices = Array.from({ length: scanned }, (_, i): ValueType | undefined => {
      const type = op.type(states + i);
      if (!type?.shape) return type;
      const axis = frontAxis(op.node, inAxes[i] ?? 0, type.shape.length);
      const extent = type.shape[axis];
      if (extent !== undefined && (length === undefined || isKnown(extent))) length = extent;
      return { ...type, shape: type.shape.filter((_d, a) => a !== axis) };
    });
    const initial = Array.from({ length: states }, (_, i) => op.type(i));
    const carried = steady(op, body, [], initial, slices, 0);
    return carried.results.map((type, i) => {
      if (i < states) return asInferred(carried.states[i]);
      if (type?.kind !== "tensor" || !type.shape) return asInferred(type);
      const axis = frontAxis(op.node, outAxes[i - states] ?? 0, type.shape.length + 1);
      return asInferred(stacked(type, axis, length ?? op.fresh(i, axis)));
    });
  },

  axes(op) {
    const body = graphOf(op.node, "body");
    if (!body) return op.barrier("Scan lacks a body");
    const scanned = op.node.int("num_scan_inputs", 0);
    const states = op.node.inputs.length - scanned;
    const inAxes = op.node.ints("scan_input_axes", []);
    const outAxes = op.node.ints("scan_output_axes", []);
    const initial = op.node.inputs.slice(0, states).map((_, i) => given(op, i));
    const slices = op.node.inputs.slice(states).map((_, i) => {
      const axes = given(op, states + i);
      if (!axes) return undefined;
      const axis = frontAxis(op.node, inAxes[i] ?? 0, axes.length);
      op.freeze(axes[axis] as Axis, "Scan runs along it");
      return axes.filter((_a, k) => k !== axis);
    });
    op.body(body, [...initial, ...slices]).forEach((axes, i) => {
      if (i < states) merge(op, i, [initial[i], axes], CHANGES);
      else collect(op, i, axes, axes ? frontAxis(op.node, outAxes[i - states] ?? 0, axes.length + 1) : 0);
    });
  },
});

const CHANGES = "a state that goes round comes out with another extent than it went in with";

/** Axes of an input that is there and has a known rank. */
function given(op: AxisContext, input: number): readonly Axis[] | undefined {
  return op.shape(input) && op.in(input);
}

/** Output `output` is one or another of `candidates`: they are one as far as their extents agree; undefined is of unknown rank. */
function merge(op: AxisContext, output: number, candidates: readonly (readonly Axis[] | undefined)[], why: string): void {
  const shape = op.outShape(output);
  const known = candidates.filter((axes) => axes !== undefined);
  const first = known[0];
  if (!first || known.length < candidates.length || known.some((axes) => axes.length !== first.length)) {
    for (const axes of known) freezeAxes(op, axes, `${op.node.opType} may give a value of another or unknown rank in its place`);
    return;
  }
  first.forEach((a, k) => {
    for (const axes of known.slice(1)) {
      const b = axes[k] as Axis;
      if (a.size === b.size) op.same(a, b);
      else for (const x of [a, b]) op.freeze(x, why);
    }
  });
  if (shape.length === first.length)
    op.out(
      output,
      first.map((a, k) => (a.size === shape[k] ? a : op.fixed(shape[k] as Dim, why))),
    );
  else freezeAxes(op, first, why);
}

/** Output `output` has what each iteration makes, one after the other along `axis`. */
function collect(op: AxisContext, output: number, made: readonly Axis[] | undefined, axis: number): void {
  if (!made || !op.node.outputs[output]) return;
  const shape = op.outShape(output);
  if (shape.length !== made.length + 1) return freezeAxes(op, made, `what ${op.node.opType} makes of it has an unknown rank`);
  const iterations = op.fixed(shape[axis] as Dim, `${op.node.opType} has its iterations there`);
  const all = [...made.slice(0, axis), iterations, ...made.slice(axis)];
  op.out(
    output,
    all.map((a, k) => (a.size === shape[k] ? a : op.fixed(shape[k] as Dim, `${op.node.opType} makes another extent there`))),
  );
  all.forEach((a, k) => {
    if (a.size !== shape[k]) op.freeze(a, `${op.node.opType} makes another extent of it`);
  });
}

/**
 * Infers a body whose states go round: a state that does not come out as it went in is widened, extent by extent,
 * until nothing changes. `skip` outputs of the body come before its states.
 */
function steady(
  op: InferContext,
  body: Graph,
  before: readonly (ValueType | undefined)[],
  initial: readonly (ValueType | undefined)[],
  after: readonly (ValueType | undefined)[],
  skip: number,
): { readonly states: readonly (ValueType | undefined)[]; readonly results: readonly (ValueType | undefined)[] } {
  let states = initial;
  let results = op.body(body, [...before, ...states, ...after]);
  for (let round = 0; round < ROUNDS; round++) {
    const wider = states.map((s, i) => common(s, results[skip + i], (a) => op.fresh(i, a)));
    const isSteady = wider.every((w, i) => isSame(w, states[i]));
    states = wider;
    if (isSteady) break;
    results = op.body(body, [...before, ...states, ...after]);
  }
  return { states, results };
}

/** The number of iterations, when nothing but the trip count ends the loop. */
export function tripsOf(op: Pick<InferContext, "node" | "content" | "constant">, body: Graph): Dim | undefined {
  const trips = op.content(0)?.[0];
  const begins = !hasInput(op as InferContext, 1) || op.constant(1)?.ints()[0] === 1;
  const goesOn = body.outputs[0];
  const passed = goesOn?.producer?.opType === "Identity" ? goesOn.producer.inputs[0] : goesOn;
  const isEndless = passed !== undefined && (passed === body.inputs[1] || passed.constant?.ints()[0] === 1);
  return begins && isEndless ? trips : undefined;
}

/** What is true of both types; extents that differ become `unknown`. */
function common(a: ValueType | undefined, b: ValueType | undefined, unknown: (axis: number) => Dim): ValueType | undefined {
  if (a?.kind === "other" && b?.kind === "other") return a.text === b.text ? a : undefined;
  if (a?.kind !== "tensor" || b?.kind !== "tensor" || a.dtype !== b.dtype) return undefined;
  if (!a.shape || !b.shape || a.shape.length !== b.shape.length) return { kind: "tensor", dtype: a.dtype, shape: undefined };
  const shape = a.shape.map((d, i) => (d === b.shape?.[i] ? d : unknown(i)));
  return { kind: "tensor", dtype: a.dtype, shape };
}

function isSame(a: ValueType | undefined, b: ValueType | undefined): boolean {
  if (a?.kind !== "tensor" || b?.kind !== "tensor") return a === b;
  if (!a.shape || !b.shape) return a.shape === b.shape;
  return a.shape.length === b.shape.length && a.shape.every((d, i) => d === b.shape?.[i]);
}

function stacked(type: ValueType, axis: number, length: Dim): ValueType {
  if (type.kind !== "tensor" || !type.shape) return type;
  return { ...type, shape: [...type.shape.slice(0, axis), length, ...type.shape.slice(axis)] };
}

function asInferred(type: ValueType | undefined): Inferred | undefined {
  return type && { type };
}

function graphOf(node: Node, name: string): Graph | undefined {
  const a = node.attributes.get(name);
  return a?.kind === "graph" ? a.value : undefined;
}

export const specs: readonly OpSpec[] = [conditional, loop, scan];
