/** Gemm: Y = alpha * A' * B' + beta * C, where ' transposes when transA or transB is set and C broadcasts to Y. */

import type { Axis } from "../coupling/axis.js";
import { type Dim, isKnown, product } from "../dim.js";
import { isFloat } from "../dtype.js";
import type { Node } from "../graph.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { broadcastAxes } from "./axis-rules.js";
import { multiply } from "./matmul.js";
import { broadcastOffsets, exactNumbers, store } from "./numeric.js";
import { broadcast, expectRank, mismatch, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

/** Extents [M, K] of A' and [K, N] of B'. */
function factors(op: OpContext): { M: Dim; K: Dim; N: Dim } | undefined {
  const { node } = op;
  const A = op.shape(0);
  const B = op.shape(1);
  if (!A || !B) return undefined;
  expectRank(node, A, "A", 2);
  expectRank(node, B, "B", 2);
  const [M, K] = (transposes(node, "transA") ? [A[1], A[0]] : A) as [Dim, Dim];
  const [L, N] = (transposes(node, "transB") ? [B[1], B[0]] : B) as [Dim, Dim];
  return { M, K: sameExtent(node, K, L, "columns of A' and rows of B'"), N };
}

const transposes = (node: Node, name: string): boolean => node.int(name, 0) !== 0;

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "Gemm",
    since: [7, 9, 11, 13],
    inputs: ["A", "B", "C?"],
    outputs: ["Y"],
    infer(op) {
      const dtype = op.type(0)?.dtype ?? op.type(1)?.dtype;
      const f = factors(op);
      if (!f) return [dtype && tensorOf(dtype, undefined)];
      const Y = [f.M, f.N];
      const C = op.shape(2);
      if (C) {
        const grown = broadcast(op.node, [Y, C]) as Dim[];
        if (grown.length > 2 || grown.some((d, i) => isKnown(d) && Y[i] === 1 && d !== 1)) {
          throw mismatch(op.node, `C [${C.join(", ")}] should broadcast to Y [${Y.join(", ")}].`);
        }
      }
      return [dtype && tensorOf(dtype, Y)];
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
    axes(op) {
      const a = transposes(op.node, "transA") ? 0 : 1;
      const b = transposes(op.node, "transB") ? 1 : 0;
      const A = op.in(0);
      const B = op.in(1);
      op.same(A[a] as Axis, B[b] as Axis);
      op.contract({ input: 0, axis: a }, { input: 1, axis: b });
      const Y = [A[1 - a] as Axis, B[1 - b] as Axis];
      op.out(0, op.has(2) ? broadcastAxes(op, [Y, op.in(2)], op.outShape(0)) : Y);
    },
    macs(op) {
      const f = factors(op);
      return f ? product([f.M, f.K, f.N]) : unknownMacs(op.node);
    },
  }),
];
