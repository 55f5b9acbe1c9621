/** How much the outputs change as the channels of a pool leave: from a few measured levels to every width. */

/** The change of the outputs once so many moves of a pool are gone. */
export interface Level {
  readonly gone: number;
  readonly change: number;
}

/** A change that is past all measure: what makes outputs that are no numbers. */
const BEYOND = 1e6;

/**
 * The loss after `gone` moves: 0 before the first, never falling, through the measured levels.
 *
 * Between levels its square root is linear: for small changes Kullback-Leibler divergence and 1 − cosine are squared distances, and the
 * distance grows with what is missing. Past the last level the slope of the last stretch goes on, at least that of the whole way.
 */
export function curveOf(levels: readonly Level[]): (gone: number) => number {
  const points = [{ gone: 0, root: 0 }];
  for (const { gone, change } of [...levels].sort((a, b) => a.gone - b.gone)) {
    const last = points.at(-1) as { gone: number; root: number };
    if (gone <= last.gone) continue;
    const root = Math.sqrt(Math.min(BEYOND, Math.max(0, change)));
    points.push({ gone, root: Math.max(last.root, Number.isNaN(root) ? Math.sqrt(BEYOND) : root) });
  }
  return (gone) => {
    if (gone <= 0 || points.length === 1) return 0;
    const at = points.findIndex((p) => p.gone >= gone);
    const [a, b] = at < 0 ? [points.at(-2) as Point, points.at(-1) as Point] : [points[at - 1] as Point, points[at] as Point];
    const slope = (b.root - a.root) / (b.gone - a.gone);
    if (at >= 0) return Math.min(b.root, a.root + slope * (gone - a.gone)) ** 2;
    return (b.root + Math.max(slope, b.root / b.gone) * (gone - b.gone)) ** 2;
  };
}

type Point = { readonly gone: number; readonly root: number };
