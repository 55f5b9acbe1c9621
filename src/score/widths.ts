/**
 * Which widths a pool may take.
 *
 * ONNX Runtime's convolutions on CPU compute blocks of 16 channels: the time is a staircase in the width, 17 to 31 channels
 * cost what 32 do or more, and a width that is no multiple of 4 falls out of the blocked kernels altogether (31: 1.5× of
 * 32). Widths below the block go through another kernel, linear in the width and as dear at 12 as the whole block: only up
 * to half of it is there something to gain. Matrix products show no such cliff. (bench/widths; docs/widths.md.)
 */
import { type Pool, takenOf } from "./pools.js";

export interface Width {
  /** Moves kept at this width. */
  readonly keep: number;
  /** Whether coarser steps than one move were asked for here. */
  readonly isAligned: boolean;
}

/** Block of ONNX Runtime's CPU convolutions. */
export const CONV_BLOCK = 16;

/** The block that `align` asks for at convolutions. */
export function blockOfConvs(align: number | "auto"): number {
  return align === "auto" ? CONV_BLOCK : align;
}

/** Whether a layer of `size` channels may keep `width`: all, whole blocks, or at most half a block. */
export function isAllowed(width: number, size: number, block: number): boolean {
  return width === size || width % block === 0 || width <= block / 2;
}

/** Allowed widths of a pool in moves, widest first; the last is never 0. */
export function widthsOf(pool: Pool, moves: number, align: number | "auto"): Width[] {
  const block = align !== "auto" || touchesConv(pool) ? blockOfConvs(align) : 1;
  const out: Width[] = [];
  for (let keep = moves; keep >= 1; keep--) {
    const isFit = pool.cells.every((c) => isAllowed(c.choices.length - takenOf(c, moves - keep), c.choices.length, block));
    if (isFit) out.push({ keep, isAligned: block > 1 });
  }
  return out;
}

function touchesConv(pool: Pool): boolean {
  return pool.groups.some((g) => g.nodes.some((n) => n.opType.includes("Conv")));
}
