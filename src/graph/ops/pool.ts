/** Pools over sliding windows: MaxPool, AveragePool, LpPool. Sums and comparisons are not multiply-accumulates. */

import type { Axis } from "../coupling/axis.js";
import type { Dim } from "../dim.js";
import type { Value } from "../graph.js";
import { defineOp, type InferContext, type OpSpec } from "../op.js";
import { spatial } from "./axis-rules.js";
import { expectRank, mismatch, NO_MACS, noMacs, type Shape, tensorOf } from "./shape-rules.js";
import { readWindow, windowsAlong } from "./window.js";

function pooledShape(op: InferContext): Shape | undefined {
  const { node } = op;
  const X = op.shape(0);
  if (!X) return undefined;
  const kernel = node.ints("kernel_shape");
  if (!kernel) throw mismatch(node, "kernel_shape is required, but absent.");
  expectRank(node, X, "X", kernel.length + 2);
  const window = readWindow(node, kernel);
  const ceil = node.int("ceil_mode", 0) !== 0;
  // Where the windows of SAME pools are dilated, the specification says ceil(extent / stride) and ONNX Runtime gives fewer.
  const isDisputed = (i: number) => window.autoPad.startsWith("SAME") && window.dilations[i] !== 1 && kernel[i] !== 1;
  const windows = X.slice(2).map((extent, i) => (isDisputed(i) ? op.fresh(0, i + 2) : windowsAlong(node, window, i, extent, ceil)));
  return [X[0] as Dim, X[1] as Dim, ...windows];
}

/** Whether nothing but MaxUnpool reads these Indices. */
function isUnpooled(indices: Value): boolean {
  const reads = indices.uses();
  return !indices.isOutput && reads.length > 0 && reads.every((u) => u.index === 1 && u.node.qualifiedType === "MaxUnpool");
}

function pool(type: string, since: readonly number[], outputs: readonly string[]): OpSpec {
  return defineOp({
    type,
    since,
    inputs: ["X"],
    outputs,
    remark: NO_MACS,
    infer(op) {
      const X = op.type(0);
      const shape = pooledShape(op);
      return [X && tensorOf(X.dtype, shape), tensorOf("int64", shape)].slice(0, outputs.length);
    },
    axes(op) {
      const X = op.in(0);
      // Indices count positions of the whole tensor: they change when channels leave, which only MaxUnpool understands.
      if (op.node.outputs[1] && !isUnpooled(op.node.outputs[1]))
        for (const a of X.slice(0, 2)) op.freeze(a, "the Indices output counts across it");
      const Y = [X[0] as Axis, X[1] as Axis, ...spatial(op, X, 0)];
      op.node.outputs.forEach((_, i) => {
        op.out(i, Y);
      });
    },
    macs: noMacs,
  });
}

export const specs: readonly OpSpec[] = [
  pool("MaxPool", [1, 8, 10, 11, 12, 22], ["Y", "Indices?"]),
  pool("AveragePool", [1, 7, 10, 11, 19, 22], ["Y"]),
  pool("LpPool", [2, 11, 18, 22], ["Y"]),
];
