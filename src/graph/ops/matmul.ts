/** Matrix products as in numpy.matmul: MatMul, and com.microsoft FusedMatMul and TransposeMatMul. */

import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, mul, product } from "../dim.js";
import { isFloat } from "../dtype.js";
import type { Node } from "../graph.js";
import { type CostContext, defineOp, type OpContext, type OpSpec } from "../op.js";
import { broadcastAxes } from "./axis-rules.js";
import { broadcastDims, broadcastOffsets, exactNumbers, store } from "./numeric.js";
import { broadcast, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

export interface Product {
  readonly shape: Shape;
  readonly K: Dim;
}

/** Shape of A x B: matrices in the last two axes, the others broadcast; a vector is a row on the left, a column on the right. */
export function matmulShape(node: Node, A: Shape | undefined, B: Shape | undefined): Product | undefined {
  if (!A || !B) return undefined;
  if (A.length === 0 || B.length === 0) throw mismatch(node, `A [${A.join(", ")}] and B [${B.join(", ")}] should have rank 1 or more.`);
  const rows = A.length === 1 ? [] : [A[A.length - 2] as Dim];
  const columns = B.length === 1 ? [] : [B[B.length - 1] as Dim];
  const K = sameExtent(node, A[A.length - 1] as Dim, B[Math.max(0, B.length - 2)] as Dim, "columns of A and rows of B");
  const batch = broadcast(node, [A.slice(0, -2), B.slice(0, -2)]) as Dim[];
  return { shape: [...batch, ...rows, ...columns], K };
}

export function macsOf(op: CostContext, found: Product | undefined): Dim {
  return found ? mul(product(found.shape), found.K) : unknownMacs(op.node);
}

export interface Multiplication {
  readonly a: ArrayLike<number>;
  readonly aRow: number;
  readonly aColumn: number;
  readonly b: ArrayLike<number>;
  readonly bRow: number;
  readonly bColumn: number;
  readonly out: Float64Array;
  readonly M: number;
  readonly K: number;
  readonly N: number;
  readonly aOffset?: number;
  readonly bOffset?: number;
  readonly outOffset?: number;
}

/** out [M, N] = a [M, K] x b [K, N]; strides say how far apart rows and columns lie. */
export function multiply(m: Multiplication): void {
  const { a, b, out, M, K, N, aOffset = 0, bOffset = 0, outOffset = 0 } = m;
  for (let i = 0; i < M; i++) {
    for (let j = 0; j < N; j++) {
      let total = 0;
      for (let k = 0; k < K; k++) {
        total += (a[aOffset + i * m.aRow + k * m.aColumn] as number) * (b[bOffset + k * m.bRow + j * m.bColumn] as number);
      }
      out[outOffset + i * N + j] = total;
    }
  }
}

/** Where a product has its operands, and how it reads them. */
export interface MatMulForm {
  readonly a: number;
  readonly b: number;
  /** Position in A of each axis of A', the matrix that is multiplied; default: as they come. */
  readonly orderA?: readonly number[];
  readonly orderB?: readonly number[];
}

/**
 * Rows, columns and batch axes pass; the inner axis is summed.
 * Returns the axes of A' that are rows (none for a vector) and of B' that are columns.
 */
export function matmulAxes(op: AxisContext, { a, b, orderA, orderB }: MatMulForm): { readonly row: Axis[]; readonly column: Axis[] } {
  const [fromA, fromB] = [orderA ?? op.in(a).map((_, i) => i), orderB ?? op.in(b).map((_, i) => i)];
  const A = fromA.map((i) => op.in(a)[i] as Axis);
  const B = fromB.map((i) => op.in(b)[i] as Axis);
  const [last, first] = [A.length - 1, Math.max(0, B.length - 2)];
  op.same(A[last] as Axis, B[first] as Axis);
  op.contract({ input: a, axis: fromA[last] as number }, { input: b, axis: fromB[first] as number });
  const row = A.slice(-2, -1);
  const column = B.length > 1 ? B.slice(-1) : [];
  const shape = op.outShape(0);
  const batch = broadcastAxes(op, [A.slice(0, -2), B.slice(0, -2)], shape.slice(0, shape.length - row.length - column.length));
  op.out(0, [...batch, ...row, ...column]);
  return { row, column };
}

/**
 * The order in which FusedMatMul reads the axes of an operand: transBatch puts the first axis behind the batch axes, then
 * trans lets the last two trade places.
 */
function fusedOrder(op: OpContext, i: number, side: "A" | "B"): number[] | undefined {
  const rank = op.shape(i)?.length;
  if (rank === undefined) return undefined;
  let order = Array.from({ length: rank }, (_, a) => a);
  if (rank > 2 && op.node.int(`transBatch${side}`, 0) !== 0) order = [...order.slice(1, -1), 0, rank - 1];
  // A vector has nothing to transpose.
  if (rank > 1 && op.node.int(`trans${side}`, 0) !== 0)
    order = [...order.slice(0, -2), order[rank - 1] as number, order[rank - 2] as number];
  return order;
}

function fusedProduct(op: OpContext): Product | undefined {
  const operands = (["A", "B"] as const).map((side, i) => fusedOrder(op, i, side)?.map((a) => (op.shape(i) as Shape)[a] as Dim));
  return matmulShape(op.node, operands[0], operands[1]);
}

/** FusedMatMul, and TransposeMatMul, the name it had before it could transpose batches. */
function fused(type: string): OpSpec {
  return defineOp({
    type,
    domain: "com.microsoft",
    since: [1],
    inputs: ["A", "B"],
    outputs: ["Y"],
    infer(op) {
      const dtype = op.type(0)?.dtype ?? op.type(1)?.dtype;
      return [dtype && tensorOf(dtype, fusedProduct(op)?.shape)];
    },
    axes(op) {
      matmulAxes(op, { a: 0, b: 1, orderA: fusedOrder(op, 0, "A") as number[], orderB: fusedOrder(op, 1, "B") as number[] });
    },
    macs: (op) => macsOf(op, fusedProduct(op)),
  });
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "MatMul",
    since: [1, 9, 13],
    inputs: ["A", "B"],
    outputs: ["Y"],
    infer(op) {
      const dtype = op.type(0)?.dtype ?? op.type(1)?.dtype;
      return [dtype && tensorOf(dtype, matmulShape(op.node, op.shape(0), op.shape(1))?.shape)];
    },
    evaluate({ node }, [A, B]) {
      if (!A || !B) return undefined;
      const a = exactNumbers(A);
      const b = exactNumbers(B);
      const found = matmulShape(node, A.dims, B.dims);
      if (!a || !b || !found) return undefined;
      const [M, K] = [A.dims.length === 1 ? 1 : (A.dims[A.dims.length - 2] as number), found.K as number];
      const N = B.dims.length === 1 ? 1 : (B.dims[B.dims.length - 1] as number);
      const batches = [A.dims.slice(0, -2), B.dims.slice(0, -2)] as const;
      const batch = broadcastDims(batches);
      const [fromA, fromB] = batches.map((d) => broadcastOffsets(d, batch)) as [Int32Array, Int32Array];
      const out = new Float64Array(fromA.length * M * N);
      for (let i = 0; i < fromA.length; i++) {
        const [aOffset, bOffset] = [(fromA[i] as number) * M * K, (fromB[i] as number) * K * N];
        multiply({ a, aRow: K, aColumn: 1, b, bRow: N, bColumn: 1, out, M, K, N, aOffset, bOffset, outOffset: i * M * N });
      }
      // An integer product may have wrapped on the way although it ends in range: only sums that stay exact are kept.
      if (!isFloat(A.dtype) && out.some((v) => Math.abs(v) >= 2 ** 31)) return undefined;
      const Y = store(A.dtype, found.shape as number[], out);
      return Y && [Y];
    },
    axes(op) {
      matmulAxes(op, { a: 0, b: 1 });
    },
    macs: (op) => macsOf(op, matmulShape(op.node, op.shape(0), op.shape(1))),
  }),
  fused("FusedMatMul"),
  fused("TransposeMatMul"),
];
