/** Reshape (onnx/docs/Operators.md#Reshape). Extents that are symbolic are taken to be at least 1, so a symbol is never the 0 that means "copy". */

import { ints } from "../attribute.js";
import { type Dim, exactDiv, isKnown, product } from "../dim.js";
import type { Node } from "../graph.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { sizeOf } from "../rearrange.js";
import { regroup } from "./axis-rules.js";
import { mismatch, noMacs, type Shape, shapeOfRank, tensorOf } from "./shape-rules.js";

const reshape = defineOp({
  type: "Reshape",
  since: [1, 5, 13, 14, 19, 21, 23, 24, 25],
  inputs: ["data", "shape"],
  outputs: ["reshaped"],

  infer(op) {
    const data = op.type(0);
    if (!data) return [undefined];
    const target = op.opset < 5 ? op.node.ints("shape", []) : op.content(1);
    if (target)
      return [
        tensorOf(
          data.dtype,
          reshaped(op, data.shape, target, (axis) => op.fresh(0, axis)),
        ),
      ];
    // Without the elements of `shape`, their number still is the rank.
    return [tensorOf(data.dtype, shapeOfRank(op, op.shape(1)?.[0]))];
  },

  moves: [0],
  evaluate(op, [data, shape]) {
    const target = op.opset < 5 ? op.node.ints("shape", []) : shape?.ints();
    if (!data || !target) return undefined;
    const dims = reshaped(op, data.dims, target, () => "unknown");
    return dims.every(isKnown) ? [data.reshape(dims as number[])] : undefined;
  },

  sizeOperands: [1],
  axes(op) {
    if (op.opset >= 5 && !op.content(1)) return op.barrier("its shape is computed at run time");
    return op.out(0, regroup(op, op.in(0), op.outShape(0)));
  },
  resize(op) {
    const target = op.opset < 5 ? op.node.ints("shape", []) : (op.content(1) as Shape);
    const content = target.map((d, a): Dim => {
      if (d === -1) return d;
      // 0 copies the extent at the same place: still right when both sides lost the same.
      const copies = d === 0 && op.node.int("allowzero", 0) === 0 && op.sizeIn(0, a) === op.sizeOut(0, a);
      return copies ? d : op.sizeOut(0, a);
    });
    if (op.opset < 5) op.setAttribute("shape", ints(content as number[]));
    else op.setOperand(1, content);
  },
  macs: noMacs,
});

/** The shape that `target` asks for: 0 copies an extent (unless allowzero), -1 takes what is left, and `unknown` names what cannot be told. */
function reshaped(op: OpContext, input: Shape | undefined, target: Shape, unknown: (axis: number) => Dim): Dim[] {
  const copiesZero = op.node.int("allowzero", 0) === 0;
  const out = target.map((d, a): Dim => {
    if (d !== 0 || !copiesZero) return d;
    if (input && a >= input.length) throw mismatch(op.node, `shape [${target.join(", ")}] copies axis ${a} of data [${input.join(", ")}].`);
    return input?.[a] ?? unknown(a);
  });
  const open = out.indexOf(-1);
  if (out.some((d, a) => isKnown(d) && (d < -1 || (d === -1 && a !== open)))) {
    throw mismatch(op.node, `shape [${target.join(", ")}] should have at most one -1 and no other negative extent.`);
  }
  if (open >= 0) {
    const rest = out.filter((_, a) => a !== open);
    out[open] = (input && remaining(op.node, input, rest)) ?? unknown(open);
  } else if (input?.every(isKnown) && out.every(isKnown) && sizeOf(input as number[]) !== sizeOf(out as number[])) {
    throw mismatch(op.node, `data [${input.join(", ")}] cannot take the shape [${out.join(", ")}].`);
  }
  return out;
}

/** What the extents of `input` leave when `taken` is divided out. Equal extents go first, so that sums need no polynomial division. */
function remaining(node: Node, input: Shape, taken: Shape): Dim | undefined {
  const left = [...input];
  const others: Dim[] = [];
  for (const d of taken) {
    const at = left.indexOf(d);
    if (at < 0 || d === 0) others.push(d);
    else left.splice(at, 1);
  }
  const size = product(left);
  const by = product(others);
  const quotient = exactDiv(size, by);
  if (quotient === undefined && isKnown(size) && isKnown(by) && by !== 0) {
    throw mismatch(node, `the ${product(input)} elements of data [${input.join(", ")}] do not divide by [${taken.join(", ")}].`);
  }
  return quotient;
}

export const specs: readonly OpSpec[] = [reshape];
