/**
 * MatMulNBits (com.microsoft): A times a weight of 2 to 8 bits, packed along K in blocks that share a scale. Columns leave one by
 * one, and of K whole blocks. Not evaluated.
 */
import { int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, exactDiv, mul, product } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { HIGHEST_RANK, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

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
  if (B) sameExtent(op.node, N, B[0] as Dim, "N and B's first axis");
  return [...A.slice(0, -1), N];
}

/** The axis beside the rows of an operand [N, per row], which older exporters flatten; undefined where neither fits. */
function besideRows(op: AxisContext, input: number, columns: Axis): Axis | undefined {
  const axes = op.in(input);
  if (axes.length === 2) {
    op.same(axes[0] as Axis, columns);
    return axes[1];
  }
  const perRow = axes.length === 1 ? exactDiv((axes[0] as Axis).size, columns.size) : undefined;
  if (perRow === undefined) {
    freezeAxes(op, [...axes, columns], "its scales and zero points lie in another order");
    return undefined;
  }
  const beside = op.atom(perRow);
  op.same(axes[0] as Axis, op.prod([columns, beside]));
  return beside;
}

function nBitsAxes(op: AxisContext): void {
  if (op.node.int("weight_prepacked", 0) !== 0) return op.barrier("its weight is packed for one kind of device");
  const { K, blockSize, bits } = extents(op);
  const A = op.in(0);
  const [columns, perBlock, bytes] = op.in(1) as readonly [Axis, Axis, Axis];
  const k = A[A.length - 1] as Axis;
  op.freeze(bytes, "it holds the packed numbers of one block");
  if (op.has(4)) {
    // Rows of K in another order than that of the blocks.
    freezeAxes(op, [...op.in(4), k, perBlock], "g_idx says which block each row belongs to");
  } else if (K % blockSize !== 0) freezeAxes(op, [k, perBlock], `${K} does not divide into blocks of ${blockSize}`);
  else op.same(k, op.prod([perBlock, op.fixed(blockSize, `blocks of ${blockSize} share a scale`)]));
  for (const i of [2, 3]) {
    const beside = op.has(i) ? besideRows(op, i, columns) : undefined;
    if (beside) zeroPointAxes(op, beside, perBlock, i === 3 && op.type(3)?.dtype === "uint8" ? 8 / bits : 1);
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
  return op.same(blocks, op.prod([axis, op.fixed(perByte, "zero points of neighbouring blocks share a byte")]));
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "MatMulNBits",
    domain: "com.microsoft",
    since: [1],
    inputs: ["A", "B", "scales", "zero_points?", "g_idx?", "bias?"],
    outputs: ["Y"],
    ranks: { 0: [1, HIGHEST_RANK], 1: 3, 5: 1 },
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
