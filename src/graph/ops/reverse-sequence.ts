/** ReverseSequence (onnx/docs/Operators.md#ReverseSequence). */
import type { Axis } from "../coupling/axis.js";
import { defineOp, type OpSpec } from "../op.js";
import { rearrange, stridesOf, unravel } from "../rearrange.js";
import { likeInput, noMacs } from "./shape-rules.js";

const reverseSequence = defineOp({
  type: "ReverseSequence",
  since: [10],
  inputs: ["input", "sequence_lens"],
  outputs: ["Y"],
  infer: (op) => [likeInput(op)],

  moves: [0],
  evaluate({ node }, [input, lengths]) {
    if (!input || !lengths) return undefined;
    const batch = node.int("batch_axis", 1);
    const time = node.int("time_axis", 0);
    const lens = lengths.ints();
    const steps = stridesOf(input.dims);
    const positions = Float64Array.from({ length: input.size }, (_, k) => {
      const at = unravel(k, input.dims);
      const t = at[time] as number;
      const length = lens[at[batch] as number] as number;
      return t < length ? k + (length - 1 - 2 * t) * (steps[time] as number) : k;
    });
    const out = rearrange([input], input.dims, positions);
    return out && [out];
  },

  axes(op) {
    const X = op.in(0);
    op.freeze(X[op.node.int("time_axis", 0)] as Axis, "ReverseSequence reverses parts of it");
    op.same(op.in(1)[0] as Axis, X[op.node.int("batch_axis", 1)] as Axis);
    op.out(0, X);
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [reverseSequence];
