/** If, Loop and Scan (onnx/docs/Operators.md#If). Bodies are inferred with what they are given and what they capture; Scan of opset 8 is not read. */
import { ModelError } from "../../errors.js";
import { type Dim, isKnown } from "../dim.js";
import type { Graph, Node, ValueType } from "../graph.js";
import { defineOp, type InferContext, type Inferred, type OpSpec } from "../op.js";
import { frontAxis, hasInput } from "./shape-rules.js";

/** Rounds of widening: one to see which extents change, one to see what that changes in turn, one to confirm. */
const ROUNDS = 3;

const BODIES = "it has subgraphs, which are kept as they are";

const SCALAR = { kind: "tensor", shape: [] } as const;

const conditional = defineOp({
  type: "If",
  since: [1, 11, 13, 16, 19, 21, 23, 24, 25],
  inputs: ["cond"],
  outputs: ["outputs..."],
  barrier: BODIES,

  infer(op) {
    const [yes, no] = [graphOf(op.node, "then_branch"), graphOf(op.node, "else_branch")].map((g) => g && possible(op, g));
    if (!yes || !no) return [];
    const known = op.constant(0)?.ints()[0];
    // A branch whose nodes contradict the shapes at hand is never taken with them: exporters guard cases so.
    const taken = known !== undefined ? (known ? yes : no) : no instanceof ModelError ? yes : yes instanceof ModelError ? no : undefined;
    if (taken instanceof ModelError) throw taken;
    if (taken) return taken.map(asInferred);
    if (yes instanceof ModelError || no instanceof ModelError) return [];
    return op.node.outputs.map((_, i) => asInferred(common(yes[i], no[i], (a) => op.fresh(i, a))));
  },
});

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
  barrier: BODIES,
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
});

const scan = defineOp({
  type: "Scan",
  since: [9, 11, 16, 19, 21, 23, 24, 25],
  inputs: ["initial_state_and_scan_inputs..."],
  outputs: ["final_state_and_scan_outputs..."],
  barrier: BODIES,
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
});

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
