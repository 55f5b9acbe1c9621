/** Which elements of its input a convolution reads for some positions of its output. */
import type { Node } from "../graph/graph.js";
import { beginsOf, readWindow } from "../graph/ops/window.js";
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
