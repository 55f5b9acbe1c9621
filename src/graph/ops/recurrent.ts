/** LSTM, GRU and RNN: X [steps, batch, I] (batch first under layout 1) through W [D, gates*H, I] and R [D, gates*H, H]. */

import { int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { add, type Dim, exactDiv, product } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { expectRank, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

interface Extents {
  readonly steps: Dim;
  readonly batch: Dim;
  readonly I: Dim;
  readonly H: Dim;
  readonly directions: number;
}

function extents(op: OpContext, gates: number): Extents | undefined {
  const { node } = op;
  const X = op.shape(0);
  const W = op.shape(1);
  const R = op.shape(2);
  if (!X) return undefined;
  expectRank(node, X, "X", 3);
  for (const [name, s] of [
    ["W", W],
    ["R", R],
  ] as const)
    if (s) expectRank(node, s, name, 3);
  const directions = node.string("direction", "forward") === "bidirectional" ? 2 : 1;
  const perGate = W && exactDiv(W[1] as Dim, gates);
  const H = node.int("hidden_size") ?? R?.[2] ?? perGate;
  if (H === undefined) return undefined;
  if (R) sameExtent(node, H, R[2] as Dim, "hidden_size and R's last axis");
  if (perGate !== undefined) sameExtent(node, H, perGate, `hidden_size and W's second axis over ${gates}`);
  if (W) sameExtent(node, X[2] as Dim, W[2] as Dim, "X's last axis and W's last axis");
  if (W) sameExtent(node, directions, W[0] as Dim, "directions and W's first axis");
  for (const [i, rank] of [
    [3, 2],
    [4, 1],
    [5, 3],
    [6, 3],
    [7, 2],
  ] as const) {
    const s = op.shape(i);
    if (s) expectRank(node, s, `input ${i}`, rank);
  }
  const [first, second, I] = X as [Dim, Dim, Dim];
  const batchFirst = isBatchFirst(op);
  return { steps: batchFirst ? second : first, batch: batchFirst ? first : second, I, H, directions };
}

const isBatchFirst = (op: OpContext): boolean => op.node.int("layout", 0) === 1;

function shapes(op: OpContext, gates: number): { Y: Shape; state: Shape } | undefined {
  const e = extents(op, gates);
  if (!e) return undefined;
  const { steps, batch, H, directions } = e;
  return isBatchFirst(op)
    ? { Y: [batch, steps, directions, H], state: [batch, directions, H] }
    : { Y: [steps, directions, batch, H], state: [directions, batch, H] };
}

/**
 * The hidden units are one axis: every gate's rows of W and R, the columns of R, biases, peepholes and states.
 * Input features are summed by W, hidden units by R inside the recurrence (no Gather fits in there: see Slot.zero).
 */
function recurrentAxes(op: AxisContext, gates: number): void {
  if (isBatchFirst(op)) return op.barrier("layout 1 puts the batch first");
  const [X, W, R] = [op.in(0), op.in(1), op.in(2)] as [readonly Axis[], readonly Axis[], readonly Axis[]];
  const directions = W[0] as Axis;
  freezeAxes(op, [directions, R[0] as Axis], "it counts the directions");
  op.same(R[0] as Axis, directions);
  // Each direction has hidden units of its own, all equally many.
  const h = op.dependent(directions, (R[2] as Axis).size as number).inner;
  op.same(R[2] as Axis, h);
  const inGates = (a: Axis, n: number) => op.same(a, op.prod([op.fixed(n, "it counts the gates"), h]));
  inGates(W[1] as Axis, gates);
  inGates(R[1] as Axis, gates);
  op.same(X[2] as Axis, W[2] as Axis);
  op.contract({ input: 0, axis: 2 }, { input: 1, axis: 2 });
  op.contract({ input: 2, axis: 2, zero: true });
  const perGate: readonly [number, number][] = [
    [3, 2 * gates],
    [7, 3],
  ];
  for (const [i, n] of perGate) {
    if (!op.has(i)) continue;
    op.freeze(op.in(i)[0] as Axis, "it counts the directions");
    op.same(op.in(i)[0] as Axis, directions);
    inGates(op.in(i)[1] as Axis, n);
  }
  if (op.has(4)) op.same(op.in(4)[0] as Axis, X[1] as Axis);
  for (const i of [5, 6]) {
    if (!op.has(i)) continue;
    const [d, n, s] = op.in(i) as [Axis, Axis, Axis];
    op.freeze(d, "it counts the directions");
    op.same(d, directions);
    if (n.size === (X[1] as Axis).size) op.same(n, X[1] as Axis);
    else op.freeze(n, "it is the batch");
    op.same(s, h);
  }
  freezeAxes(op, X.slice(0, 1), "it counts the steps");
  const states: readonly Axis[] = [directions, X[1] as Axis, h];
  op.out(0, [X[0] as Axis, ...states]);
  op.out(1, states);
  op.out(2, states);
}

function recurrent(type: string, gates: number, since: readonly number[], inputs: readonly string[], outputs: readonly string[]): OpSpec {
  return defineOp({
    type,
    since,
    inputs,
    outputs,
    remark: "Counts the products with W and R of every step; sequence_lens is not looked at.",
    infer(op) {
      const dtype = op.type(0)?.dtype ?? op.type(1)?.dtype;
      const s = shapes(op, gates);
      return outputs.map((_, i) => dtype && tensorOf(dtype, i === 0 ? s?.Y : s?.state));
    },
    axes: (op) => recurrentAxes(op, gates),
    resize(op) {
      const h = op.node.outputs.findIndex((o) => o !== undefined);
      const shape = op.outShape(h);
      op.setAttribute("hidden_size", int(op.sizeOut(h, shape.length - 1) as number));
    },
    macs(op) {
      const e = extents(op, gates);
      return e ? product([e.steps, e.batch, e.directions, gates, e.H, add(e.I, e.H)]) : unknownMacs(op.node);
    },
  });
}

const shared = ["X", "W", "R", "B?", "sequence_lens?", "initial_h?"] as const;

export const specs: readonly OpSpec[] = [
  recurrent("LSTM", 4, [7, 14, 22], [...shared, "initial_c?", "P?"], ["Y?", "Y_h?", "Y_c?"]),
  recurrent("GRU", 3, [7, 14, 22], shared, ["Y?", "Y_h?"]),
  recurrent("RNN", 1, [7, 14, 22], shared, ["Y?", "Y_h?"]),
];
