/** Axis equations that many ops share: broadcasting, pass-through, regrouping of axes by Reshape, convolution blocks. */
import { internal } from "../../errors.js";
import type { Axis } from "../coupling/axis.js";
import type { AxisContext } from "../coupling/context.js";
import { type Dim, exactDiv, isKnown, product } from "../dim.js";

/** Beyond this many rows, what depends on them is not followed row by row. */
export const MOST_ROWS = 4096;

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

/** An axis of an operand that broadcasts to `to`: the same axis where the extents are equal, kept whole where it is 1. */
export function broadcastAxis(op: AxisContext, a: Axis, to: Axis): void {
  if (a.size === to.size) op.same(a, to);
  else op.freeze(a, "it broadcasts");
  // What is not 1 for certain may be just as long in a run.
  if (a.size !== to.size && a.size !== 1) op.freeze(to, `it meets an extent of ${a.size} that cannot be shown to be equal`);
}

/** Freezes axes of an input; `why` says what the op does with them. */
export function freezeAxes(op: AxisContext, axes: readonly Axis[], why: string): void {
  for (const a of axes) op.freeze(a, why);
}

/**
 * Keeps the axes at `places` of a tensor whole because the op mixes what lies along them. An axis that depends on one of
 * them has the same indices in all its rows: the op reads index i of one row together with index i of another.
 */
export function mixAxes(op: AxisContext, axes: readonly Axis[], places: readonly number[], why: string): void {
  freezeAxes(
    op,
    places.map((k) => axes[k] as Axis),
    why,
  );
  op.apart(axes.filter((_, k) => !places.includes(k)));
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
  const regrouped: { readonly ins: readonly Axis[]; readonly outs: readonly number[] }[] = [];
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
    if (ins.length > 1 || outs.length > 1) regrouped.push({ ins, outs });
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
  const axes = out.map((a, k) => a ?? op.fixed(shape[k] as Dim, `${op.node.opType} regroups extents that cannot be compared`));
  return axes.map((a) =>
    regrouped.reduce(
      (x, { ins, outs }) =>
        followRegrouping(
          op,
          x,
          ins,
          outs.map((k) => axes[k] as Axis),
        ),
      a,
    ),
  );
}

/** `a` where the axes `ins`, on which it may depend, were regrouped as `outs`. */
function followRegrouping(op: AxisContext, a: Axis, ins: readonly Axis[], outs: readonly Axis[]): Axis {
  const total = ins.reduce((n, x) => (isKnown(x.size) ? n * x.size : Number.POSITIVE_INFINITY), 1);
  if (outs.includes(a) || total > MOST_ROWS || !ins.some((x) => op.dependsOn(a, x))) return a;
  const memberAt = (position: number): Axis => {
    let [member, inner] = [a, total];
    for (const x of ins) {
      inner /= x.size as number;
      member = op.inRow(member, x, Math.floor(position / inner) % (x.size as number));
    }
    return member;
  };
  const inRows = (from: number, rows: readonly Axis[]): Axis => {
    const [first, ...rest] = rows;
    if (!first) return memberAt(from);
    const run = rest.reduce((n, x) => n * (x.size as number), 1);
    const members = Array.from({ length: first.size as number }, (_, b) =>
      inRows(
        from + b * run,
        rest.map((x) => op.inRow(x, first, b)),
      ),
    );
    return op.family(members, first);
  };
  return inRows(0, outs);
}

/**
 * The other axes of a tensor of which `picked` indices of axis `k` are read, in this order, as the axis `rows` (undefined:
 * a single index, and the axis is gone): what depends on the axis has the members of those rows.
 */
export function followPick(op: AxisContext, axes: readonly Axis[], k: number, picked: readonly number[], rows: Axis | undefined): Axis[] {
  const from = axes[k] as Axis;
  return axes.map((a, i) => {
    if (i === k || !op.dependsOn(a, from)) return a;
    const members = picked.map((p) => op.inRow(a, from, p));
    return rows ? op.family(members, rows) : (members[0] as Axis);
  });
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
 * The channel axes of a (transposed) convolution in `group` groups, with weight axes `own` (axis 0, whole channels) and
 * `inner` (axis 1, the channels of one group) and the tensor axis `far` that `inner` counts within a group:
 *   Conv           own = W.0 = Y.1 (O),  inner = W.1 (C/g),  far = X.1 (C)
 *   ConvTranspose  own = W.0 = X.1 (C),  inner = W.1 (O/g),  far = Y.1 (O)
 *
 * Both channel axes are groups × channels of each: a group leaves whole, or every group that stays keeps its own
 * channels, all equally many. One channel a group (depthwise, any multiplier) is the case where nothing lies inside.
 * Returns the axis of the own channels of each group, where there are several.
 */
export function convolutionBlocks(op: AxisContext, group: number, own: Axis, inner: Axis, far: Axis): Axis | undefined {
  if (group === 1) {
    op.same(inner, far);
    return undefined;
  }
  const [m, c] = [exactDiv(own.size, group), inner.size];
  if (!isKnown(own.size) || !isKnown(far.size) || m === undefined || !isKnown(m) || !isKnown(c)) {
    for (const a of [own, far, inner]) op.freeze(a, "a grouped convolution of unknown extents");
    return undefined;
  }
  // A file can claim any number of groups; each takes an axis of its own.
  if (group > MOST_GROUPS) {
    for (const a of [own, far, inner]) op.freeze(a, `a convolution of ${group} groups`);
    return undefined;
  }
  return groupedBlocks(op, { group, c, m, own, inner, far });
}

interface Blocks {
  readonly group: number;
  /** Channels of each group on the side of `far`, and on that of `own`. */
  readonly c: number;
  readonly m: number;
  readonly own: Axis;
  readonly inner: Axis;
  readonly far: Axis;
}

function groupedBlocks(op: AxisContext, { group, c, m, own, inner, far }: Blocks): Axis | undefined {
  const groups = c === 1 ? far : op.atom(group);
  if (c > 1) {
    const side = op.dependent(groups, c);
    op.same(far, side.whole);
    op.same(inner, side.inner);
    op.balance([side.inner], `the ${group} groups of a convolution read equally many channels`);
  }
  op.major(own, groups);
  if (m === 1) {
    op.same(own, groups);
    return undefined;
  }
  const side = op.dependent(groups, m);
  op.same(own, side.whole);
  op.balance([side.inner], `the ${group} groups of a convolution make equally many channels`);
  return side.inner;
}

const MOST_GROUPS = 2 ** 16;

/** The number of groups that stay: the channels over those of one group. undefined for channels that only a run can count, all of which stay. */
export function groupsLeft(channels: Dim, perGroup: Dim): number | undefined {
  const groups = exactDiv(channels, perGroup);
  if (isKnown(channels) && (groups === undefined || !isKnown(groups)))
    throw internal(`${channels} channels are not groups of ${perGroup}.`);
  return groups !== undefined && isKnown(groups) ? groups : undefined;
}
