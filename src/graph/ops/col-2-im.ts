/** Col2Im (onnx/docs/Operators.md#Col2Im): [N, C·block, L] blocks are added up into an image [N, C, …image]. Not evaluated; sums are no multiply-accumulates. */
import type { Axis } from "../coupling/axis.js";
import { type Dim, exactDiv, isKnown, product } from "../dim.js";
import { defineOp, type InferContext, type OpContext, type OpSpec } from "../op.js";
import { HIGHEST_RANK, mismatch, NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

/** Elements of one block. */
function blockOf(op: OpContext): Dim | undefined {
  const block = op.content(2);
  return block && product(block);
}

function channelsOf(op: InferContext): Dim {
  const [columns, block] = [op.shape(0)?.[1], blockOf(op)];
  if (columns === undefined || block === undefined) return op.fresh(0, 1);
  const channels = exactDiv(columns, block);
  if (channels === undefined && isKnown(columns) && isKnown(block))
    throw mismatch(op.node, `${columns} columns do not divide into blocks of ${block}.`);
  return channels ?? op.fresh(0, 1);
}

const col2Im = defineOp({
  type: "Col2Im",
  since: [18],
  inputs: ["input", "image_shape", "block_shape"],
  outputs: ["output"],
  ranks: { 0: 3 },
  remark: NO_MACS,

  infer(op) {
    const input = op.type(0);
    if (!input) return [undefined];
    const image = op.content(1);
    const rank = image?.length ?? op.shape(1)?.[0];
    if (rank === undefined || !isKnown(rank) || rank > HIGHEST_RANK) return [tensorOf(input.dtype, undefined)];
    const space = Array.from({ length: rank }, (_, a) => image?.[a] ?? op.fresh(0, a + 2));
    return [tensorOf(input.dtype, [input.shape?.[0] ?? op.fresh(0, 0), channelsOf(op), ...space])];
  },

  sizeOperands: [1, 2],
  axes(op) {
    const [N, columns, L] = op.in(0) as [Axis, Axis, Axis];
    const [, C, ...space] = op.outShape(0) as [Dim, Dim, ...Dim[]];
    const block = blockOf(op);
    op.freeze(L, "Col2Im lays blocks over the image");
    let channels: Axis;
    if (block !== undefined && exactDiv(columns.size, block) === C) {
      const [c, b] = op.split(columns, [C, block]) as [Axis, Axis];
      op.freeze(b, "Col2Im lays blocks over the image");
      channels = c;
    } else {
      op.freeze(columns, "Col2Im takes blocks from it whose size is known only at run time");
      channels = op.fixed(C, "Col2Im takes blocks from it whose size is known only at run time");
    }
    op.out(0, [N, channels, ...space.map((d) => op.fixed(d, "Col2Im lays blocks over the image"))]);
  },
  macs: noMacs,
});

export const specs: readonly OpSpec[] = [col2Im];
