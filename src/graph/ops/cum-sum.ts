/** CumSum: running sums along the axis that a scalar input names. */
import type { Axis } from "../coupling/axis.js";
import { defineOp, type OpSpec } from "../op.js";
import { exactNumbers, store } from "./numeric.js";
import { frontAxis, likeInput, NO_MACS, noMacs } from "./shape-rules.js";

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "CumSum",
    since: [11, 14],
    inputs: ["x", "axis"],
    outputs: ["y"],
    sizeOperands: [1],
    remark: NO_MACS,
    infer: (op) => [likeInput(op)],
    evaluate({ node }, [x, at]) {
      const numbers = x && exactNumbers(x);
      if (!x || !numbers || !at) return undefined;
      const axis = frontAxis(node, at.scalar(), x.dims.length);
      const exclusive = node.int("exclusive", 0) !== 0;
      const reverse = node.int("reverse", 0) !== 0;
      const length = x.dims[axis] as number;
      const step = x.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
      const out = new Float64Array(numbers.length);
      for (let first = 0; first < numbers.length; first++) {
        if (Math.floor(first / step) % length !== 0) continue;
        let total = 0;
        for (let i = 0; i < length; i++) {
          const k = first + (reverse ? length - 1 - i : i) * step;
          const value = numbers[k] as number;
          out[k] = exclusive ? total : total + value;
          total += value;
        }
      }
      const y = store(x.dtype, x.dims, out);
      return y && [y];
    },
    axes(op) {
      const X = op.in(0);
      const at = op.content(1)?.[0];
      if (typeof at !== "number") return op.barrier("its axis is computed at run time");
      op.freeze(X[frontAxis(op.node, at, X.length)] as Axis, "CumSum adds along it");
      return op.out(0, X);
    },
    macs: noMacs,
  }),
];
