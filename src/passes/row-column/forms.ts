/**
 * The forms in which a layer without some of its columns can be written, so that the file holds less.
 *
 * - `mask`: as it is, with zeros.
 * - `channels` (X1): a Gather of the input channels that any tap needs.
 * - `trim` (X2): that, and a smaller kernel: taps a₀ … a₁ by σ of each axis, dilation d·σ, pads less a₀·d and (k − 1 − a₁)·d.
 * - `boxes` (X3): channels whose taps lie in one box make one convolution of form `trim`; a Sum adds them.
 * - `lowered` (X4): every column on its own: per tap a Gather and a Slice of the padded input, a Concat, a 1 × 1 convolution.
 *
 * All hold for any stride, pad, dilation and number of groups. They are reconstructions; the thesis stops at the matrix.
 */

import type { Dim } from "../../graph/dim.js";
import { isKnown } from "../../graph/dim.js";
import type { Node } from "../../graph/graph.js";
import { readWindow } from "../../graph/ops/window.js";

export const FORMS = ["mask", "channels", "trim", "boxes", "lowered"] as const;
export type Form = (typeof FORMS)[number];

/** A layer and what stays of its columns. */
export interface Work {
  readonly node: Node;
  readonly groups: number;
  readonly filters: number;
  /** Input channels of one group. */
  readonly channels: number;
  /** Empty for Gemm and MatMul. */
  readonly kernel: readonly number[];
  /** 1: the column stays; groups × channels × taps. */
  readonly kept: Uint8Array;
  /** Filters that leave although others need the channel, which is then put back as zeros. */
  readonly removedRows: readonly number[];
  readonly columnAxis: number;
  readonly rowAxis: number;
}

/** Attributes of a convolution with its pads as numbers. */
export interface Windows {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly begins: readonly number[];
  readonly ends: readonly number[];
}

/** Pads written out; undefined where auto_pad leaves them to an extent that is not known. */
export function windowsOf({ node, kernel }: Work, input: readonly Dim[] | undefined): Windows | undefined {
  const { strides, dilations, begins, ends, autoPad } = readWindow(node, kernel);
  if (!autoPad.startsWith("SAME")) return { strides, dilations, begins, ends };
  const extents = input?.slice(2) ?? [];
  if (extents.length !== kernel.length || !extents.every(isKnown)) return undefined;
  const total = extents.map((x, i) => {
    const s = strides[i] as number;
    const reach = ((kernel[i] as number) - 1) * (dilations[i] as number) + 1;
    return Math.max(0, (Math.ceil(x / s) - 1) * s + reach - x);
  });
  const less = total.map((p) => Math.floor(p / 2));
  const more = total.map((p, i) => p - (less[i] as number));
  return autoPad === "SAME_UPPER" ? { strides, dilations, begins: less, ends: more } : { strides, dilations, begins: more, ends: less };
}

/** First and last tap and step along one axis. */
export interface Range {
  readonly first: number;
  readonly last: number;
  readonly step: number;
}
/** One Range for each spatial axis. */
export type Box = readonly Range[];

/** The smallest box with all of `taps` (numbers of taps, row-major in `kernel`). */
export function boxOf(taps: Iterable<number>, kernel: readonly number[]): Box {
  const at = kernel.map(() => new Set<number>());
  for (let t of taps) {
    for (let i = kernel.length - 1; i >= 0; i--) {
      const k = kernel[i] as number;
      (at[i] as Set<number>).add(t % k);
      t = Math.floor(t / k);
    }
  }
  return at.map((set) => {
    const places = [...set].sort((a, b) => a - b);
    const first = places[0] ?? 0;
    const step = places.reduce((g, p) => gcd(g, p - first), 0);
    return { first, last: places.at(-1) ?? 0, step: step || 1 };
  });
}

/** Numbers of the taps in `box`, ascending. */
export function tapsIn(box: Box, kernel: readonly number[]): number[] {
  let out = [0];
  box.forEach(({ first, last, step }, i) => {
    const next: number[] = [];
    for (const t of out) for (let p = first; p <= last; p += step) next.push(t * (kernel[i] as number) + p);
    out = next;
  });
  return out;
}

/** Taps of channel c of group g that stay. */
export function tapsOf({ channels, kernel, kept }: Work, g: number, c: number): number[] {
  const taps = kernel.reduce((a, b) => a * b, 1);
  const from = (g * channels + c) * taps;
  return Array.from({ length: taps }, (_, t) => t).filter((t) => kept[from + t] === 1);
}

/** Channels of group g with a tap that stays; one at least, so that there is a convolution left. */
export function channelsOf(work: Work, g: number): number[] {
  const some = Array.from({ length: work.channels }, (_, c) => c).filter((c) => tapsOf(work, g, c).length > 0);
  return some.length > 0 ? some : [0];
}

/** One convolution of form `boxes`. */
export interface Piece {
  readonly channels: readonly number[];
  readonly box: Box;
}

/** Most convolutions that a layer becomes. */
const MOST_PIECES = 4;

/** Channels by the box of their taps; of more than four boxes those are joined that add least. */
export function piecesOf(work: Work): Piece[] {
  const { kernel } = work;
  const byBox = new Map<string, { channels: number[]; taps: number[] }>();
  for (const c of channelsOf(work, 0)) {
    const taps = tapsIn(boxOf(tapsOf(work, 0, c), kernel), kernel);
    const of = byBox.get(taps.join()) ?? { channels: [], taps };
    byBox.set(taps.join(), of);
    of.channels.push(c);
  }
  const pieces = [...byBox.values()];
  const joined = (a: (typeof pieces)[number], b: (typeof pieces)[number]) => ({
    channels: [...a.channels, ...b.channels].sort((x, y) => x - y),
    taps: tapsIn(boxOf([...a.taps, ...b.taps], kernel), kernel),
  });
  const size = (p: (typeof pieces)[number]) => p.channels.length * p.taps.length;
  while (pieces.length > MOST_PIECES) {
    let best: { i: number; j: number; more: number } | undefined;
    for (let i = 0; i < pieces.length; i++) {
      for (let j = 0; j < i; j++) {
        const [a, b] = [pieces[i], pieces[j]] as [(typeof pieces)[number], (typeof pieces)[number]];
        const more = size(joined(a, b)) - size(a) - size(b);
        if (!best || more < best.more) best = { i, j, more };
      }
    }
    const { i, j } = best as { i: number; j: number };
    const [a] = pieces.splice(i, 1) as [(typeof pieces)[number]];
    pieces[j] = joined(a, pieces[j] as (typeof pieces)[number]);
  }
  return pieces.map(({ channels, taps }) => ({ channels, box: boxOf(taps, kernel) }));
}

/** All taps that any channel of any group keeps. */
export function allTaps(work: Work): Set<number> {
  const taps = new Set<number>();
  for (let g = 0; g < work.groups; g++) for (let c = 0; c < work.channels; c++) for (const t of tapsOf(work, g, c)) taps.add(t);
  return taps;
}

/** Forms that say more than the ones before them for this layer. */
export function formsOf(work: Work, windows: Windows | undefined): Form[] {
  const taps = work.kernel.reduce((a, b) => a * b, 1);
  if (taps === 1) return ["mask", "channels"];
  if (!windows) return ["mask", "channels"];
  const forms: Form[] = ["mask", "channels"];
  if (tapsIn(boxOf(allTaps(work), work.kernel), work.kernel).length < taps) forms.push("trim");
  if (work.groups === 1 && piecesOf(work).length > 1) forms.push("boxes");
  forms.push("lowered");
  return forms;
}

/** Weights that a form stores, biases left out. */
export function storedOf(work: Work, form: Form): number {
  const { groups, channels, kernel } = work;
  const filters = work.filters - work.removedRows.length;
  const taps = kernel.reduce((a, b) => a * b, 1);
  const width = () => Math.max(...Array.from({ length: groups }, (_, g) => channelsOf(work, g).length));
  switch (form) {
    case "mask":
      return filters * channels * taps;
    case "channels":
      return filters * width() * taps;
    case "trim":
      return filters * width() * tapsIn(boxOf(allTaps(work), kernel), kernel).length;
    case "boxes":
      return piecesOf(work).reduce((n, p) => n + filters * p.channels.length * tapsIn(p.box, kernel).length, 0);
    case "lowered":
      return filters * loweredWidth(work);
  }
}

/** Columns of each group in form `lowered`: as many as the group with most has, at least one. */
export function loweredWidth({ groups, kept }: Work): number {
  const per = kept.length / groups;
  return Math.max(1, ...Array.from({ length: groups }, (_, g) => kept.subarray(g * per, (g + 1) * per).reduce((n, x) => n + x, 0)));
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
