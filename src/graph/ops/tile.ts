/** Tile (onnx/docs/Operators.md#Tile); the deprecated form of opset 1, with `tiles` and `axis` inputs, is not read. */
import { type Dim, isKnown, mul } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { rearrange, strided, stridesOf } from "../rearrange.js";
import { mismatch, noMacs, tensorOf } from "./shape-rules.js";

const tile = defineOp({
  type: "Tile",
  since: [6, 13],
  inputs: ["input", "repeats"],
  outputs: ["output"],

  infer(op) {
    const input = op.type(0);
    if (!input) return [undefined];
    const { shape } = input;
    const repeats = op.content(1);
    if (shape && repeats && repeats.length !== shape.length) {
      throw mismatch(op.node, `repeats [${repeats.join(", ")}] should have one element per axis of input [${shape.join(", ")}].`);
    }
    return [
      tensorOf(
        input.dtype,
        shape?.map((d, a) => (repeats ? mul(d, repeats[a] as Dim) : op.fresh(0, a))),
      ),
    ];
  },

  moves: [0],
  evaluate(_, [input, repeats]) {
    const times = repeats?.ints();
    if (!input || times?.length !== input.dims.length) return undefined;
    const steps = stridesOf(input.dims);
    // Each axis is seen as (repeat, index), the repeat being no step at all.
    const dims = input.dims.flatMap((d, a) => [times[a] as number, d]);
    const out = rearrange(
      [input],
      input.dims.map((d, a) => d * (times[a] as number)),
      strided(
        dims,
        steps.flatMap((s) => [0, s]),
      ),
    );
    return out && [out];
  },

  sizeOperands: [1],
  axes(op) {
    const X = op.in(0);
    const repeats = op.content(1);
    op.out(
      0,
      X.map((a, k) => {
        const times = repeats?.[k];
        if (times === 1) return a;
        if (times === undefined || !isKnown(times) || !isKnown(a.size)) {
          op.freeze(a, "Tile repeats it as a run decides");
          return op.fixed(op.outShape(0)[k] as Dim, "Tile repeats it as a run decides");
        }
        if (a.size === 1) {
          op.freeze(a, "Tile repeats it");
          return op.atom(times);
        }
        return op.prod([op.atom(times), a]);
      }),
    );
  },
  resize(op) {
    const repeats = op.content(1);
    if (!repeats) return;
    op.setOperand(
      1,
      repeats.map((times, k) => {
        const from = op.sizeIn(0, k);
        const to = op.sizeOut(0, k);
        return isKnown(from) && isKnown(to) && from > 0 ? to / from : times;
      }),
    );
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [tile];
