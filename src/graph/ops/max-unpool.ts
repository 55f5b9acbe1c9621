/** MaxUnpool (onnx/docs/Operators.md#MaxUnpool). Not evaluated. */
import type { Axis } from "../coupling/axis.js";
import { add, type Dim, mul, product } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
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

  sizeOperands: [2],
  axes(op) {
    const [X, I] = [op.in(0), op.in(1)];
    const pooled = pooledShape(op);
    const shape = op.outShape(0);
    // Position (n, c, p) counts as (n·C + c)·P + p: with the pool's own P, channels that leave both leave no trace.
    if (!pooled || product(pooled.slice(2)) !== product(shape.slice(2)))
      return op.barrier("its indices count across the whole tensor, and are not those of a MaxPool of this extent");
    freezeAxes(op, [...X.slice(2), ...I.slice(2)], "MaxUnpool moves along it");
    op.same(X[0] as Axis, I[0] as Axis);
    op.same(X[1] as Axis, I[1] as Axis);
    return op.out(0, [...X.slice(0, 2), ...shape.slice(2).map((d) => op.fixed(d, "MaxUnpool moves along it"))]);
  },
  resize(op) {
    if (hasInput(op, 2) && op.content(2))
      op.setOperand(
        2,
        op.outShape(0).map((_, a) => op.sizeOut(0, a)),
      );
  },
  macs: noMacs,
});

/** Shape of what a MaxPool read to make input I; undefined when nothing says that I is such. */
function pooledShape(op: OpContext): readonly Dim[] | undefined {
  const pool = op.node.inputs[1]?.producer;
  const data = pool?.qualifiedType === "MaxPool" && pool.outputs[1] === op.node.inputs[1] ? pool.inputs[0] : undefined;
  return data?.shape;
}

export const specs: readonly OpSpec[] = [maxUnpool];
