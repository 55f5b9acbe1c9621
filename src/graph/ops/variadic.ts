/** Element-wise ops of any number of tensors, broadcast together since opset 8: Sum, Mean, Max, Min. */

import { add, type Dim } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import type { Tensor } from "../tensor.js";
import { elementwise } from "./axis-rules.js";
import { elements, fitting, larger, smaller, zip } from "./content-algebra.js";
import { mapBroadcast } from "./numeric.js";
import { broadcast, NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

interface Row {
  readonly type: string;
  readonly since: readonly number[];
  readonly output: string;
  readonly f: (...v: number[]) => number;
  readonly content?: (a: Dim, b: Dim) => Dim;
}

const total = (...v: number[]): number => v.reduce((a, b) => a + b);

const rows: readonly Row[] = [
  { type: "Sum", since: [1, 6, 8, 13], output: "sum", f: total, content: add },
  { type: "Mean", since: [1, 6, 8, 13], output: "mean", f: (...v) => total(...v) / v.length },
  { type: "Max", since: [1, 6, 8, 12, 13], output: "max", f: Math.max, content: larger },
  { type: "Min", since: [1, 6, 8, 12, 13], output: "min", f: Math.min, content: smaller },
];

export const specs: readonly OpSpec[] = rows.map(({ type, since, output, f, content }) =>
  defineOp({
    type,
    since,
    inputs: ["data_0..."],
    outputs: [output],
    remark: NO_MACS,
    infer(op) {
      const all = op.node.inputs.map((_, i) => i);
      const dtype = all.map((i) => op.type(i)?.dtype).find((d) => d !== undefined);
      const shape = broadcast(
        op.node,
        all.map((i) => op.shape(i)),
      );
      if (!dtype) return [undefined];
      const known =
        content && shape && shape.length <= 1
          ? zip(
              all.map((i) => elements(op, i)),
              (...xs) => xs.reduce(content),
            )
          : undefined;
      return [tensorOf(dtype, shape, fitting(dtype, known))];
    },
    evaluate(_, inputs) {
      const given = inputs.filter((t): t is Tensor => t !== undefined);
      if (given.length === 0 || given.length !== inputs.length) return undefined;
      const y = mapBroadcast(given, (given[0] as Tensor).dtype, f);
      return y && [y];
    },
    axes: elementwise,
    macs: noMacs,
  }),
);
