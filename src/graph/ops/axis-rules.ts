/** Axis equations that many ops share: broadcasting, pass-through, regrouping of axes by Reshape, convolution blocks. */
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, exactDiv, isKnown, product } from "../dim.js";

/** Output 0 (and every other output of the same rank) has the axes of input 0: Relu, Cast, Dropout. */
export function passThrough(op: AxisContext): void {
  op.node.outputs.forEach((_, i) => {
    op.out(i, op.in(0));
  });
}

/** Element by element over all inputs, with numpy broadcasting from the right: axes of one extent are one axis. */
export function elementwise(op: AxisContext): void {
  const operands = op.node.inputs.flatMap((v, i) => (v ? [op.in(i)] : []));
  op.out(0, broadcastAxes(op, operands, op.outShape(0)));
}

/** The axes of the broadcast of `operands`, of shape `shape`. An axis of extent 1 against a longer one broadcasts: it couples nothing. */
export function broadcastAxes(op: AxisContext, operands: readonly (readonly Axis[])[], shape: readonly Dim[]): Axis[] {
  return shape.map((size, k) => {
    const here = operands.flatMap((axes) => axes[k - shape.length + axes.length] ?? []);
    const same = here.filter((a) => a.size === size);
    for (const a of here)
      if (a.size !== size)
        op.freeze(a, a.size === 1 ? "it broadcasts" : `it broadcasts to an extent of ${size} that cannot be shown to be equal`);
    const first = same[0];
    if (!first) return op.fixed(size, `${op.node.opType} broadcasts it`);
    // What is not 1 for certain may be just as long in a run.
    const maybe = here.find((a) => a.size !== size && a.size !== 1);
    if (maybe) op.freeze(first, `it meets an extent of ${maybe.size} that cannot be shown to be equal`);
    for (const a of same.slice(1)) op.same(first, a);
    return first;
  });
}

/** Freezes axes of an input; `why` says what the op does with them. */
export function freezeAxes(op: AxisContext, axes: readonly Axis[], why: string): void {
  for (const a of axes) op.freeze(a, why);
}

/**
 * The axes of a tensor of axes `from`, read row-major under `shape`: minimal blocks of equal product on both sides are
 * one axis, a product, or a split. Extents of 1 belong to no block.
 */
export function regroup(op: AxisContext, from: readonly Axis[], shape: readonly Dim[]): Axis[] {
  const out: (Axis | undefined)[] = shape.map((d) => (d === 1 ? op.fixed(1, "it has extent 1") : undefined));
  // A single index cut out of a longer axis cannot leave where it is no axis any more.
  for (const a of from) if (a.size === 1) op.freeze(a, `${op.node.opType} takes its only index as given`);
  const left = from.filter((a) => a.size !== 1);
  const right = shape.flatMap((d, k) => (d === 1 ? [] : [k]));
  let i = 0;
  let j = 0;
  while (i < left.length && j < right.length) {
    const ins: Axis[] = [left[i++] as Axis];
    const outs: number[] = [right[j++] as number];
    const size = () => ({ a: product(ins.map((x) => x.size)), b: product(outs.map((k) => shape[k] as Dim)) });
    for (let s = size(); s.a !== s.b; s = size()) {
      const grow = smallerSide(s.a, s.b);
      if (grow === "left" ? i < left.length : j >= right.length && i < left.length) ins.push(left[i++] as Axis);
      else if (j < right.length) outs.push(right[j++] as number);
      else break;
    }
    const { a, b } = size();
    if (a !== b) {
      for (const x of [...ins, ...left.slice(i)]) op.freeze(x, `${op.node.opType} regroups extents that cannot be compared`);
      for (const k of [...outs, ...right.slice(j)])
        out[k] = op.fixed(shape[k] as Dim, `${op.node.opType} regroups extents that cannot be compared`);
      i = left.length;
      j = right.length;
      break;
    }
    const whole = op.prod(ins);
    if (outs.length === 1) out[outs[0] as number] = whole;
    else
      op.split(
        whole,
        outs.map((k) => shape[k] as Dim),
      ).forEach((x, n) => {
        out[outs[n] as number] = x;
      });
  }
  for (const x of left.slice(i)) op.freeze(x, `${op.node.opType} regroups extents that cannot be compared`);
  return out.map((a, k) => a ?? op.fixed(shape[k] as Dim, `${op.node.opType} regroups extents that cannot be compared`));
}

function smallerSide(a: Dim, b: Dim): "left" | "right" {
  if (isKnown(a) && isKnown(b)) return a < b ? "left" : "right";
  if (exactDiv(b, a) !== undefined) return "left";
  if (exactDiv(a, b) !== undefined) return "right";
  return isKnown(a) ? "left" : "right";
}

/** Axes of a sliding-window op after batch and channels: mixed with their neighbours, hence frozen on both sides. */
export function spatial(op: AxisContext, x: readonly Axis[], output: number): Axis[] {
  freezeAxes(op, x.slice(2), `${op.node.opType} slides a window over it`);
  return op
    .outShape(output)
    .slice(2)
    .map((d) => op.fixed(d, `${op.node.opType} slides a window over it`));
}

/**
 * The channel axes of a (transposed) convolution with weight axes `own` (the side whose axis 0 counts whole channels)
 * and `inner` (its per-group side):
 *   Conv           own = W.0 = Y.1 (O),  inner = W.1 (C/g) against X.1 (C)
 *   ConvTranspose  own = W.0 = X.1 (C),  inner = W.1 (O/g) against Y.1 (O)
 * Returns the axis of the m own channels within each group where there is one.
 *
 * One inner channel per group (depthwise, any multiplier m): own index o belongs to far index o div m.
 * One own channel per group: the mirror. Otherwise blocks: each group keeps its own inner channels, all equally many.
 */
export function convolutionBlocks(op: AxisContext, group: number, own: Axis, inner: Axis, far: Axis): Axis | undefined {
  if (group === 1) {
    op.same(inner, far);
    return undefined;
  }
  const perInner = inner.size;
  if (perInner === 1) {
    // Depthwise: own = far × m.
    const m = exactDiv(own.size, group);
    if (m === 1) {
      op.same(own, far);
      return undefined;
    }
    const within = op.atom(m ?? own.size);
    op.same(own, op.prod([far, within]));
    return within;
  }
  if (own.size === group) {
    op.same(far, op.prod([own, inner]));
    return undefined;
  }
  const why =
    !isKnown(own.size) || !isKnown(far.size)
      ? "a grouped convolution of unknown extents"
      : group > MOST_GROUPS
        ? `a convolution of ${group} groups`
        : undefined;
  if (why !== undefined) {
    freezeAxes(op, [own, far, inner], why);
    return undefined;
  }
  const blocks = (a: Axis): Axis[] =>
    op.cut(
      a,
      Array.from({ length: group - 1 }, (_, b) => ((b + 1) * (a.size as number)) / group),
    );
  const far_ = blocks(far);
  const own_ = blocks(own);
  op.same(inner, op.family(far_, own));
  op.balance(far_, `the ${group} groups of a convolution read equally many channels`);
  op.balance(own_, `the ${group} groups of a convolution make equally many channels`);
  return undefined;
}

/** Blocks of more groups are not followed: a file can claim any number. */
const MOST_GROUPS = 2 ** 16;

/** Whether a grouped convolution has one inner channel per group, one own channel per group, or blocks. */
export function groupForm(group: number, own: Dim, inner: Dim): "plain" | "depthwise" | "mirror" | "blocks" {
  if (group === 1) return "plain";
  if (inner === 1) return "depthwise";
  return own === group ? "mirror" : "blocks";
}
