/** What counts of right and wrong answers tell: intervals of proportions, and whether two classifiers differ. */

/** A figure with its 95 % confidence interval. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Samples by who answered right: `lost` only the first classifier, `gained` only the second. */
export interface PairCounts {
  readonly both: number;
  readonly lost: number;
  readonly gained: number;
  readonly neither: number;
}

export interface McNemar {
  /** Two-sided probability of discordant counts at least as uneven, were both classifiers equally good. */
  readonly p: number;
  readonly method: "exact" | "mid-p";
}

/** The 0.975 quantile of the normal distribution. */
const Z = 1.959963984540054;

/** From so many discordant samples on the mid-p test is used: the exact one is needlessly cautious, ever less so. */
const MID_P_FROM = 25;

/**
 * The share `hits / n` with its Wilson score interval, which keeps its level for shares near 0 and 1 and for few samples.
 * @see E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927)
 */
export function wilson(hits: number, n: number): Estimate {
  const p = hits / n;
  const middle = (p + (Z * Z) / (2 * n)) / (1 + (Z * Z) / n);
  const half = (Z / (1 + (Z * Z) / n)) * Math.sqrt((p * (1 - p)) / n + (Z * Z) / (4 * n * n));
  // Exact at the ends, where the subtraction would leave rounding.
  return { value: p, low: hits === 0 ? 0 : middle - half, high: hits === n ? 1 : middle + half };
}

/**
 * The share of the first classifier minus that of the second on the same samples, (lost - gained) / n, with Newcombe's interval
 * for paired proportions: the two Wilson intervals, squared and added, with the correlation of the pairs.
 * @see R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired data",
 *   Statistics in Medicine 17 (1998), method 10
 */
export function pairedDifference({ both, lost, gained, neither }: PairCounts): Estimate {
  const n = both + lost + gained + neither;
  const first = wilson(both + lost, n);
  const second = wilson(both + gained, n);
  const value = (lost - gained) / n;
  const related = correlation({ both, lost, gained, neither });
  const reach = (down: number, up: number) => Math.sqrt(Math.max(0, down * down - 2 * related * down * up + up * up));
  return {
    value,
    low: value - reach(first.value - first.low, second.high - second.value),
    high: value + reach(second.value - second.low, first.high - first.value),
  };
}

/** The coefficient of association (2 × 2) of the pairs, a positive one with Newcombe's correction for continuity; 0 where a margin is empty. */
function correlation({ both, lost, gained, neither }: PairCounts): number {
  const n = both + lost + gained + neither;
  const margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither);
  if (margins === 0) return 0;
  const cross = both * neither - lost * gained;
  return (cross > 0 ? Math.max(0, cross - n / 2) : cross) / Math.sqrt(margins);
}

/**
 * McNemar's test: only samples on which exactly one of the two is right tell them apart, and were both equally good, each would
 * win half of these. Binomial and exact for fewer than 25 of them, mid-p from there on.
 *
 * @see Q. McNemar, Psychometrika 12 (1947)
 * @see M. W. Fagerland, S. Lydersen, P. Laake, "The McNemar test for binary matched-pairs data: mid-p and asymptotic are better
 *   than exact conditional", BMC Medical Research Methodology 13:91 (2013)
 */
export function mcnemar(lost: number, gained: number): McNemar {
  const m = lost + gained;
  const least = Math.min(lost, gained);
  const method = m < MID_P_FROM ? "exact" : "mid-p";
  // Upwards by P(k) = P(k - 1)·(m - k + 1)/k, in logarithms: 0.5^m underflows.
  let log = -m * Math.LN2;
  let below = 0;
  for (let k = 0; k < least; k++) {
    below += Math.exp(log);
    log += Math.log((m - k) / (k + 1));
  }
  const at = Math.exp(log);
  if (method === "exact") return { p: Math.min(1, 2 * (below + at)), method };
  return { p: lost === gained ? 1 - at / 2 : 2 * below + at, method };
}
