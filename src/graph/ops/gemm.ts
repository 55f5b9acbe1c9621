/**
 * Gemm: Y = alpha * A' * B' + beta * C, where ' transposes when transA or transB is set and C broadcasts to Y; and its forms
 * in com.microsoft: FusedGemm with an activation on each element, QGemm of quantised numbers.
 */

import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, isKnown, product } from "../dim.js";
import { isFloat } from "../dtype.js";
import type { Node } from "../graph.js";
import { type CostContext, defineOp, type OpContext, type OpSpec } from "../op.js";
import { broadcastAxes } from "./axis-rules.js";
import { multiply } from "./matmul.js";
import { broadcastOffsets, exactNumbers, store } from "./numeric.js";
import { broadcast, expectRank, hasInput, mismatch, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

/** Where a Gemm has its operands, by input position. */
interface GemmOperands {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  /** Scales and zero points of B: one, or one per column of B'. */
  readonly perColumn?: readonly number[];
}

/** Extents [M, K] of A' and [K, N] of B'. */
function factors(op: OpContext, { a, b }: GemmOperands): { M: Dim; K: Dim; N: Dim } | undefined {
  const { node } = op;
  const A = op.shape(a);
  const B = op.shape(b);
  if (!A || !B) return undefined;
  expectRank(node, A, "A", 2);
  expectRank(node, B, "B", 2);
  const [M, K] = (transposes(node, "transA") ? [A[1], A[0]] : A) as [Dim, Dim];
  const [L, N] = (transposes(node, "transB") ? [B[1], B[0]] : B) as [Dim, Dim];
  return { M, K: sameExtent(node, K, L, "columns of A' and rows of B'"), N };
}

function gemmShape(op: OpContext, operands: GemmOperands): Dim[] | undefined {
  const f = factors(op, operands);
  if (!f) return undefined;
  const Y = [f.M, f.N];
  const C = op.shape(operands.c);
  if (C) {
    const grown = broadcast(op.node, [Y, C]) as Dim[];
    if (grown.length > 2 || grown.some((d, i) => isKnown(d) && Y[i] === 1 && d !== 1)) {
      throw mismatch(op.node, `C [${C.join(", ")}] should broadcast to Y [${Y.join(", ")}].`);
    }
  }
  return Y;
}

function gemmAxes(op: AxisContext, { a, b, c, perColumn = [] }: GemmOperands): void {
  const inner = [transposes(op.node, "transA") ? 0 : 1, transposes(op.node, "transB") ? 1 : 0] as const;
  const A = op.in(a);
  const B = op.in(b);
  op.same(A[inner[0]] as Axis, B[inner[1]] as Axis);
  op.contract({ input: a, axis: inner[0] }, { input: b, axis: inner[1] });
  const Y = [A[1 - inner[0]] as Axis, B[1 - inner[1]] as Axis] as const;
  for (const i of perColumn) {
    const [v] = op.has(i) ? op.in(i) : [];
    if (v && v.size !== 1) op.same(v, Y[1]);
  }
  op.out(0, op.has(c) ? broadcastAxes(op, [Y, op.in(c)], op.outShape(0)) : Y);
}

function gemmMacs(op: CostContext, operands: GemmOperands): Dim {
  const f = factors(op, operands);
  return f ? product([f.M, f.K, f.N]) : unknownMacs(op.node);
}

const PLAIN: GemmOperands = { a: 0, b: 1, c: 2 };
const QUANTISED: GemmOperands = { a: 0, b: 3, c: 6, perColumn: [4, 5] };

const transposes = (node: Node, name: string): boolean => node.int(name, 0) !== 0;

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "Gemm",
    since: [7, 9, 11, 13],
    inputs: ["A", "B", "C?"],
    outputs: ["Y"],
    infer(op) {
      const dtype = op.type(0)?.dtype ?? op.type(1)?.dtype;
      return [dtype && tensorOf(dtype, gemmShape(op, PLAIN))];
    },
    evaluate({ node }, [A, B, C]) {
      if (!A || !B || !isFloat(A.dtype)) return undefined;
      const a = exactNumbers(A);
      const b = exactNumbers(B);
      const c = C && exactNumbers(C);
      if (!a || !b || (C && !c)) return undefined;
      const transA = transposes(node, "transA");
      const transB = transposes(node, "transB");
      const [M, K] = (transA ? [A.dims[1], A.dims[0]] : A.dims) as [number, number];
      const N = B.dims[transB ? 0 : 1] as number;
      const out = new Float64Array(M * N);
      multiply({ a, aRow: transA ? 1 : K, aColumn: transA ? M : 1, b, bRow: transB ? 1 : N, bColumn: transB ? K : 1, out, M, K, N });
      const alpha = node.float("alpha", 1);
      const beta = node.float("beta", 1);
      const from = C && broadcastOffsets(C.dims, [M, N]);
      for (let i = 0; i < out.length; i++) {
        out[i] = alpha * (out[i] as number) + (c && from ? beta * (c[from[i] as number] as number) : 0);
      }
      const Y = store(A.dtype, [M, N], out);
      return Y && [Y];
    },
    axes: (op) => gemmAxes(op, PLAIN),
    macs: (op) => gemmMacs(op, PLAIN),
  }),
  defineOp({
    type: "FusedGemm",
    domain: "com.microsoft",
    since: [1],
    inputs: ["A", "B", "C?"],
    outputs: ["Y"],
    infer(op) {
      const dtype = op.type(0)?.dtype ?? op.type(1)?.dtype;
      return [dtype && tensorOf(dtype, gemmShape(op, PLAIN))];
    },
    axes: (op) => gemmAxes(op, PLAIN),
    macs: (op) => gemmMacs(op, PLAIN),
  }),
  defineOp({
    type: "QGemm",
    domain: "com.microsoft",
    since: [1],
    inputs: ["A", "a_scale", "a_zero_point", "B", "b_scale", "b_zero_point", "C?", "y_scale?", "y_zero_point?"],
    outputs: ["Y"],
    infer(op) {
      // Without y_scale the sum stays real.
      const dtype = hasInput(op, 7) ? (hasInput(op, 8) ? op.type(8)?.dtype : undefined) : op.type(1)?.dtype;
      return [dtype && tensorOf(dtype, gemmShape(op, QUANTISED))];
    },
    axes: (op) => gemmAxes(op, QUANTISED),
    macs: (op) => gemmMacs(op, QUANTISED),
  }),
];
