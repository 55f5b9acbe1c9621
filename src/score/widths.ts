/**
 * Which widths a pool may take.
 *
 * ONNX Runtime's convolutions on CPU compute blocks of 16 channels (8 on AVX2): a width that is no multiple of 4 falls
 * out of the blocked kernels altogether and can cost 1.5× of the *unpruned* layer, and 60 costs what 64 does. Inputs
 * narrower than 16 are always handled. Matrix products show no such cliff. (Measured; the figures are in docs/widths.md.)
 */
import type { Pool } from "./pools.js";

export interface Width {
  /** Moves kept at this width. */
  readonly keep: number;
  /** Whether coarser steps than one move were asked for here. */
  readonly isAligned: boolean;
}

/** Block of ONNX Runtime's CPU convolutions. */
export const CONV_BLOCK = 16;

/** Allowed widths of a pool in moves, widest first; the last is never 0. */
export function widthsOf(pool: Pool, moves: number, align: number | "auto"): Width[] {
  const block = align === "auto" ? (touchesConv(pool) ? CONV_BLOCK : 1) : align;
  const out: Width[] = [];
  for (let keep = moves; keep >= 1; keep--) {
    const fits = pool.cells.every((c) => {
      const width = keep * c.step;
      return width % block === 0 || width < block;
    });
    if (keep === moves || fits) out.push({ keep, isAligned: block > 1 });
  }
  return out;
}

function touchesConv(pool: Pool): boolean {
  return pool.groups.some((g) => g.nodes.some((n) => n.opType.includes("Conv")));
}
