/** Which elements of its input a convolution reads for some positions of its output. */
import type { Node } from "../graph/graph.js";
import { readWindow } from "../graph/ops/window.js";
import { unravel } from "../graph/rearrange.js";

/** Spatial extents, outermost first; a product of matrices has one axis of positions. */
export type Extents = readonly number[];

/**
 * For each of `positions` (flat in `out`) and each tap, the flat position in `inside` that is read, or `elsewhere` where the kernel lies
 * outside (zero padding) or, in a ConvTranspose, between strides. Positions outermost: [positions · taps].
 */
export function patchIndices(node: Node, inside: Extents, out: Extents, positions: readonly number[], elsewhere: number): Int32Array {
  const dims = node.inputs[1]?.constant?.dims ?? [];
  const kernel = dims.slice(2);
  // A normalisation reads what it writes.
  if (kernel.length === 0) return Int32Array.from(positions);
  const taps = kernel.reduce((n, k) => n * k, 1);
  const indices = new Int32Array(positions.length * taps);
  const { strides, dilations } = readWindow(node, kernel);
  const begins = beginsOf(node, kernel, inside, out);
  const isTransposed = node.opType === "ConvTranspose";
  let at = 0;
  for (const position of positions) {
    const place = unravel(position, out);
    for (let tap = 0; tap < taps; tap++) {
      const t = unravel(tap, kernel);
      let flat = 0;
      for (const [a, extent] of inside.entries()) {
        const [s, d, begin] = [strides[a] as number, dilations[a] as number, begins[a] as number];
        const [p, k] = [place[a] as number, t[a] as number];
        const x = isTransposed ? (p + begin - k * d) / s : p * s + k * d - begin;
        if (!Number.isInteger(x) || x < 0 || x >= extent) {
          flat = -1;
          break;
        }
        flat = flat * extent + x;
      }
      indices[at++] = flat < 0 ? elsewhere : flat;
    }
  }
  return indices;
}

/** Padding before the first element of each axis, auto_pad worked out. */
export function beginsOf(node: Node, kernel: readonly number[], inside: Extents, out: Extents): readonly number[] {
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
