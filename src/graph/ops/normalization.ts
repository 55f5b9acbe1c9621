/** Normalisations whose output has the type of their input: layer, RMS, instance, group, Lp, local response, mean-variance. */

import { int } from "../attribute.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, isKnown } from "../dim.js";
import { dtypeOfWire } from "../dtype.js";
import { defineOp, type Inferred, type OpContext, type OpSpec } from "../op.js";
import { mixAxes } from "./axis-rules.js";
import { broadcast, frontAxis, likeInput, mismatch, NO_MACS, noMacs, type Shape, sameExtent, tensorOf } from "./shape-rules.js";

/** Scale and bias must broadcast to X without growing it. */
function checkScale(op: OpContext, ...operands: readonly number[]): void {
  const X = op.shape(0);
  if (!X) return;
  for (const i of operands) {
    const s = op.shape(i);
    if (!s) continue;
    const out = broadcast(op.node, [X, s]) as Dim[];
    const grows = out.length > X.length || out.some((d, a) => isKnown(d) && X[a] === 1 && d !== 1);
    if (grows) throw mismatch(op.node, `input ${i} of shape [${s.join(", ")}] should broadcast to X [${X.join(", ")}].`);
  }
}

function checkChannels(op: OpContext, expected: Dim | undefined, ...operands: readonly number[]): void {
  const X = op.shape(0);
  if (X && X.length < 2) throw mismatch(op.node, `its input should be [N, C, …], but is [${X.join(", ")}].`);
  if (expected === undefined) return;
  for (const i of operands) {
    const s = op.shape(i);
    if (!s) continue;
    sameExtent(op.node, expected, s[0] as Dim, `channels of the input and input ${i}`);
  }
}

/** X's shape with 1 for every normalised axis. */
function statisticsShape(op: OpContext): Shape | undefined {
  const X = op.shape(0);
  if (!X) return undefined;
  const axis = frontAxis(op.node, op.node.int("axis", -1), X.length);
  return X.map((d, a) => (a < axis ? d : 1));
}

/** Type of a statistic over the normalised axes. */
function statistics(op: OpContext): Inferred | undefined {
  const stash = dtypeOfWire(op.node.int("stash_type", 1));
  return stash && tensorOf(stash, statisticsShape(op));
}

/** Axes of X that share one mean or norm: removing an index would change the others. */
function mix(op: AxisContext, isMixed: (place: number) => boolean): void {
  const X = op.in(0);
  const places = X.map((_, k) => k).filter(isMixed);
  mixAxes(op, X, places, `${op.node.opType} normalises over it`);
}

/** Normalised from `axis` on; scale and bias broadcast from the right. */
function layerAxes(op: AxisContext): void {
  const X = op.in(0);
  const axis = frontAxis(op.node, op.node.int("axis", -1), X.length);
  mix(op, (k) => k >= axis);
  for (const i of [1, 2]) {
    if (!op.has(i)) continue;
    const S = op.in(i);
    S.forEach((s, k) => {
      const x = X[X.length - S.length + k] as Axis;
      if (s.size === x.size) op.same(s, x);
      else op.freeze(s, "it broadcasts");
    });
  }
  op.out(0, X);
  const statistics = X.map((a, k) => (k < axis ? a : op.fixed(1, "it was averaged")));
  for (const i of [1, 2]) op.out(i, statistics);
}

function instanceAxes(op: AxisContext): void {
  const X = op.in(0);
  mix(op, (k) => k >= 2);
  for (const i of [1, 2]) op.same(op.in(i)[0] as Axis, X[1] as Axis);
  op.out(0, X);
}

/** Whole groups may leave; the channels of one group share their statistics. */
function groupAxes(op: AxisContext): void {
  const X = op.in(0);
  const groups = op.node.int("num_groups", 1);
  const C = (X[1] as Axis).size;
  mix(op, (k) => k >= 2);
  if (!isKnown(C)) return op.barrier("the number of channels is unknown");
  const [g, inner] = op.split(X[1] as Axis, [groups, C / groups]) as [Axis, Axis];
  op.freeze(inner, "GroupNormalization normalises over it");
  for (const i of [1, 2]) {
    const s = op.in(i)[0] as Axis;
    op.same(s, s.size === C ? (X[1] as Axis) : g);
  }
  op.out(0, X);
}

interface Row {
  readonly type: string;
  readonly axes?: (op: AxisContext) => void;
  readonly resize?: OpSpec["resize"];
  readonly since: readonly number[];
  readonly inputs: readonly string[];
  readonly ranks?: OpSpec["ranks"];
  readonly output: string;
  check?(op: OpContext): void;
}

const rows: readonly Row[] = [
  { type: "RMSNormalization", since: [23], inputs: ["X", "scale"], output: "Y", check: (op) => checkScale(op, 1), axes: layerAxes },
  {
    type: "InstanceNormalization",
    since: [1, 6, 22],
    inputs: ["input", "scale", "B"],
    ranks: { 1: 1, 2: 1 },
    output: "output",
    check: (op) => checkChannels(op, op.shape(0)?.[1], 1, 2),
    axes: instanceAxes,
  },
  {
    type: "GroupNormalization",
    since: [18, 21],
    inputs: ["X", "scale", "bias"],
    ranks: { 1: 1, 2: 1 },
    output: "Y",
    // Scale and bias are per group in version 18, per channel since 21.
    check: (op) => checkChannels(op, op.opset < 21 ? op.node.int("num_groups") : op.shape(0)?.[1], 1, 2),
    axes: groupAxes,
    resize(op) {
      const groups = op.node.int("num_groups", 1);
      const C = op.shape(0)?.[1] as number;
      const left = ((op.sizeIn(0, 1) as number) * groups) / C;
      if (left !== groups) op.setAttribute("num_groups", int(left));
    },
  },
  {
    type: "LpNormalization",
    since: [1, 22],
    inputs: ["input"],
    output: "output",
    axes(op) {
      const X = op.in(0);
      const axis = frontAxis(op.node, op.node.int("axis", -1), X.length);
      mix(op, (k) => k === axis);
      op.out(0, X);
    },
  },
  {
    type: "LRN",
    since: [1, 13],
    inputs: ["X"],
    output: "Y",
    axes(op) {
      mix(op, (k) => k === 1);
      op.out(0, op.in(0));
    },
  },
  {
    type: "MeanVarianceNormalization",
    since: [9, 13],
    inputs: ["X"],
    output: "Y",
    axes(op) {
      const X = op.in(0);
      const axes = op.node.ints("axes", [0, 2, 3]).map((a) => frontAxis(op.node, a, X.length));
      mix(op, (k) => axes.includes(k));
      op.out(0, X);
    },
  },
];

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "LayerNormalization",
    // Before opset 17 it is ONNX Runtime's own, in the same domain, with the scale's type for Y.
    since: [1, 17],
    inputs: ["X", "Scale", "B?"],
    outputs: ["Y", "Mean?", "InvStdDev?"],
    remark: `${NO_MACS} Versions below 17 are ONNX Runtime's.`,
    infer(op) {
      checkScale(op, 1, 2);
      const dtype = op.opset < 17 ? op.type(1)?.dtype : op.type(0)?.dtype;
      return [dtype && tensorOf(dtype, op.shape(0)), statistics(op), statistics(op)];
    },
    axes: layerAxes,
    macs: noMacs,
  }),
  defineOp({
    type: "SimplifiedLayerNormalization",
    since: [1],
    inputs: ["X", "scale"],
    outputs: ["Y", "inv_std_var?"],
    remark: `${NO_MACS} ONNX Runtime's own operator, in the domain of ONNX: X over its root mean square.`,
    infer(op) {
      checkScale(op, 1);
      const dtype = op.type(1)?.dtype;
      return [dtype && tensorOf(dtype, op.shape(0)), statistics(op)];
    },
    axes: layerAxes,
    macs: noMacs,
  }),
  ...rows.map(({ type, since, inputs, ranks, output, check, axes, resize }) =>
    defineOp({
      type,
      since,
      inputs,
      outputs: [output],
      ...(ranks ? { ranks } : {}),
      remark: NO_MACS,
      infer(op) {
        check?.(op);
        return [likeInput(op)];
      },
      ...(axes ? { axes } : {}),
      ...(resize ? { resize } : {}),
      macs: noMacs,
    }),
  ),
];
