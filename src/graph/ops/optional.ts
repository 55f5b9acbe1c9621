/** Optional, OptionalGetElement and OptionalHasElement (onnx/docs/Operators.md#Optional). An optional is carried; a tensor given in its place (opset 18) passes. */
import { defineOp, type OpSpec } from "../op.js";
import { passThrough } from "./axis-rules.js";
import { likeInput, noMacs, tensorOf } from "./shape-rules.js";

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "Optional",
    since: [15],
    inputs: ["input?"],
    outputs: ["output"],
    remark: "Optionals are carried, not looked into.",
    barrier: "an optional is not looked into",
    macs: noMacs,
  }),
  defineOp({
    type: "OptionalGetElement",
    since: [15, 18],
    inputs: ["input"],
    outputs: ["output"],
    infer: (op) => [likeInput(op)],
    moves: "all",
    evaluate: (_, [x]) => x && [x],
    axes: passThrough,
    macs: noMacs,
  }),
  defineOp({
    type: "OptionalHasElement",
    since: [15, 18],
    inputs: ["input?"],
    outputs: ["output"],
    remark: "Not evaluated: whether there is an element is seldom constant.",
    infer: () => [tensorOf("bool", [])],
    axes(op) {
      // Whether there is a tensor does not depend on what is in it.
      if (op.has(0)) op.in(0);
      op.out(0, []);
    },
    macs: noMacs,
  }),
];
