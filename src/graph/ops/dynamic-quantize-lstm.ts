/**
 * DynamicQuantizeLSTM (com.microsoft): an LSTM whose weights are quantised, and which quantises its input and its hidden state at
 * every step by their least and largest elements. One index less changes the scale of all others: nothing may leave.
 */
import { add, type Dim, exactDiv, product } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { tensorOf, unknownMacs } from "./shape-rules.js";

interface Extents {
  readonly steps: Dim;
  readonly batch: Dim;
  readonly I: Dim;
  readonly directions: Dim;
  readonly H: Dim;
}

/** X [steps, batch, I], W [directions, I, 4·H] and R [directions, H, 4·H]: transposed against LSTM's. */
function extents(op: OpContext): Extents | undefined {
  const [X, W, R] = [op.shape(0), op.shape(1), op.shape(2)];
  const H = op.node.int("hidden_size") ?? R?.[1] ?? (W && exactDiv(W[2] as Dim, 4));
  if (!X || H === undefined) return undefined;
  const directions = op.node.string("direction", "forward") === "bidirectional" ? 2 : 1;
  const [steps, batch, I] = X as [Dim, Dim, Dim];
  return { steps, batch, I, directions, H };
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "DynamicQuantizeLSTM",
    domain: "com.microsoft",
    since: [1],
    inputs: ["X", "W", "R", "B?", "sequence_lens?", "initial_h?", "initial_c?", "P?", "W_scale", "W_zero_point", "R_scale", "R_zero_point"],
    outputs: ["Y?", "Y_h?", "Y_c?"],
    ranks: { 0: 3, 1: 3, 2: 3 },
    remark: "Kept whole: input and hidden state are quantised by their least and largest elements. Counts the products of every step.",
    infer(op) {
      const e = extents(op);
      const dtype = op.type(0)?.dtype ?? "float32";
      const state = e && [e.directions, e.batch, e.H];
      return [tensorOf(dtype, e && [e.steps, e.directions, e.batch, e.H]), tensorOf(dtype, state), tensorOf(dtype, state)];
    },
    barrier: "it quantises its input and its hidden state by their least and largest elements",
    macs(op) {
      const e = extents(op);
      if (!e) return unknownMacs(op.node);
      const steps = product([e.steps, e.batch, e.directions, 4, e.H]);
      return product([steps, add(e.I, e.H)]);
    },
  }),
];
