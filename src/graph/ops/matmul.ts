/** Matrix products as in numpy.matmul: MatMul, its integer forms MatMulInteger and QLinearMatMul, and com.microsoft FusedMatMul. */

import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, mul, product } from "../dim.js";
import { isFloat } from "../dtype.js";
import type { Node } from "../graph.js";
import { type CostContext, defineOp, type OpContext, type OpSpec } from "../op.js";
import { broadcastAxes } from "./axis-rules.js";
import { broadcastDims, broadcastOffsets, exactNumbers, store } from "./numeric.js";
import { broadcast, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

interface Product {
  readonly shape: Shape;
  readonly K: Dim;
}

/** Shape of A x B: matrices in the last two axes, the others broadcast; a vector is a row on the left, a column on the right. */
function matmulShape(node: Node, A: Shape | undefined, B: Shape | undefined): Product | undefined {
  if (!A || !B) return undefined;
  if (A.length === 0 || B.length === 0) throw mismatch(node, `A [${A.join(", ")}] and B [${B.join(", ")}] should have rank 1 or more.`);
  const rows = A.length === 1 ? [] : [A[A.length - 2] as Dim];
  const columns = B.length === 1 ? [] : [B[B.length - 1] as Dim];
  const K = sameExtent(node, A[A.length - 1] as Dim, B[Math.max(0, B.length - 2)] as Dim, "columns of A and rows of B");
  const batch = broadcast(node, [A.slice(0, -2), B.slice(0, -2)]) as Dim[];
  return { shape: [...batch, ...rows, ...columns], K };
}

function macsOf(op: CostContext, found: Product | undefined): Dim {
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

/** Shapes of A' and B' of a FusedMatMul; undefined where transBatch moves batch axes, which is rare and left out. */
function fusedOperand(op: OpContext, i: number, trans: string, transBatch: string): Shape | undefined {
  const shape = op.shape(i);
  if (!shape || op.node.int(transBatch, 0) !== 0) return undefined;
  // A vector has nothing to transpose.
  if (shape.length < 2 || op.node.int(trans, 0) === 0) return shape;
  return [...shape.slice(0, -2), shape[shape.length - 1] as Dim, shape[shape.length - 2] as Dim];
}

function fusedShape(op: OpContext): Product | undefined {
  return matmulShape(op.node, fusedOperand(op, 0, "transA", "transBatchA"), fusedOperand(op, 1, "transB", "transBatchB"));
}

/** Rows, columns and batch axes pass; the inner axis is summed. `transA`, `transB`: whether the last two axes trade places. */
function matmulAxes(op: AxisContext, transA = false, transB = false): void {
  const A = op.in(0);
  const B = op.in(1);
  const a = A.length > 1 && transA ? A.length - 2 : A.length - 1;
  const b = B.length === 1 ? 0 : transB ? B.length - 1 : B.length - 2;
  op.same(A[a] as Axis, B[b] as Axis);
  op.contract({ input: 0, axis: a }, { input: 1, axis: b });
  const row = A.length > 1 ? [A[transA ? A.length - 1 : A.length - 2] as Axis] : [];
  const column = B.length > 1 ? [B[transB ? B.length - 2 : B.length - 1] as Axis] : [];
  const shape = op.outShape(0);
  const batch = broadcastAxes(op, [A.slice(0, -2), B.slice(0, -2)], shape.slice(0, shape.length - row.length - column.length));
  op.out(0, [...batch, ...row, ...column]);
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
    axes: (op) => matmulAxes(op),
    macs: (op) => macsOf(op, matmulShape(op.node, op.shape(0), op.shape(1))),
  }),
  defineOp({
    type: "MatMulInteger",
    since: [10],
    inputs: ["A", "B", "a_zero_point?", "b_zero_point?"],
    outputs: ["Y"],
    infer: (op) => [tensorOf("int32", matmulShape(op.node, op.shape(0), op.shape(1))?.shape)],
    macs: (op) => macsOf(op, matmulShape(op.node, op.shape(0), op.shape(1))),
  }),
  defineOp({
    type: "QLinearMatMul",
    since: [10, 21],
    inputs: ["a", "a_scale", "a_zero_point", "b", "b_scale", "b_zero_point", "y_scale", "y_zero_point"],
    outputs: ["y"],
    infer(op) {
      const dtype = op.type(7)?.dtype;
      return [dtype && tensorOf(dtype, matmulShape(op.node, op.shape(0), op.shape(3))?.shape)];
    },
    macs: (op) => macsOf(op, matmulShape(op.node, op.shape(0), op.shape(3))),
  }),
  defineOp({
    type: "FusedMatMul",
    domain: "com.microsoft",
    since: [1],
    inputs: ["A", "B"],
    outputs: ["Y"],
    remark: "transBatchA and transBatchB are not read: the output's shape is then unknown.",
    infer(op) {
      const dtype = op.type(0)?.dtype ?? op.type(1)?.dtype;
      return [dtype && tensorOf(dtype, fusedShape(op)?.shape)];
    },
    axes(op) {
      if (op.node.int("transBatchA", 0) !== 0 || op.node.int("transBatchB", 0) !== 0) op.barrier("transBatch moves batch axes");
      else matmulAxes(op, op.node.int("transA", 0) !== 0, op.node.int("transB", 0) !== 0);
    },
    macs: (op) => macsOf(op, fusedShape(op)),
  }),
];
