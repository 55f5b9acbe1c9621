/** CenterCropPad (onnx/docs/Operators.md#CenterCropPad). */
import type { Dim } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { rearrange, sizeOf, stridesOf, unravel } from "../rearrange.js";
import { frontAxis, mismatch, noMacs, tensorOf } from "./shape-rules.js";

/** The axes that `shape` speaks of, one per element. */
function axesOf(op: OpContext, rank: number): readonly number[] {
  return op.node.ints("axes")?.map((a) => frontAxis(op.node, a, rank)) ?? Array.from({ length: rank }, (_, a) => a);
}

/** The target extent of each axis; undefined where none is stated or it is not known. */
function targetOf(op: OpContext, rank: number, sizes: readonly Dim[] | undefined): (Dim | undefined)[] {
  const axes = axesOf(op, rank);
  if (sizes && sizes.length !== axes.length) throw mismatch(op.node, `shape [${sizes.join(", ")}] should have ${axes.length} elements.`);
  const out = new Array<Dim | undefined>(rank).fill(undefined);
  axes.forEach((a, i) => {
    out[a] = sizes?.[i];
  });
  return out;
}

const centerCropPad = defineOp({
  type: "CenterCropPad",
  since: [18],
  inputs: ["input_data", "shape"],
  outputs: ["output_data"],

  infer(op) {
    const input = op.type(0);
    if (!input?.shape) return [input && tensorOf(input.dtype, undefined)];
    const rank = input.shape.length;
    const stated = axesOf(op, rank);
    const target = targetOf(op, rank, op.content(1));
    return [
      tensorOf(
        input.dtype,
        input.shape.map((d, a) => (stated.includes(a) ? (target[a] ?? op.fresh(0, a)) : d)),
      ),
    ];
  },

  moves: [0],
  evaluate(op, [input, shape]) {
    if (!input || !shape) return undefined;
    const target = targetOf(op, input.dims.length, shape.ints()) as (number | undefined)[];
    const dims = input.dims.map((d, a) => target[a] ?? d);
    const steps = stridesOf(input.dims);
    // Half of what is too much, or too little, rounded down, lies before.
    const shift = input.dims.map((d, a) => {
      const to = dims[a] as number;
      return to < d ? Math.floor((d - to) / 2) : -Math.floor((to - d) / 2);
    });
    const positions = Float64Array.from({ length: sizeOf(dims) }, (_, k) => {
      let at = 0;
      for (const [a, i] of unravel(k, dims).entries()) {
        const from = i + (shift[a] as number);
        if (from < 0 || from >= (input.dims[a] as number)) return -1;
        at += from * (steps[a] as number);
      }
      return at;
    });
    const out = rearrange([input], dims, positions);
    return out && [out];
  },

  sizeOperands: [1],
  axes(op) {
    const X = op.in(0);
    const stated = axesOf(op, X.length);
    const shape = op.outShape(0);
    op.out(
      0,
      X.map((a, k) => {
        if (!stated.includes(k) || shape[k] === a.size) return a;
        // The middle of fewer indices lies elsewhere.
        op.freeze(a, "CenterCropPad takes or fills its middle");
        return op.fixed(shape[k] as Dim, "CenterCropPad takes or fills its middle");
      }),
    );
  },
  resize(op) {
    if (!op.content(1)) return;
    op.setOperand(
      1,
      axesOf(op, (op.shape(0) ?? []).length).map((a) => op.sizeOut(0, a)),
    );
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [centerCropPad];
