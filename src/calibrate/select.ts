/** Which samples are taken: pure functions of positions, labels and a seed. */
import { ConfigError } from "../errors.js";
import { random } from "../graph/random.js";

/** @throws ConfigError SAMPLES_LIMIT unless `n` is a positive integer. */
export function checkCount(n: number): number {
  if (Number.isInteger(n) && n >= 1) return n;
  throw new ConfigError("SAMPLES_LIMIT", `The number of samples to take must be a positive integer, got ${n}.`);
}

/** A uniform subset of `n` of `positions`, in their order (selection sampling: Knuth, TAOCP 2, algorithm 3.4.2 S). */
export function subset(positions: readonly number[], n: number, seed: number): number[] {
  const total = positions.length;
  if (n >= total) return [...positions];
  const out: number[] = [];
  const uniform = random(`limit/${seed}`);
  for (let k = 0; k < total && out.length < n; k++) {
    if (uniform() * (total - k) < n - out.length) out.push(positions[k] as number);
  }
  return out;
}

/** A permutation of `positions` (Fisher and Yates; Knuth, TAOCP 2, algorithm 3.4.2 P). */
export function shuffled(positions: readonly number[], seed: number): number[] {
  const out = [...positions];
  const uniform = random(`shuffle/${seed}`);
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1));
    [out[i], out[j]] = [out[j] as number, out[i] as number];
  }
  return out;
}

export interface Balanced {
  /** In the order of `positions`. */
  readonly taken: number[];
  /** Samples per class that were aimed at. */
  readonly perClass: number;
  /** Classes that have fewer, and how many they gave. */
  readonly short: readonly { readonly label: number; readonly has: number }[];
}

/**
 * As many samples of every class as of the others, at most `n` in all; which ones, `seed` decides.
 *
 * The share of a class is the largest with which the total stays within `n`; a class that has fewer gives all it has, and what
 * it leaves goes to the others. With fewer than one per class, `n` classes give one each. `n` undefined: the share is the
 * smallest class. `labels[p]` is the class of position p; `most` caps what a class of that many samples may give.
 */
export function balanced(
  positions: readonly number[],
  labels: Int32Array,
  n: number | undefined,
  seed: number,
  most: (has: number) => number = (has) => has,
): Balanced {
  const members = new Map<number, number[]>();
  for (const p of positions) {
    const label = labels[p] as number;
    const list = members.get(label);
    if (list) list.push(p);
    else members.set(label, [p]);
  }
  const classes = [...members.keys()].sort((a, b) => a - b);
  const sizes = new Map(classes.map((c) => [c, most((members.get(c) as number[]).length)]));
  const total = (share: number) => classes.reduce((sum, c) => sum + Math.min(share, sizes.get(c) as number), 0);
  let perClass = Math.min(...sizes.values());
  if (n !== undefined) {
    const largest = Math.max(0, ...sizes.values());
    perClass = 0;
    while (perClass < largest && total(perClass + 1) <= n) perClass++;
  }
  const few = perClass === 0 && n !== undefined ? new Set(subset(classes, n, seed)) : undefined;
  const share = few ? 1 : perClass;
  const chosen = new Set(
    classes.flatMap((c) => {
      if (few && !few.has(c)) return [];
      const of = members.get(c) as number[];
      // A stream of its own for each class: what one class holds does not move the choice in another.
      return classSubset(of, Math.min(share, sizes.get(c) as number), `balanced/${seed}/${c}`);
    }),
  );
  const short = few
    ? []
    : classes.filter((c) => (sizes.get(c) as number) < perClass).map((c) => ({ label: c, has: sizes.get(c) as number }));
  return { taken: positions.filter((p) => chosen.has(p)), perClass: share, short };
}

function classSubset(of: readonly number[], n: number, stream: string): number[] {
  const rest = [...of];
  const uniform = random(stream);
  for (let k = 0; k < n; k++) {
    const j = k + Math.floor(uniform() * (rest.length - k));
    [rest[k], rest[j]] = [rest[j] as number, rest[k] as number];
  }
  return rest.slice(0, n);
}
