/**
 * MatMulNBits (com.microsoft): A times a weight of 2 to 8 bits, packed along K in blocks that share a scale. Columns leave one by
 * one, and of K whole blocks. Not evaluated.
 */
import { int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, isKnown, mul, product } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { expectRank, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

interface Extents {
  readonly K: number;
  readonly N: number;
  readonly blockSize: number;
  readonly blocks: number;
  readonly bits: number;
}

function extents({ node }: OpContext): Extents {
  const [K, N, blockSize] = (["K", "N", "block_size"] as const).map((name) => {
    const n = node.int(name);
    if (n === undefined || n < 1) throw mismatch(node, `${name} should be a positive number, but is ${n}.`);
    return n;
  }) as [number, number, number];
  return { K, N, blockSize, blocks: Math.ceil(K / blockSize), bits: node.int("bits", 4) };
}

function productShape(op: OpContext): Shape | undefined {
  const { K, N } = extents(op);
  const A = op.shape(0);
  if (!A) return undefined;
  sameExtent(op.node, K, A[A.length - 1] as Dim, "K and A's last axis");
  const B = op.shape(1);
  if (B) {
    expectRank(op.node, B, "B", 3);
    sameExtent(op.node, N, B[0] as Dim, "N and B's first axis");
  }
  return [...A.slice(0, -1), N];
}

/** [N, per row] of an operand that older exporters flatten. */
function rowsOf(op: AxisContext, input: number, N: number): readonly [Axis, Axis] | undefined {
  const axes = op.in(input);
  if (axes.length === 2) return axes as unknown as readonly [Axis, Axis];
  const [flat] = axes;
  if (!flat || !isKnown(flat.size) || flat.size % N !== 0) return undefined;
  return op.split(flat, [N, flat.size / N]) as [Axis, Axis];
}

function nBitsAxes(op: AxisContext): void {
  if (op.node.int("weight_prepacked", 0) !== 0) return op.barrier("its weight is packed for one kind of device");
  const { K, N, blockSize, blocks, bits } = extents(op);
  const A = op.in(0);
  const [columns, perBlock, bytes] = op.in(1) as readonly [Axis, Axis, Axis];
  const k = A[A.length - 1] as Axis;
  op.freeze(bytes, "it holds the packed numbers of one block");
  if (op.has(4)) {
    // Rows of K in another order than that of the blocks.
    freezeAxes(op, [...op.in(4), k, perBlock], "g_idx says which block each row belongs to");
  } else if (K % blockSize !== 0) freezeAxes(op, [k, perBlock], `${K} does not divide into blocks of ${blockSize}`);
  else {
    const [outer, within] = op.split(k, [blocks, blockSize]) as [Axis, Axis];
    op.freeze(within, `blocks of ${blockSize} share a scale`);
    op.same(outer, perBlock);
  }
  for (const i of [2, 3]) {
    const rows = op.has(i) ? rowsOf(op, i, N) : undefined;
    if (!rows) continue;
    op.same(rows[0], columns);
    zeroPointAxes(op, rows[1], perBlock, i === 3 && op.type(3)?.dtype === "uint8" ? 8 / bits : 1);
  }
  if (op.has(5)) op.same(op.in(5)[0] as Axis, columns);
  // A row of K that is zero adds nothing, whatever the weight holds there; a shorter A would not fit the attributes.
  op.contract({ input: 0, axis: A.length - 1, zero: true }, { input: 1, axis: 1, zero: true });
  op.out(0, [...A.slice(0, -1), columns]);
}

/** Scales and zero points along the blocks; `perByte` zero points share a byte, and then leave together. */
function zeroPointAxes(op: AxisContext, axis: Axis, blocks: Axis, perByte: number): void {
  if (perByte === 1) return op.same(axis, blocks);
  if ((axis.size as number) * perByte !== blocks.size)
    return freezeAxes(op, [axis, blocks], "its last zero points share a byte with nothing");
  const [bytes, within] = op.split(blocks, [axis.size, perByte]) as [Axis, Axis];
  op.freeze(within, "zero points of neighbouring blocks share a byte");
  return op.same(axis, bytes);
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "MatMulNBits",
    domain: "com.microsoft",
    since: [1],
    inputs: ["A", "B", "scales", "zero_points?", "g_idx?", "bias?"],
    outputs: ["Y"],
    remark: "Of K, whole blocks leave; none where g_idx reorders them, or where the last block is short.",
    infer(op) {
      const dtype = op.type(0)?.dtype ?? op.type(2)?.dtype;
      return [dtype && tensorOf(dtype, productShape(op))];
    },
    axes: nBitsAxes,
    resize(op) {
      const rank = (op.shape(0) as Shape).length;
      op.setAttribute("K", int(op.sizeIn(0, rank - 1) as number));
      op.setAttribute("N", int(op.sizeIn(1, 0) as number));
    },
    macs(op) {
      const Y = op.outputShape(0);
      return Y ? mul(product(Y), extents(op).K) : unknownMacs(op.node);
    },
  }),
];
