/** CumSum and CumProd: running sums and products along the axis that a scalar input names. */
import type { Axis } from "../coupling/axis.js";
import { defineOp, type OpSpec } from "../op.js";
import { exactNumbers, store } from "./numeric.js";
import { frontAxis, likeInput, NO_MACS, noMacs } from "./shape-rules.js";

function running(type: string, since: readonly number[], first: number, next: (total: number, x: number) => number, why: string): OpSpec {
  return defineOp({
    type,
    since,
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
      for (let start = 0; start < numbers.length; start++) {
        if (Math.floor(start / step) % length !== 0) continue;
        let total = first;
        for (let i = 0; i < length; i++) {
          const k = start + (reverse ? length - 1 - i : i) * step;
          const value = numbers[k] as number;
          out[k] = exclusive ? total : next(total, value);
          total = next(total, value);
        }
      }
      const y = store(x.dtype, x.dims, out);
      return y && [y];
    },
    axes(op) {
      const X = op.in(0);
      const at = op.content(1)?.[0];
      if (typeof at !== "number") return op.barrier("its axis is computed at run time");
      op.freeze(X[frontAxis(op.node, at, X.length)] as Axis, why);
      return op.out(0, X);
    },
    macs: noMacs,
  });
}

export const specs: readonly OpSpec[] = [
  running("CumSum", [11, 14], 0, (total, x) => total + x, "CumSum adds along it"),
  running("CumProd", [26], 1, (total, x) => total * x, "CumProd multiplies along it"),
];
