/** Where in its output a convolution reads zeros instead of its input, and so which positions see one and the same constant. */
import type { Node } from "../graph/graph.js";
import { beginsOf, readWindow } from "../graph/ops/window.js";
import type { Extents } from "./patches.js";

/**
 * Positions of a convolution's output by the taps that lie inside its input. Whether they do is decided axis by axis, so zones are
 * boxes of classes: a 3 × 3 kernel with one row of padding has 3 × 3. Of a ConvTranspose the gaps between strides count as well.
 */
export interface Zones {
  /** For each spatial axis, the class of each position of the output. */
  readonly classes: readonly Int32Array[];
  /** Number of classes of each axis. */
  readonly counts: readonly number[];
  /** Product of `counts`. */
  readonly count: number;
  /** Zone of each position of the output, row-major. */
  readonly ofPosition: Int32Array;
}

/** Of a layer to which all positions are alike, or of which it is not known. */
export const ONE_ZONE: Zones = { classes: [], counts: [], count: 1, ofPosition: new Int32Array(0) };

/** `inside` and `out`: spatial extents of what `node` (Conv or ConvTranspose) reads and gives. */
export function zonesOf(node: Node, inside: Extents, out: Extents): Zones {
  const kernel = (node.inputs[1]?.constant?.dims ?? []).slice(2);
  const { strides, dilations } = readWindow(node, kernel);
  const begins = beginsOf(node, kernel, inside, out);
  const isTransposed = node.opType === "ConvTranspose";
  const counts: number[] = [];
  const classes = out.map((extent, a) => {
    const [s, d, begin] = [strides[a] as number, dilations[a] as number, begins[a] as number];
    const known = new Map<string, number>();
    const of = Int32Array.from({ length: extent }, (_, p) => {
      const taps: number[] = [];
      for (let k = 0; k < (kernel[a] as number); k++) {
        const x = isTransposed ? (p + begin - k * d) / s : p * s + k * d - begin;
        if (Number.isInteger(x) && x >= 0 && x < (inside[a] as number)) taps.push(k);
      }
      const key = taps.join();
      if (!known.has(key)) known.set(key, known.size);
      return known.get(key) as number;
    });
    counts.push(known.size);
    return of;
  });
  let ofPosition = Int32Array.of(0);
  for (const [a, of] of classes.entries()) {
    const next = new Int32Array(ofPosition.length * of.length);
    let at = 0;
    for (const zone of ofPosition) for (const c of of) next[at++] = zone * (counts[a] as number) + c;
    ofPosition = next;
  }
  return { classes, counts, count: counts.reduce((n, c) => n * c, 1), ofPosition };
}
