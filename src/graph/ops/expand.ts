/** Expand (onnx/docs/Operators.md#Expand). */
import { type Dim, isKnown } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { rearrange, strided, stridesOf } from "../rearrange.js";
import { broadcast, HIGHEST_RANK, noMacs, tensorOf } from "./shape-rules.js";

const expand = defineOp({
  type: "Expand",
  since: [8, 13],
  inputs: ["input", "shape"],
  outputs: ["output"],

  infer(op) {
    const input = op.type(0);
    if (!input) return [undefined];
    const target = op.content(1);
    if (target) return [tensorOf(input.dtype, broadcast(op.node, [input.shape, target]))];
    const length = op.shape(1)?.[0];
    if (!input.shape || length === undefined || !isKnown(length) || length > HIGHEST_RANK) return [tensorOf(input.dtype, undefined)];
    const rank = Math.max(length, input.shape.length);
    const ones = rank - input.shape.length;
    // Only an extent of 1 grows.
    const out = Array.from({ length: rank }, (_, a): Dim => {
      const d = input.shape?.[a - ones] ?? 1;
      return isKnown(d) && d !== 1 ? d : op.fresh(0, a);
    });
    return [tensorOf(input.dtype, out)];
  },

  moves: [0],
  evaluate(op, [input, shape]) {
    if (!input || !shape) return undefined;
    const dims = broadcast(op.node, [input.dims, shape.ints()]) as number[];
    const ones = dims.length - input.dims.length;
    const steps = stridesOf(input.dims);
    const out = rearrange(
      [input],
      dims,
      strided(
        dims,
        dims.map((_, a) => (a < ones || input.dims[a - ones] === 1 ? 0 : (steps[a - ones] as number))),
      ),
    );
    return out && [out];
  },

  sizeOperands: [1],
  axes(op) {
    const X = op.in(0);
    const shape = op.outShape(0);
    op.out(
      0,
      shape.map((size, k) => {
        const a = X[k - shape.length + X.length];
        if (a?.size === size) return a;
        if (a) op.freeze(a, "Expand repeats it");
        // Copies may leave one by one: nothing upstream knows of them. A symbol may turn out to be no 1.
        return op.content(1) && (!a || a.size === 1) ? op.atom(size) : op.fixed(size, "Expand repeats it as a run decides");
      }),
    );
  },
  resize(op) {
    const target = op.content(1);
    if (!target) return;
    const ones = op.outShape(0).length - target.length;
    op.setOperand(
      1,
      target.map((d, k) => (d === 1 ? d : op.sizeOut(0, k + ones))),
    );
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [expand];
