/** Clip to [min, max]: bounds are attributes before opset 11 and scalar inputs since. */

import type { Dim } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { passThrough } from "./axis-rules.js";
import { elements, fitting, larger, smaller, zip } from "./content-algebra.js";
import { exactNumbers, mapElements } from "./numeric.js";
import { hasInput, likeInput, NO_MACS, noMacs } from "./shape-rules.js";

function clippedContent(op: OpContext): readonly Dim[] | undefined {
  if (op.opset < 11) return undefined;
  let content = elements(op, 0);
  for (const [i, bound] of [
    [1, larger],
    [2, smaller],
  ] as const)
    if (hasInput(op, i)) content = zip([content, elements(op, i)], bound);
  return fitting(op.type(0)?.dtype, content);
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "Clip",
    since: [1, 6, 11, 12, 13],
    inputs: ["input", "min?", "max?"],
    outputs: ["output"],
    remark: NO_MACS,
    infer: (op) => [likeInput(op, 0, clippedContent(op))],
    evaluate({ node, opset }, [x, min, max]) {
      if (!x) return undefined;
      const bounds = [min, max].map((t, i) => {
        if (opset < 11) return node.float(i === 0 ? "min" : "max");
        return t ? exactNumbers(t)?.[0] : undefined;
      });
      // A bound that is present but not exact in a double.
      if (opset >= 11 && [min, max].some((t, i) => t && bounds[i] === undefined)) return undefined;
      const [low = Number.NEGATIVE_INFINITY, high = Number.POSITIVE_INFINITY] = bounds;
      // With low > high the runtime gives high; NaN stays.
      const y = mapElements(x, x.dtype, (v) => (Number.isNaN(v) ? v : Math.min(Math.max(v, low), high)));
      return y && [y];
    },
    axes: passThrough,
    macs: noMacs,
  }),
];
