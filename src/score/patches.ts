/** Which patches of what a convolution reads are looked at. */
import type { Window } from "../calibrate/statistics/request.js";
import type { Node } from "../graph/graph.js";

/** Patches of one sample that are looked at: neighbours tell little more. */
const PATCHES = 256;

/** Strides, pads and dilations of a Conv; undefined where the pads depend on extents that only the run knows. */
export function windowOf(node: Node, kernel: readonly number[], extents: readonly unknown[]): Window | undefined {
  const ones = kernel.map(() => 1);
  const strides = node.ints("strides", ones);
  const dilations = node.ints("dilations", ones);
  const auto = node.string("auto_pad", "NOTSET");
  const none = [...ones, ...ones].map(() => 0);
  if (auto === "NOTSET") return { kernel, strides, pads: node.ints("pads", none), dilations };
  if (auto === "VALID") return { kernel, strides, pads: none, dilations };
  if (!extents.every((e) => typeof e === "number")) return undefined;
  const total = kernel.map((k, a) => {
    const [n, s] = [extents[a] as number, strides[a] as number];
    return Math.max(0, (Math.ceil(n / s) - 1) * s + (k - 1) * (dilations[a] as number) + 1 - n);
  });
  const less = total.map((t) => Math.floor(t / 2));
  const more = total.map((t) => Math.ceil(t / 2));
  return { kernel, strides, pads: auto === "SAME_UPPER" ? [...less, ...more] : [...more, ...less], dilations };
}

/** Steps between the positions that are looked at, where the windows have so many along each spatial axis. */
export function everyOf(extents: readonly unknown[]): number {
  if (extents.length === 0 || !extents.every((e) => typeof e === "number")) return 1;
  const positions = (extents as number[]).reduce((a, b) => a * b, 1);
  return Math.max(1, Math.floor((positions / PATCHES) ** (1 / extents.length)));
}
