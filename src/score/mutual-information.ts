/**
 * Estimators of entropy and of mutual information with the class, in nats, from moments and counts. Bias terms count samples
 * (images), never pixels, which are not independent of each other: for those the correction is on the careful side.
 *
 * Entropy pruning and its histogram are of Luo & Wu, "An Entropy-based Pruning Method for CNN Compression", 2017; the
 * correction of Miller & Madow is of 1955. The Gaussian estimators of information and all floors are ours.
 */
import type { Moments } from "../calibrate/statistics/request.js";

/** Added to variances of which the logarithm is taken: a dead channel has entropy −12.4, not −∞. */
const LEAST_VARIANCE = 1e-12;

/** Share of a channel's variance added to that within each class: a channel that is constant within classes has at most ½ ln 10⁶ = 6.9 nats. */
const LEAST_SHARE = 1e-6;

/** Classes with fewer samples tell nothing of their variance. */
const LEAST_SAMPLES = 5;

/** ½ ln 2πe(v + ε) of a Gaussian of variance v: an upper bound on the entropy of anything with that variance. */
export function gaussianEntropy(variance: number): number {
  return 0.5 * Math.log(2 * Math.PI * Math.E * (variance + LEAST_VARIANCE));
}

/** −Σ p ln p over the bins, plus (occupied bins − 1)/2N (Miller–Madow). */
export function histogramEntropy(counts: ArrayLike<number>, samples: number): number {
  const { entropy, occupied } = plugIn(counts);
  return entropy + Math.max(0, occupied - 1) / (2 * samples);
}

/** Counts of `values` in equal bins over their own range; a constant fills one bin. */
export function equalBins(values: ArrayLike<number>, bins: number): Float64Array {
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let n = 0; n < values.length; n++) {
    min = Math.min(min, values[n] as number);
    max = Math.max(max, values[n] as number);
  }
  const counts = new Float64Array(bins);
  // NaN among the values makes the range NaN: no bin is right, and no entropy.
  if (Number.isNaN(min)) return counts.fill(Number.NaN);
  for (let n = 0; n < values.length; n++) {
    const b = max > min ? Math.min(bins - 1, Math.floor((((values[n] as number) - min) / (max - min)) * bins)) : 0;
    counts[b] = (counts[b] as number) + 1;
  }
  return counts;
}

/** Whether the variance is nothing but rounding of float32 sums. */
export function isConstant(mean: number, variance: number): boolean {
  return variance <= 1e-12 * mean * mean;
}

/** Total variance of channel k split by class: between the means of the classes, and within them. */
export interface Split {
  readonly total: number;
  readonly within: number;
  readonly between: number;
}

/** Law of total variance over the classes of these numbers. */
function splitVariance(moments: Moments, k: number, classes: readonly number[]): Split {
  let [count, mean, within, between] = [0, 0, 0, 0];
  for (const c of classes) {
    const of = moments.classes[c] as Moments["classes"][number];
    count += of.count;
    mean += of.count * (of.mean[k] as number);
    within += of.count * (of.variance[k] as number);
  }
  mean /= count;
  for (const c of classes) {
    const of = moments.classes[c] as Moments["classes"][number];
    between += of.count * ((of.mean[k] as number) - mean) ** 2;
  }
  return { total: (within + between) / count, within: within / count, between: between / count };
}

/** Numbers of the classes with at least `least` samples, and how many samples they have together. */
export function classesOf(moments: Moments, least = 1): { readonly classes: readonly number[]; readonly samples: number } {
  const classes = [...moments.classes.keys()].filter((c) => (moments.classes[c]?.samples ?? 0) >= least);
  return { classes, samples: classes.reduce((n, c) => n + (moments.classes[c]?.samples ?? 0), 0) };
}

/**
 * I = ½ ln v − Σ_c p_c ½ ln v_c − (Q − 1)/N of each channel, at least 0: Gaussian within each class, and as a whole.
 *
 * Classes of fewer than 5 samples are left out, of v, p and Q too; where fewer than two remain, `pooledInformation` of all.
 * Invariant to u → au + b. The last term is the bias on independent data to first order.
 */
export function gaussianInformation(moments: Moments): Float64Array {
  const { classes, samples } = classesOf(moments, LEAST_SAMPLES);
  if (classes.length < 2) return pooledInformation(moments);
  return perChannel(moments, (k) => {
    const { total } = splitVariance(moments, k, classes);
    const floor = LEAST_SHARE * total;
    let nats = 0.5 * Math.log(total + floor);
    for (const c of classes) {
      const of = moments.classes[c] as Moments["classes"][number];
      nats -= (of.samples / samples) * 0.5 * Math.log((of.variance[k] as number) + floor);
    }
    return nats - (classes.length - 1) / samples;
  });
}

/**
 * I = ½ ln(v / v_within) − (Q − 1)/2N of each channel, at least 0: one variance for all classes; steadier with few samples.
 * For two equal classes at ±μ with unit noise ½ ln(1 + μ²).
 */
export function pooledInformation(moments: Moments): Float64Array {
  const { classes, samples } = classesOf(moments);
  return perChannel(moments, (k) => {
    const { total, within } = splitVariance(moments, k, classes);
    const floor = LEAST_SHARE * total;
    return 0.5 * Math.log((total + floor) / (within + floor)) - (classes.length - 1) / (2 * samples);
  });
}

/** Of what `gaussianInformation` leaves out, for a note; undefined when nothing. */
export function leftOut(moments: Moments): string | undefined {
  const all = classesOf(moments).classes.length;
  const kept = classesOf(moments, LEAST_SAMPLES).classes.length;
  if (kept === all) return undefined;
  const rest = kept < 2 ? "so that one variance is taken for all classes" : "which are left out";
  return `${all - kept} of ${all} classes have fewer than ${LEAST_SAMPLES} samples, ${rest}`;
}

/** Signal and noise of a channel, for `wmi` by signal-to-noise ratio. */
export interface Signal {
  /** Variance of the class means, less what independent data would show: E[between] = v_within·(Q − 1)/(N − Q). At least 0. */
  readonly signal: Float64Array;
  /** Variance within the classes. */
  readonly noise: Float64Array;
  /** Their uncorrected sum, the variance. */
  readonly power: Float64Array;
}

export function signalOf(moments: Moments): Signal {
  const { classes, samples } = classesOf(moments);
  const splits = Array.from(moments.mean, (_, k) => splitVariance(moments, k, classes));
  const chance = (classes.length - 1) / Math.max(1, samples - classes.length);
  return {
    signal: Float64Array.from(splits, (s) => Math.max(0, s.between - s.within * chance)),
    noise: Float64Array.from(splits, (s) => s.within + LEAST_SHARE * s.total),
    power: Float64Array.from(splits, (s) => s.total),
  };
}

/**
 * Σ p(b,c) ln[p(b,c) / p(b)p(c)] − (B − 1)(Q − 1)/2N over occupied bins and classes, at least 0.
 * @param joint joint[c][b], counts (of pixels, or samples).
 */
export function histogramInformation(joint: readonly ArrayLike<number>[], samples: number): number {
  const bins = joint[0]?.length ?? 0;
  const overBins = joint.map((of) => Array.from(of).reduce((a, b) => a + b, 0));
  const overClasses = Float64Array.from({ length: bins }, (_, b) => joint.reduce((n, of) => n + (of[b] as number), 0));
  const cells = Float64Array.from(joint.flatMap((of) => Array.from(of)));
  const [b, c, both] = [plugIn(overClasses), plugIn(overBins), plugIn(cells)];
  const nats = b.entropy + c.entropy - both.entropy - ((b.occupied - 1) * (c.occupied - 1)) / (2 * samples);
  return Math.max(0, nats);
}

/** The quantile, of `bins`, into which each of a row of counts falls by its middle: what lies together stays together. */
export function quantiles(counts: ArrayLike<number>, bins: number): Int32Array {
  let total = 0;
  for (let i = 0; i < counts.length; i++) total += counts[i] as number;
  let before = 0;
  return Int32Array.from({ length: counts.length }, (_, i) => {
    const here = counts[i] as number;
    const middle = (before + here / 2) / total;
    before += here;
    return Math.min(bins - 1, Math.floor(middle * bins));
  });
}

/** Counts by class and quantile of single values; equal values share a bin. */
export function quantileCounts(values: ArrayLike<number>, labels: ArrayLike<number>, classes: number, bins: number): Float64Array[] {
  const order = Array.from({ length: values.length }, (_, n) => n).sort((a, b) => (values[a] as number) - (values[b] as number));
  const rank = new Int32Array(values.length);
  const ties: number[] = [];
  order.forEach((n, at) => {
    if (at === 0 || values[n] !== values[order[at - 1] as number]) ties.push(0);
    ties[ties.length - 1] = (ties[ties.length - 1] as number) + 1;
    rank[n] = ties.length - 1;
  });
  const bin = quantiles(ties, bins);
  const out = Array.from({ length: classes }, () => new Float64Array(bins));
  for (let n = 0; n < values.length; n++) {
    const of = out[labels[n] as number];
    const b = bin[rank[n] as number] as number;
    if (of) of[b] = Number.isNaN(values[n]) ? Number.NaN : (of[b] as number) + 1;
  }
  return out;
}

function perChannel(moments: Moments, nats: (k: number) => number): Float64Array {
  return Float64Array.from(moments.mean, (mean, k) => (isConstant(mean, moments.variance[k] as number) ? 0 : Math.max(0, nats(k))));
}

function plugIn(counts: ArrayLike<number>): { readonly entropy: number; readonly occupied: number } {
  let total = 0;
  for (let b = 0; b < counts.length; b++) total += counts[b] as number;
  if (Number.isNaN(total)) return { entropy: Number.NaN, occupied: 0 };
  let [entropy, occupied] = [0, 0];
  for (let b = 0; b < counts.length; b++) {
    const p = (counts[b] as number) / total;
    if (p > 0) {
      entropy -= p * Math.log(p);
      occupied++;
    }
  }
  return { entropy, occupied };
}
