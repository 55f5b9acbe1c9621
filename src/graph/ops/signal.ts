/** Signals: DFT, STFT, MelWeightMatrix and the windows (onnx/docs/Operators.md#DFT). Transforms are not evaluated, nor counted: their algorithm is the runtime's. */
import type { Axis } from "../coupling/axis.js";
import { add, type Dim, floorDiv, isKnown, sub } from "../dim.js";
import { dtypeOfWire } from "../dtype.js";
import { defineOp, type InferContext, type OpContext, type OpSpec } from "../op.js";
import { freezeAxes } from "./axis-rules.js";
import { elements } from "./content-algebra.js";
import { store } from "./numeric.js";
import { expectInputRank, expectRankFrom, frontAxis, hasInput, NO_MACS, noMacs, tensorOf } from "./shape-rules.js";

const FLOAT = 1;

/** The axis that is transformed: an attribute before opset 20; undefined while only a run knows it. */
function axisOf(op: OpContext, rank: number): number | undefined {
  if (op.opset < 20) return frontAxis(op.node, op.node.int("axis", 1), rank);
  if (!hasInput(op, 2)) return rank - 2;
  const axis = op.content(2)?.[0];
  return axis !== undefined && isKnown(axis) ? frontAxis(op.node, axis, rank) : undefined;
}

/** Extent of the transformed axis after the transform of a signal of `extent` (padded or cut to dft_length). */
function bins(op: InferContext, extent: Dim, axis: number): Dim {
  const isOnesided = op.node.int("onesided", 0) !== 0;
  const isInverse = op.node.int("inverse", 0) !== 0;
  const length = hasInput(op, 1) ? op.content(1)?.[0] : isOnesided && isInverse ? add(extent, sub(extent, 2)) : extent;
  if (length === undefined) return op.fresh(0, axis);
  return isOnesided && !isInverse ? add(floorDiv(length, 2), 1) : length;
}

const dft = defineOp({
  type: "DFT",
  since: [17, 20],
  inputs: ["input", "dft_length?", "axis?"],
  outputs: ["output"],
  remark: `${NO_MACS} axis is an attribute before opset 20.`,

  infer(op) {
    const input = op.type(0);
    if (!input?.shape) return [input && tensorOf(input.dtype, undefined)];
    expectRankFrom(op, 0, "input", 2);
    const last = input.shape.length - 1;
    const axis = axisOf(op, input.shape.length);
    const isReal = op.node.int("onesided", 0) !== 0 && op.node.int("inverse", 0) !== 0;
    const shape = input.shape.map((d, a) => {
      if (a === last) return isReal ? 1 : 2;
      return axis === undefined ? op.fresh(0, a) : a === axis ? bins(op, d, a) : d;
    });
    return [tensorOf(input.dtype, shape)];
  },

  sizeOperands: [1, 2],
  axes(op) {
    const X = op.in(0);
    const axis = axisOf(op, X.length);
    if (axis === undefined) return op.barrier("its axis is computed at run time");
    const mixed = [axis, X.length - 1];
    freezeAxes(op, mixed.map((a) => X[a]) as Axis[], "DFT sums over it");
    return op.out(
      0,
      X.map((a, k) => (mixed.includes(k) ? op.fixed(op.outShape(0)[k] as Dim, "DFT makes it") : a)),
    );
  },
  macs: noMacs,
});

const stft = defineOp({
  type: "STFT",
  since: [17],
  inputs: ["signal", "frame_step", "window?", "frame_length?"],
  outputs: ["output"],
  remark: NO_MACS,

  infer(op) {
    const signal = op.type(0);
    if (!signal) return [undefined];
    // ONNX Runtime also takes real signals without the last axis.
    expectInputRank(op, 0, "signal", 2, 3);
    expectInputRank(op, 2, "window", 1);
    const [batch, length] = signal.shape ?? [];
    const step = op.content(1)?.[0];
    const frame = hasInput(op, 3) ? op.content(3)?.[0] : hasInput(op, 2) ? op.shape(2)?.[0] : length;
    const isKnownStep = step !== undefined && isKnown(step) && step > 0;
    const frames = isKnownStep && length !== undefined && frame !== undefined ? add(floorDiv(sub(length, frame), step), 1) : op.fresh(0, 1);
    const isOnesided = op.node.int("onesided", 1) !== 0;
    const unique = frame === undefined ? op.fresh(0, 2) : isOnesided ? add(floorDiv(frame, 2), 1) : frame;
    return [tensorOf(signal.dtype, [batch ?? op.fresh(0, 0), frames, unique, 2])];
  },

  sizeOperands: [1, 3],
  axes(op) {
    const [batch, ...rest] = op.in(0) as [Axis, ...Axis[]];
    freezeAxes(op, rest, "STFT transforms it");
    if (op.has(2)) freezeAxes(op, op.in(2), "STFT weighs frames with it");
    const made = op.outShape(0).slice(1);
    op.out(0, [batch, ...made.map((d) => op.fixed(d, "STFT makes it"))]);
  },
  macs: noMacs,
});

const SCALARS = "it is made from scalars: nothing of it is stored";

const melWeightMatrix = defineOp({
  type: "MelWeightMatrix",
  since: [17],
  inputs: ["num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"],
  outputs: ["output"],
  barrier: SCALARS,
  infer(op) {
    const dtype = dtypeOfWire(op.node.int("output_datatype", FLOAT));
    const [mels, length] = [elements(op, 0)?.[0], elements(op, 1)?.[0]];
    return [dtype && tensorOf(dtype, [length === undefined ? op.fresh(0, 0) : add(floorDiv(length, 2), 1), mels ?? op.fresh(0, 1)])];
  },
  macs: noMacs,
});

/** A window of cosines: Σ terms[k]·cos(2πk·n/N), N the size, or one less for a symmetric window. */
function window(type: string, terms: readonly number[]): OpSpec {
  return defineOp({
    type,
    since: [17],
    inputs: ["size"],
    outputs: ["output"],
    barrier: SCALARS,
    infer(op) {
      const dtype = dtypeOfWire(op.node.int("output_datatype", FLOAT));
      return [dtype && tensorOf(dtype, [elements(op, 0)?.[0] ?? op.fresh(0, 0)])];
    },
    evaluate(op) {
      const { node } = op;
      const dtype = dtypeOfWire(node.int("output_datatype", FLOAT));
      // As `infer` read it: what it could not read could be any size.
      const n = elements(op, 0)?.[0];
      // Integer windows are truncated from float, where one part in 10^7 decides.
      if (n === undefined || !isKnown(n) || n < 0 || (dtype !== "float32" && dtype !== "float64")) return undefined;
      const N = node.int("periodic", 1) !== 0 ? n : n - 1;
      const values = Float64Array.from({ length: n }, (_, i) =>
        terms.reduce((sum, c, k) => sum + c * Math.cos((2 * Math.PI * k * i) / N), 0),
      );
      const y = store(dtype, [n], values);
      return y && [y];
    },
    macs: noMacs,
  });
}

export const specs: readonly OpSpec[] = [
  dft,
  stft,
  melWeightMatrix,
  window("HannWindow", [0.5, -0.5]),
  window("HammingWindow", [25 / 46, -21 / 46]),
  window("BlackmanWindow", [0.42, -0.5, 0.08]),
];
