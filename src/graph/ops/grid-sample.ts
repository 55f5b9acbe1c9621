/** GridSample and AffineGrid (onnx/docs/Operators.md#GridSample). Not evaluated; interpolation is not counted. */
import type { Axis } from "../coupling/axis.js";
import { type Dim, isKnown } from "../dim.js";
import { defineOp, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { expectRank, HIGHEST_RANK, mismatch, noMacs, tensorOf } from "./shape-rules.js";

const gridSample = defineOp({
  type: "GridSample",
  since: [16, 20, 22],
  inputs: ["X", "grid"],
  outputs: ["Y"],
  remark: "Interpolation counts no multiply-accumulates.",

  infer(op) {
    const x = op.type(0);
    const grid = op.shape(1);
    if (!x) return [undefined];
    const rank = x.shape?.length ?? grid?.length;
    if (rank === undefined) return [tensorOf(x.dtype, undefined)];
    if (grid) expectRank(op.node, grid, "grid", rank);
    // X is [N, C, …in], grid is [N, …out, 2 or 3], Y is [N, C, …out].
    const batch = x.shape?.[0] ?? grid?.[0] ?? op.fresh(0, 0);
    const channels = x.shape?.[1] ?? op.fresh(0, 1);
    return [tensorOf(x.dtype, [batch, channels, ...Array.from({ length: rank - 2 }, (_, a) => grid?.[a + 1] ?? op.fresh(0, a + 2))])];
  },

  axes(op) {
    const [X, grid] = [op.in(0), op.in(1)];
    freezeAxes(op, [...X.slice(2), grid.at(-1) as Axis], "GridSample interpolates over it");
    op.same(X[0] as Axis, grid[0] as Axis);
    op.out(0, [...X.slice(0, 2), ...grid.slice(1, -1)]);
  },
  macs: noMacs,
});

const affineGrid = defineOp({
  type: "AffineGrid",
  since: [20],
  inputs: ["theta", "size"],
  outputs: ["grid"],
  remark: "Counts no multiply-accumulates.",

  infer(op) {
    const theta = op.type(0);
    if (!theta) return [undefined];
    const size = op.content(1);
    const length = op.shape(1)?.[0];
    const rank = size?.length ?? (length !== undefined && isKnown(length) && length <= HIGHEST_RANK ? length : undefined);
    if (rank !== undefined && rank < 2) throw mismatch(op.node, `size should have at least 2 entries, but has ${rank}.`);
    if (rank === undefined) return [tensorOf(theta.dtype, undefined)];
    const at = (a: number): Dim => size?.[a] ?? op.fresh(0, Math.max(0, a - 1));
    // size is [N, C, …out], grid is [N, …out, 2 or 3].
    return [tensorOf(theta.dtype, [at(0), ...Array.from({ length: rank - 2 }, (_, a) => at(a + 2)), rank - 2])];
  },

  sizeOperands: [1],
  axes(op) {
    const theta = op.in(0);
    freezeAxes(op, theta, "AffineGrid computes coordinates from it");
    op.out(
      0,
      op.outShape(0).map((d) => op.fixed(d, "AffineGrid makes it")),
    );
  },

  macs: noMacs,
});

export const specs: readonly OpSpec[] = [gridSample, affineGrid];
