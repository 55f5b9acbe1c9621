/** NonZero (onnx/docs/Operators.md#NonZero). How many there are is known for constants only. */
import { defineOp, type OpSpec } from "../op.js";
import { unravel } from "../rearrange.js";
import { Tensor } from "../tensor.js";
import { noMacs, tensorOf } from "./shape-rules.js";

const nonZero = defineOp({
  type: "NonZero",
  since: [9, 13],
  inputs: ["X"],
  outputs: ["Y"],

  infer(op) {
    const shape = op.shape(0);
    // A scalar counts as a vector of one element in ONNX Runtime, and as rank 0 in the specification.
    if (!shape || shape.length === 0) return [tensorOf("int64", [op.fresh(0, 0), op.fresh(0, 1)])];
    const constant = op.constant(0);
    const content = op.content(0);
    const count = constant && constant.size <= 4096 && constant.dtype !== "string" ? countOf(constant.numbers()) : undefined;
    const known = count ?? (content?.every((d) => typeof d === "number") ? countOf(content as number[]) : undefined);
    return [tensorOf("int64", [shape.length, known ?? op.fresh(0, 1)])];
  },

  evaluate(_, [x]) {
    if (!x || x.dims.length === 0) return undefined;
    const numbers = x.numbers();
    const found: number[][] = [];
    for (let k = 0; k < numbers.length; k++) if (numbers[k] !== 0) found.push(unravel(k, x.dims));
    return [
      Tensor.ints(
        x.dims.flatMap((_d, a) => found.map((at) => at[a] as number)),
        [x.dims.length, found.length],
      ),
    ];
  },

  barrier: "NonZero lists positions, which would move if indices left",
  macs: noMacs,
});

function countOf(x: ArrayLike<number>): number {
  let n = 0;
  for (let k = 0; k < x.length; k++) if (x[k] !== 0) n++;
  return n;
}

export const specs: readonly OpSpec[] = [nonZero];
