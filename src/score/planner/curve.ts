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
 * Between levels its square root is linear in what is missing: for small changes Kullback-Leibler divergence and 1 − cosine are squared
 * distances. Past the last level the slope of the last stretch goes on, at least that of the whole way.
 *
 * @param missing what is missing after so many moves, never falling; default the moves themselves
 */
export function curveOf(levels: readonly Level[], missing: (gone: number) => number = (gone) => gone): (gone: number) => number {
  const points: Point[] = [{ at: missing(0), root: 0 }];
  for (const { gone, change } of [...levels].sort((a, b) => a.gone - b.gone)) {
    const last = points.at(-1) as Point;
    const root = Math.sqrt(Math.min(BEYOND, Math.max(0, change)));
    if (missing(gone) > last.at)
      points.push({ at: missing(gone), root: Math.max(last.root, Number.isNaN(root) ? Math.sqrt(BEYOND) : root) });
  }
  return (gone) => {
    const x = missing(gone);
    if (gone <= 0 || points.length === 1 || x <= (points[0] as Point).at) return 0;
    const i = points.findIndex((p) => p.at >= x);
    const [a, b] = i < 0 ? [points.at(-2) as Point, points.at(-1) as Point] : [points[i - 1] as Point, points[i] as Point];
    const slope = (b.root - a.root) / (b.at - a.at);
    if (i >= 0) return Math.min(b.root, a.root + slope * (x - a.at)) ** 2;
    return (b.root + Math.max(slope, b.root / (b.at - (points[0] as Point).at)) * (x - b.at)) ** 2;
  };
}

type Point = { readonly at: number; readonly root: number };
