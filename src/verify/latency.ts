/** How long models take: two are timed in turns, so that a busy or throttling machine slows both alike. */
import type { Feeds, Session } from "../runtime/runner.js";

/** A median and its distribution-free interval of at least 95 % confidence. */
export interface Interval {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

export interface LatencyOptions {
  /** Milliseconds to spend measuring, after the warm-up; default 5000. At least six rounds are made, however long they take. */
  readonly budget?: number;
  /** Most rounds to make; default 101. */
  readonly rounds?: number;
  /** Runs of each session before anything counts; default 3. */
  readonly warmUp?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Latency {
  /** Milliseconds per run. */
  readonly time: Interval;
  readonly rounds: number;
  readonly runsPerRound: number;
}

export interface LatencyComparison {
  /** Milliseconds per run. */
  readonly reference: Interval;
  readonly candidate: Interval;
  /** Time of the candidate / time of the reference, within each round: below 1 is faster. Significant if the interval has no 1 in it. */
  readonly ratio: Interval;
  readonly rounds: number;
  readonly runsPerRound: number;
}

/** Six of six rounds on one side of the median happen by chance in 3.1 % of cases; five of five in 6.3 %. */
const FEWEST_ROUNDS = 6;
/** Shorter blocks drown in timer resolution and cold caches of the other model; longer ones outlast a change of load. */
const BLOCK_MS = 20;

/** Median time of one run of `session` with `feeds`. */
export async function measureLatency(session: Session, feeds: Feeds, options: LatencyOptions = {}): Promise<Latency> {
  const { blocks, runsPerRound } = await timeInTurns([session], feeds, options);
  const times = blocks[0] as number[];
  return { time: medianInterval(times), rounds: times.length, runsPerRound };
}

/**
 * Times both sessions in alternating blocks (AB BA AB …) of as many runs as take some 20 ms, and compares them round by
 * round. Sessions of one runner should be compared: they then have the same threads.
 */
export async function compareLatency(
  reference: Session,
  candidate: Session,
  feeds: Feeds,
  options: LatencyOptions = {},
): Promise<LatencyComparison> {
  const { blocks, runsPerRound } = await timeInTurns([reference, candidate], feeds, options);
  const [a, b] = blocks as [number[], number[]];
  return {
    reference: medianInterval(a),
    candidate: medianInterval(b),
    ratio: medianInterval(b.map((t, i) => t / (a[i] as number))),
    rounds: a.length,
    runsPerRound,
  };
}

/** Median milliseconds of each block, per session. */
async function timeInTurns(
  sessions: readonly Session[],
  feeds: Feeds,
  options: LatencyOptions,
): Promise<{ readonly blocks: number[][]; readonly runsPerRound: number }> {
  const budget = options.budget ?? 5000;
  const most = Math.max(FEWEST_ROUNDS, options.rounds ?? 101);
  let slowest = 0;
  for (const s of sessions) {
    const warm = await s.time(feeds, Math.max(1, options.warmUp ?? 3));
    // The last of them: the first pays for allocation, and on CUDA for the choice of algorithms.
    slowest = Math.max(slowest, warm.at(-1) as number);
  }
  const runsPerRound = Math.max(1, Math.min(1000, Math.round(BLOCK_MS / slowest)));
  const blocks: number[][] = sessions.map(() => []);
  const start = performance.now();
  for (let round = 0; round < most; round++) {
    const spent = performance.now() - start;
    if (round >= FEWEST_ROUNDS && spent >= budget) break;
    const order = [...sessions.keys()];
    // Turned each time, so that a steady drift of the clock speed does not favour one.
    if (round % 2 === 1) order.reverse();
    for (const i of order) blocks[i]?.push(median(await (sessions[i] as Session).time(feeds, runsPerRound)));
    options.onProgress?.(Math.min(most, round + 1), most);
  }
  return { blocks, runsPerRound };
}

export function median(values: ArrayLike<number>): number {
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[half] as number) : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2;
}

/**
 * The median of `values` and the narrowest symmetric pair of order statistics that covers the true median with
 * probability 0.95 or more, whatever the distribution. With fewer than six values no pair does: [min, max] is given.
 *
 * The number of values below the median is Binomial(n, 1/2), so [x(k), x(n+1-k)] misses it with probability
 * 2·P(Binomial < k). See David and Nagaraja, "Order Statistics", on distribution-free intervals for quantiles.
 */
export function medianInterval(values: ArrayLike<number>): Interval {
  const sorted = Float64Array.from(values).sort();
  const n = sorted.length;
  const at = Math.max(0, outside(n) - 1);
  return { median: median(sorted), low: sorted[at] as number, high: sorted[n - 1 - at] as number };
}

/** The largest k with 2·P(Binomial(n, 1/2) < k) <= 0.05. */
function outside(n: number): number {
  // 0.5^n would underflow; the normal approximation is good to one rank long before.
  if (n > 1000) return Math.floor(n / 2 - 0.98 * Math.sqrt(n));
  let k = 0;
  let p = 0.5 ** n;
  // Upwards by P(k) = P(k - 1)·(n - k + 1)/k.
  for (let below = p; 2 * below <= 0.05; below += p) {
    k++;
    p *= (n - k + 1) / k;
  }
  return k;
}
