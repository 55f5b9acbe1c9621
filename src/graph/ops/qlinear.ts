/**
 * Element-wise, ordering and concatenating ops on quantised tensors (com.microsoft QLinear…), each operand with a scale and a
 * zero point for all of it. Not evaluated: constants of them are rare.
 */
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { add, type Dim, isKnown } from "../dim.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { broadcastAxes, freezeAxes } from "./axis-rules.js";
import { broadcast, frontAxis, likeInput, mismatch, NO_MACS, noMacs, type Shape, sameExtent, tensorOf } from "./shape-rules.js";

interface Row {
  readonly type: string;
  readonly inputs: readonly string[];
  readonly output: string;
  /** Positions of the operands that broadcast against each other; the first of a numeric type gives the result's. */
  readonly operands: readonly number[];
  /** The operand whose type the result has. */
  readonly like: number;
  /** Axes that the op normalises over, by position. */
  mixed?(op: OpContext, rank: number): readonly number[];
}

const unary = ["X", "X_scale", "X_zero_point?", "Y_scale", "Y_zero_point?"] as const;
const binary = ["A", "A_scale", "A_zero_point?", "B", "B_scale", "B_zero_point?", "C_scale", "C_zero_point?"] as const;

const rows: readonly Row[] = [
  { type: "QLinearAdd", inputs: binary, output: "C", operands: [0, 3], like: 0 },
  { type: "QLinearMul", inputs: binary, output: "C", operands: [0, 3], like: 0 },
  { type: "QLinearLeakyRelu", inputs: unary, output: "Y", operands: [0], like: 0 },
  { type: "QLinearSigmoid", inputs: unary, output: "Y", operands: [0], like: 0 },
  {
    type: "QLinearSoftmax",
    inputs: ["X", "X_scale", "x_zero_point?", "y_scale", "y_zero_point"],
    output: "Y",
    operands: [0],
    like: 0,
    // The attribute says which version of Softmax is meant: along one axis since 13, before over all from `axis` on.
    mixed(op, rank) {
      const since13 = op.node.int("opset", 13) >= 13;
      const axis = frontAxis(op.node, op.node.int("axis", since13 ? -1 : 1), rank);
      return since13 ? [axis] : Array.from({ length: rank - axis }, (_, k) => axis + k);
    },
  },
  {
    type: "QLinearWhere",
    inputs: ["condition", "X", "x_scale", "x_zero_point", "Y", "y_scale", "y_zero_point", "z_scale", "z_zero_point"],
    output: "Z",
    operands: [0, 1, 4],
    like: 1,
  },
];

function elementwise(row: Row): OpSpec {
  return defineOp({
    type: row.type,
    domain: "com.microsoft",
    since: [1],
    inputs: row.inputs,
    outputs: [row.output],
    remark: NO_MACS,
    infer(op) {
      const shape = broadcast(
        op.node,
        row.operands.map((i) => op.shape(i)),
      );
      const type = likeInput(op, row.like);
      return [type?.type.kind === "tensor" ? tensorOf(type.type.dtype, shape) : undefined];
    },
    axes(op) {
      const operands = row.operands.map((i) => op.in(i));
      const Y = broadcastAxes(op, operands, op.outShape(0));
      for (const k of row.mixed?.(op, Y.length) ?? []) op.freeze(Y[k] as Axis, `${row.type} normalises over it`);
      op.out(0, Y);
    },
    macs: noMacs,
  });
}

/** Positions of the tensors of a QLinearConcat: Y's scale and zero point come first, then tensor, scale and zero point of each. */
const concatenated = (op: OpContext): number[] => op.node.inputs.flatMap((_, i) => (i >= 2 && i % 3 === 2 ? [i] : []));

function concatShape(op: OpContext): Shape | undefined {
  const shapes = concatenated(op).map((i) => op.shape(i));
  const first = shapes[0];
  if (!first || !shapes.every((s) => s !== undefined)) return undefined;
  const axis = frontAxis(op.node, op.node.int("axis", 0), first.length);
  return first.map((d, a) => {
    const here = shapes.map((s) => {
      if (s.length !== first.length) throw mismatch(op.node, `inputs [${first.join(", ")}] and [${s.join(", ")}] should have one rank.`);
      return s[a] as Dim;
    });
    return a === axis
      ? here.reduce<Dim>(add, 0)
      : here.reduce((x, y) => sameExtent(op.node, x, y, `extents of the inputs along axis ${a}`), d);
  });
}

function concatAxes(op: AxisContext): void {
  const inputs = concatenated(op).map((i) => op.in(i));
  const first = inputs[0] as readonly Axis[];
  const axis = frontAxis(op.node, op.node.int("axis", 0), first.length);
  const parts = inputs.map((axes) => axes[axis] as Axis);
  const why = "it is concatenated with an extent known only at run time";
  const isKnownWhole = parts.every((p) => isKnown(p.size));
  if (!isKnownWhole) freezeAxes(op, parts, why);
  op.out(
    0,
    first.map((a, k) => {
      if (k === axis) return isKnownWhole ? op.sum(parts) : op.fixed(op.outShape(0)[k] as Dim, why);
      for (const other of inputs.slice(1)) op.same(a, other[k] as Axis);
      return a;
    }),
  );
}

export const specs: readonly OpSpec[] = [
  ...rows.map(elementwise),
  defineOp({
    type: "QLinearConcat",
    domain: "com.microsoft",
    since: [1],
    inputs: ["Y_scale", "Y_zero_point", "inputs..."],
    outputs: ["Y"],
    remark: NO_MACS,
    infer(op) {
      const dtype = op.type(1)?.dtype ?? op.type(2)?.dtype;
      return [dtype && tensorOf(dtype, concatShape(op))];
    },
    axes: concatAxes,
    macs: noMacs,
  }),
];
