/** Each kind of statistic: the reductions it is made from, its sums in float64, how two sums add, and what they say. */
import { UnsupportedError } from "../../errors.js";
import type { Tensor } from "../../graph/tensor.js";
import { gram, patches } from "./products.js";
import type { Reduction, Tapped } from "./reductions.js";
import {
  type Active,
  type AnyResult,
  type Histogram,
  keyOf,
  type Moments,
  type Range,
  type SampleValues,
  type StatisticRequest,
  type Variable,
} from "./request.js";

/** What one batch gave at one tap. */
export interface Seen {
  /** Number of the batch's first sample within the data, and how many samples it has. */
  readonly first: number;
  readonly n: number;
  /** Classes of its samples; undefined without labels. */
  readonly labels: Int32Array | undefined;
  /** Positions of one sample's map. */
  readonly positions: number;
  /** Channel means and the like, one row of C per sample (averaged over the rows that are one sample's). */
  row(reduction: Reduction): Float64Array;
  raw(reduction: Reduction): Tensor;
}

/** Sums of one statistic: arrays whose meaning the kind knows. */
export type Sums = readonly Float64Array[];

/** What a statistic knows of its tap besides the sums. */
export interface Frame {
  readonly channels: number;
  /** Classes of the data; 0 without labels. */
  readonly classes: number;
  readonly tap: Tapped;
  /** Whether the values are known to be 0 or more. */
  readonly nonNegative: boolean;
  /** Least and greatest value of each channel in the first batch, for histograms. */
  readonly first: { readonly min: Float64Array; readonly max: Float64Array } | undefined;
}

export interface Accumulator {
  readonly reductions: readonly Reduction[];
  zero(): Sums;
  /** Adds to `sums`, which `zero` made, in place. */
  add(sums: Sums, seen: Seen): void;
  combine(left: Sums, right: Sums): Sums;
  result(sums: Sums): AnyResult;
}

export function accumulatorOf(request: StatisticRequest, frame: Frame): Accumulator {
  switch (request.kind) {
    case "moments":
      return moments(request.variable, request.byClass, frame);
    case "absolute":
      return absolute(frame);
    case "active":
      return active(frame);
    case "range":
      return range(frame);
    case "histogram":
      return histogram(request, frame);
    case "samples":
      return samples(request.variable, request.limit, frame);
    case "gram":
      return gram(request.pool, frame);
    case "patches":
      return patches(request, frame);
  }
}

/** Sums that add up entry by entry. */
export const added = (left: Sums, right: Sums): Sums =>
  left.map((a, i) => {
    const b = right[i] as Float64Array;
    const out = new Float64Array(a.length);
    // A loop: half the time of gathering covariances was this, by map.
    for (let k = 0; k < a.length; k++) out[k] = (a[k] as number) + (b[k] as number);
    return out;
  });

/** Positions need to be asked for only where the graph does not say them. */
export function extent({ extents }: Tapped): readonly Reduction[] {
  return extents.slice(1).every((e) => e !== undefined) ? [] : ["extent"];
}

/** The reduction that gives a variable's values, one per sample and channel. */
function reductionOf(variable: "gap" | "gmp"): Reduction {
  return variable === "gap" ? "mean" : "max";
}

/** Per class: samples, values, Σ(x − p), Σ(x − p)², p the pivot. Without classes there is one, of all samples. */
function moments(variable: Variable, byClass: boolean, { channels: C, classes, tap }: Frame): Accumulator {
  const Q = byClass ? Math.max(1, classes) : 1;
  const pivot = tap.pivot;
  const reductions: readonly Reduction[] = variable === "pixels" ? ["mean", "square", ...extent(tap)] : [reductionOf(variable)];
  return {
    reductions,
    zero: () => [new Float64Array(Q), new Float64Array(Q), new Float64Array(Q * C), new Float64Array(Q * C)],
    add([count, values, sum, square], seen) {
      const x = seen.row(reductions[0] as Reduction);
      const xx = variable === "pixels" ? seen.row("square") : undefined;
      const weight = variable === "pixels" ? seen.positions : 1;
      for (let s = 0; s < seen.n; s++) {
        const c = byClass && seen.labels ? (seen.labels[s] as number) : 0;
        (count as Float64Array)[c] = ((count as Float64Array)[c] as number) + 1;
        (values as Float64Array)[c] = ((values as Float64Array)[c] as number) + weight;
        for (let k = 0; k < C; k++) {
          let v = x[s * C + k] as number;
          if (variable === "gmp" && pivot) v -= pivot[k] as number;
          const at = c * C + k;
          (sum as Float64Array)[at] = ((sum as Float64Array)[at] as number) + weight * v;
          (square as Float64Array)[at] = ((square as Float64Array)[at] as number) + (xx ? weight * (xx[s * C + k] as number) : v * v);
        }
      }
    },
    combine: added,
    result([count, values, sum, square]): Moments {
      const of = (n: number, from: (a: Float64Array, k: number) => number) => {
        const mean = new Float64Array(C);
        const variance = new Float64Array(C);
        for (let k = 0; k < C; k++) {
          const m = from(sum as Float64Array, k) / n;
          mean[k] = m + (pivot?.[k] ?? 0);
          variance[k] = Math.max(0, from(square as Float64Array, k) / n - m * m);
        }
        return { mean, variance };
      };
      const total = (a: Float64Array) => a.reduce((x, y) => x + y, 0);
      const all = (a: Float64Array, k: number) => {
        let t = 0;
        for (let c = 0; c < Q; c++) t += a[c * C + k] as number;
        return t;
      };
      const each = (c: number) => {
        const n = (values as Float64Array)[c] as number;
        // 0/0 in a class that nothing was seen of: NaN, as Moments says.
        const found = of(n, (a, k) => a[c * C + k] as number);
        return { samples: (count as Float64Array)[c] as number, count: n, mean: found.mean, variance: n > 0 ? found.variance : found.mean };
      };
      return {
        samples: total(count as Float64Array),
        count: total(values as Float64Array),
        ...of(total(values as Float64Array), all),
        classes: byClass && classes > 0 ? Array.from({ length: Q }, (_, c) => each(c)) : [],
      };
    },
  };
}

/** Values, Σ|x|: of values that are never negative |x| is x, elsewhere it is 2·max(x, 0) − x. */
function absolute({ channels: C, tap, nonNegative }: Frame): Accumulator {
  return {
    reductions: [...(nonNegative ? (["mean"] as const) : (["mean", "rectified"] as const)), ...extent(tap)],
    zero: () => [new Float64Array(1), new Float64Array(C)],
    add([values, sum], seen) {
      const x = seen.row("mean");
      const up = nonNegative ? undefined : seen.row("rectified");
      for (let s = 0; s < seen.n; s++) {
        (values as Float64Array)[0] = ((values as Float64Array)[0] as number) + seen.positions;
        for (let k = 0; k < C; k++) {
          const mean = (x[s * C + k] as number) + (tap.pivot?.[k] ?? 0);
          const size = up ? 2 * (up[s * C + k] as number) - mean : mean;
          (sum as Float64Array)[k] = ((sum as Float64Array)[k] as number) + seen.positions * size;
        }
      }
    },
    combine: added,
    result: ([values, sum]) => (sum as Float64Array).map((x) => Math.max(0, x / ((values as Float64Array)[0] as number))),
  };
}

/** Values, Σ[x > 0], Σ[x < 0]. */
function active({ channels: C, tap, nonNegative }: Frame): Accumulator {
  return {
    reductions: [...(nonNegative ? (["positive"] as const) : (["positive", "negative"] as const)), ...extent(tap)],
    zero: () => [new Float64Array(1), new Float64Array(C), new Float64Array(C)],
    add([values, above, below], seen) {
      const up = seen.row("positive");
      const down = nonNegative ? undefined : seen.row("negative");
      for (let s = 0; s < seen.n; s++) {
        (values as Float64Array)[0] = ((values as Float64Array)[0] as number) + seen.positions;
        for (let k = 0; k < C; k++) {
          (above as Float64Array)[k] = ((above as Float64Array)[k] as number) + seen.positions * (up[s * C + k] as number);
          if (down) (below as Float64Array)[k] = ((below as Float64Array)[k] as number) + seen.positions * (down[s * C + k] as number);
        }
      }
    },
    combine: added,
    result([values, above, below]): Active {
      const n = (values as Float64Array)[0] as number;
      const positive = (above as Float64Array).map((x) => x / n);
      return { positive, zero: positive.map((p, k) => clean(1 - p - ((below as Float64Array)[k] as number) / n)) };
    },
  };
}

/** Shares come from float32 means of zeros and ones: what is left of 1 below their rounding is none. */
const clean = (share: number): number => (share < 1e-6 ? 0 : Math.min(1, share));

function range({ channels: C }: Frame): Accumulator {
  return {
    reductions: ["min", "max"],
    zero: () => [new Float64Array(C).fill(Number.POSITIVE_INFINITY), new Float64Array(C).fill(Number.NEGATIVE_INFINITY)],
    add([min, max], seen) {
      const [low, high] = [seen.row("min"), seen.row("max")];
      for (let s = 0; s < seen.n; s++) {
        for (let k = 0; k < C; k++) {
          (min as Float64Array)[k] = Math.min((min as Float64Array)[k] as number, low[s * C + k] as number);
          (max as Float64Array)[k] = Math.max((max as Float64Array)[k] as number, high[s * C + k] as number);
        }
      }
    },
    combine: ([a, b], [c, d]) => [
      (a as Float64Array).map((x, k) => Math.min(x, (c as Float64Array)[k] as number)),
      (b as Float64Array).map((x, k) => Math.max(x, (d as Float64Array)[k] as number)),
    ],
    result: ([min, max]): Range => ({ min: min as Float64Array, max: max as Float64Array }),
  };
}

/** Samples, then counts by class, channel and bin. */
function histogram(
  { variable, byClass, bins }: { readonly variable: Variable; readonly byClass: boolean; readonly bins: number },
  { channels: C, classes, tap, first }: Frame,
): Accumulator {
  const Q = byClass ? Math.max(1, classes) : 1;
  const low = new Float64Array(C);
  const width = new Float64Array(C);
  for (let k = 0; k < C; k++) {
    const [a, b] = [first?.min[k] ?? 0, first?.max[k] ?? 0];
    const half = b > a ? (b - a) / 2 : Math.max(1e-3, Math.abs(a) / 2);
    low[k] = a - half;
    width[k] = (b - a + 2 * half) / bins;
  }
  const reduction: Reduction = variable === "pixels" ? "grid" : reductionOf(variable);
  const put = (counts: Float64Array, c: number, k: number, x: number) => {
    const b = Math.min(bins - 1, Math.max(0, Math.floor((x - (low[k] as number)) / (width[k] as number))));
    const at = (c * C + k) * bins + b;
    counts[at] = (counts[at] as number) + 1;
  };
  return {
    reductions: [reduction],
    zero: () => [new Float64Array(1), new Float64Array(Q * C * bins)],
    add([count, counts], seen) {
      (count as Float64Array)[0] = ((count as Float64Array)[0] as number) + seen.n;
      const classOf = (s: number) => (byClass && seen.labels ? (seen.labels[s] as number) : 0);
      if (variable !== "pixels") {
        const x = seen.row(reduction);
        const shift = (k: number) => (variable === "gap" ? (tap.pivot?.[k] ?? 0) : 0);
        for (let s = 0; s < seen.n; s++)
          for (let k = 0; k < C; k++) put(counts as Float64Array, classOf(s), k, (x[s * C + k] as number) + shift(k));
        return;
      }
      const t = seen.raw("grid");
      const data = t.numbers();
      const inner = t.dims.slice(tap.axis + 1).reduce((a, b) => a * b, 1);
      const perSample = data.length / seen.n;
      for (let i = 0; i < data.length; i++)
        put(counts as Float64Array, classOf(Math.floor(i / perSample)), Math.floor(i / inner) % C, data[i] as number);
    },
    combine: added,
    result([count, counts]): Histogram {
      const of = (c: number) =>
        Array.from({ length: C }, (_, k) => (counts as Float64Array).slice((c * C + k) * bins, (c * C + k + 1) * bins));
      const each = Array.from({ length: Q }, (_, c) => of(c));
      const all = (each[0] as Float64Array[]).map((_, k) =>
        Float64Array.from({ length: bins }, (_, b) => each.reduce((t, e) => t + ((e[k] as Float64Array)[b] as number), 0)),
      );
      return { low, width, samples: (count as Float64Array)[0] as number, counts: all, byClass: byClass && classes > 0 ? each : [] };
    },
  };
}

/** Ids, classes (−1 without), values; of more than `limit` samples those with the least hashes stay, whoever comes first. */
function samples(variable: "gap" | "gmp", limit: number, { channels: C, classes, tap }: Frame): Accumulator {
  const reduction = reductionOf(variable);
  const kept = (ids: number[], labels: number[], values: ArrayLike<number>[]): Sums => {
    const order = ids.map((_, i) => i).sort((a, b) => (ids[a] as number) - (ids[b] as number));
    const byHash = [...order].sort((a, b) => hash(ids[a] as number) - hash(ids[b] as number) || (ids[a] as number) - (ids[b] as number));
    const taken = new Set(byHash.slice(0, limit));
    const stay = order.filter((i) => taken.has(i));
    const flat = new Float64Array(stay.length * C);
    stay.forEach((i, at) => {
      flat.set(values[i] as ArrayLike<number>, at * C);
    });
    return [Float64Array.from(stay, (i) => ids[i] as number), Float64Array.from(stay, (i) => labels[i] as number), flat];
  };
  const rows = (values: Float64Array) => Array.from({ length: values.length / C }, (_, s) => values.subarray(s * C, (s + 1) * C));
  const combine = (left: Sums, right: Sums): Sums => {
    const [a, b, c] = left as [Float64Array, Float64Array, Float64Array];
    const [d, e, f] = right as [Float64Array, Float64Array, Float64Array];
    return kept([...a, ...d], [...b, ...e], [...rows(c), ...rows(f)]);
  };
  return {
    reductions: [reduction],
    zero: () => [new Float64Array(0), new Float64Array(0), new Float64Array(0)],
    add(sums, seen) {
      const x = seen.row(reduction);
      const mine: Sums = [
        Float64Array.from({ length: seen.n }, (_, s) => seen.first + s),
        Float64Array.from({ length: seen.n }, (_, s) => seen.labels?.[s] ?? -1),
        variable === "gap" && tap.pivot ? x.map((v, i) => v + (tap.pivot?.[i % C] as number)) : x,
      ];
      // Arrays grow here: the caller's list is written anew.
      (sums as Float64Array[]).splice(0, 3, ...combine(sums, mine));
    },
    combine,
    result: ([ids, labels, values]): SampleValues => ({
      ids: ids as Float64Array,
      labels: classes > 0 ? Int32Array.from(labels as Float64Array) : undefined,
      values: rows(values as Float64Array).map((r) => Float32Array.from(r)),
    }),
  };
}

/** A well-mixed number for a sample's number: the finaliser of MurmurHash3 (Appleby), 32 bits. */
function hash(id: number): number {
  let h = (id + 0x9e3779b9) >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b) >>> 0;
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) >>> 0;
  return (h ^ (h >>> 16)) >>> 0;
}

/** @throws UnsupportedError for a statistic of values that the runtime cannot give. */
export function requireFinite(request: StatisticRequest, result: AnyResult): void {
  const arrays = "mean" in result ? [result.mean] : result instanceof Float64Array ? [result] : [];
  if (arrays.every((a) => a.every(Number.isFinite))) return;
  throw new UnsupportedError(
    "STATISTICS_NOT_FINITE",
    `The ${keyOf(request)} is not finite: the network gives NaN or infinity on these data.`,
    {
      at: { value: request.value },
      hint: "Check the preprocessing: inputs of the wrong scale are the usual reason. `onnx-prune inspect` lists the values.",
    },
  );
}
