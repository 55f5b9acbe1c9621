/** Sliding windows: the attributes Conv, ConvTranspose and the pools share, and the extents they give. */
import { add, ceilDiv, type Dim, floorDiv, isKnown, mul, opaque, sub } from "../dim.js";
import type { Node } from "../graph.js";
import { mismatch } from "./shape-rules.js";

export interface Window {
  /** Extent of the kernel per spatial axis. */
  readonly kernel: readonly Dim[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Begin and end pads per spatial axis; zeros under auto_pad. */
  readonly begins: readonly number[];
  readonly ends: readonly number[];
  readonly autoPad: string;
}

/** Attributes of `node` for `kernel`, defaults filled in. @throws ModelError when their lengths do not fit the kernel. */
export function readWindow(node: Node, kernel: readonly Dim[]): Window {
  const n = kernel.length;
  const list = (name: string, length: number, fallback: number): readonly number[] => {
    const got = node.ints(name) ?? [];
    if (got.length !== 0 && got.length !== length) {
      throw mismatch(node, `${name} should have ${length} entries for ${n} spatial axes, but has ${got.length}.`);
    }
    return got.length === 0 ? new Array<number>(length).fill(fallback) : got;
  };
  const autoPad = node.string("auto_pad", "NOTSET");
  const pads = autoPad === "NOTSET" ? list("pads", 2 * n, 0) : new Array<number>(2 * n).fill(0);
  const strides = list("strides", n, 1);
  if (strides.some((s) => s < 1)) throw mismatch(node, `strides should be positive, but are [${strides}].`);
  return { kernel, strides, dilations: list("dilations", n, 1), begins: pads.slice(0, n), ends: pads.slice(n), autoPad };
}

/** The attribute `group` of a convolution. @throws ModelError when it is not positive. */
export function groupsOf(node: Node): number {
  const group = node.int("group", 1);
  if (group < 1) throw mismatch(node, `group should be positive, but is ${group}.`);
  return group;
}

/** Extent a dilated kernel spans on spatial axis `i`. */
export function span(w: Window, i: number): Dim {
  return add(mul(sub(w.kernel[i] as Dim, 1), w.dilations[i] as number), 1);
}

/**
 * Number of windows on spatial axis `i` of an input of extent `extent`: floor((in + pads - span) / stride) + 1, rounded up
 * with `ceil` except for a window that would start in the end padding.
 *
 * @throws ModelError when the window is larger than the padded input.
 */
export function windowsAlong(node: Node, w: Window, i: number, extent: Dim, ceil = false): Dim {
  const stride = w.strides[i] as number;
  if (w.autoPad.startsWith("SAME")) return ceilDiv(extent, stride);
  const begin = w.begins[i] as number;
  const end = w.ends[i] as number;
  const reach = span(w, i);
  const room = sub(add(extent, begin + end), reach);
  if (isKnown(room) && room < 0) {
    throw mismatch(node, `a window of ${reach} does not fit the padded input of ${add(extent, begin + end)} on spatial axis ${i}.`);
  }
  if (!ceil) return add(floorDiv(room, stride), 1);
  const windows = add(ceilDiv(room, stride), 1);
  if (isKnown(windows) && isKnown(extent)) return (windows - 1) * stride >= extent + begin ? windows - 1 : windows;
  // Rounding up reaches at most stride - 1 past the end, so a window can start in the padding only if:
  if (isKnown(reach) && end + stride <= reach) return windows;
  return opaque("windows", [extent, reach, stride, begin, end]);
}

/** Padding before the first element of each axis of Conv, ConvTranspose or a pool of known extents, auto_pad worked out. */
export function beginsOf(node: Node, kernel: readonly number[], inside: readonly number[], out: readonly number[]): readonly number[] {
  const { begins, strides, dilations, autoPad } = readWindow(node, kernel);
  const stated = node.ints("output_shape") ?? [];
  const isTransposed = node.opType === "ConvTranspose";
  if (!autoPad.startsWith("SAME") && !(isTransposed && stated.length > 0)) return begins;
  const extra = node.ints("output_padding") ?? [];
  return kernel.map((k, a) => {
    const span = (k - 1) * (dilations[a] as number) + 1;
    const [n, m, s] = [inside[a] as number, out[a] as number, strides[a] as number];
    const total = isTransposed ? (n - 1) * s + span + (extra[a] ?? 0) - m : Math.max(0, (m - 1) * s + span - n);
    const small = Math.floor(total / 2);
    // ConvTranspose puts the odd one before under SAME_LOWER's opposite.
    if (isTransposed) return autoPad === "SAME_UPPER" ? total - small : small;
    return autoPad === "SAME_LOWER" ? total - small : small;
  });
}
