/** MaxUnpool (onnx/docs/Operators.md#MaxUnpool): types only. */
import { add, type Dim, mul } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { hasInput, mismatch, noMacs, tensorOf } from "./shape-rules.js";

const maxUnpool = defineOp({
  type: "MaxUnpool",
  since: [9, 11, 22],
  inputs: ["X", "I", "output_shape?"],
  outputs: ["output"],

  infer(op) {
    const x = op.type(0);
    if (!x) return [undefined];
    const { shape } = x;
    if (hasInput(op, 2)) return [tensorOf(x.dtype, op.content(2) ?? shape?.map((_, a) => op.fresh(0, a)))];
    if (!shape) return [tensorOf(x.dtype, undefined)];
    const kernel = op.node.ints("kernel_shape", []);
    const spatial = kernel.length;
    if (shape.length !== spatial + 2)
      throw mismatch(op.node, `X [${shape.join(", ")}] should have ${spatial} spatial axes, as kernel_shape has.`);
    const strides = op.node.ints("strides") ?? kernel.map(() => 1);
    const pads = op.node.ints("pads") ?? new Array<number>(2 * spatial).fill(0);
    // The inverse of a pool: (d - 1)·stride + kernel - pads.
    const out = kernel.map((k, a): Dim => {
      const stride = strides[a] ?? 1;
      return add(mul(shape[a + 2] as Dim, stride), k - stride - (pads[a] ?? 0) - (pads[a + spatial] ?? 0));
    });
    return [tensorOf(x.dtype, [...shape.slice(0, 2), ...out])];
  },

  macs: noMacs,
});

export const specs: readonly OpSpec[] = [maxUnpool];
