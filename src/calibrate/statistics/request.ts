/** What can be asked about the activations of a model, and what comes back. */

/** One axis of one value of the main graph: the axis its channels lie on. Axis 0 counts samples. */
export interface Tap {
  readonly value: string;
  /** Above 0. */
  readonly axis: number;
}

/**
 * The random variable of a channel: every position of its feature map (`pixels`), or one number per sample, the mean
 * (`gap`, global average pooling) or the maximum (`gmp`) over its positions. Where a channel has one position, all are the same.
 */
export type Variable = "pixels" | "gap" | "gmp";

/** Population mean and variance of each channel; with `byClass`, of each channel within each class too. */
export interface MomentsRequest extends Tap {
  readonly kind: "moments";
  readonly variable: Variable;
  readonly byClass: boolean;
}
/** Mean |x| of each channel over all positions. */
export interface AbsoluteRequest extends Tap {
  readonly kind: "absolute";
}
/** Shares of positions at which each channel is above 0, and exactly 0. */
export interface ActiveRequest extends Tap {
  readonly kind: "active";
}
/** Least and greatest value of each channel. */
export interface RangeRequest extends Tap {
  readonly kind: "range";
}
/**
 * Counts of each channel's values in `bins` equal bins. The range is that of the first batch, widened by half on either side;
 * what lies outside falls into the outermost bins. `pixels` are sampled on a grid of at most 4 × 4 positions a map.
 */
export interface HistogramRequest extends Tap {
  readonly kind: "histogram";
  readonly variable: Variable;
  readonly byClass: boolean;
  readonly bins: number;
}
/** One number per channel of single samples: of all, or of `limit` that are chosen by a hash of their number, the same whatever the sharding. */
export interface SamplesRequest extends Tap {
  readonly kind: "samples";
  readonly variable: "gap" | "gmp";
  readonly limit: number;
}
/** Covariances of the channels over all positions, or over maps that are pooled to `pool` × `pool` by averaging (where larger). */
export interface GramRequest extends Tap {
  readonly kind: "gram";
  readonly pool?: number;
}

/** The windows that a convolution reads: kernel, strides, pads (all begins, then all ends) and dilations per spatial axis. Pads count as zeros. */
export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly pads: readonly number[];
  readonly dilations: readonly number[];
}
/**
 * Covariances of the entries of patches (im2col): entry c·taps + t of a patch is what tap t of a window sees of channel c, taps row-major,
 * as the weights [M, C, …kernel] of a Conv are laid out. One patch per output position; channels on axis 1.
 */
export interface PatchesRequest extends Tap {
  readonly kind: "patches";
  readonly window: Window;
  /** Channels [from, to) alone: those of one group. */
  readonly channels?: readonly [number, number];
  /** Every so many output positions along each spatial axis, from the first; default all. */
  readonly every?: number;
}

export type StatisticRequest =
  | MomentsRequest
  | AbsoluteRequest
  | ActiveRequest
  | RangeRequest
  | HistogramRequest
  | SamplesRequest
  | GramRequest
  | PatchesRequest;

export interface Moments {
  /** Samples seen. */
  readonly samples: number;
  /** Values of the variable seen per channel. */
  readonly count: number;
  readonly mean: Float64Array;
  /** Population variance (divided by `count`), at least 0. */
  readonly variance: Float64Array;
  /** Classes by number; empty without `byClass`. Classes nothing was seen of have count 0 and NaN moments. */
  readonly classes: readonly ClassMoments[];
}
export interface ClassMoments {
  readonly samples: number;
  readonly count: number;
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}
export interface Active {
  readonly positive: Float64Array;
  readonly zero: Float64Array;
}
export interface Range {
  readonly min: Float64Array;
  readonly max: Float64Array;
}
export interface Histogram {
  /** Lower edge of the first bin and width of a bin, per channel. A channel that was constant in the first batch has a range around it. */
  readonly low: Float64Array;
  readonly width: Float64Array;
  /** Samples seen: pixels of one sample are not independent of each other. */
  readonly samples: number;
  /** counts[k][b] of channel k. */
  readonly counts: readonly Float64Array[];
  /** byClass[c][k][b]; empty without `byClass`. */
  readonly byClass: readonly (readonly Float64Array[])[];
}
export interface SampleValues {
  /** Numbers of the samples within the data, ascending. */
  readonly ids: Float64Array;
  /** Their classes; undefined where the data have no labels. */
  readonly labels: Int32Array | undefined;
  /** values[s][k]: of sample s, channel k. */
  readonly values: readonly Float32Array[];
}
/** Of C channels, or of the C·taps entries of patches. */
export interface Gram {
  /** Positions summed over. */
  readonly count: number;
  readonly mean: Float64Array;
  /** Row-major C × C, population covariance (divided by `count`), symmetric. */
  readonly covariance: Float64Array;
}

interface Results {
  readonly moments: Moments;
  /** Mean |x| per channel. */
  readonly absolute: Float64Array;
  readonly active: Active;
  readonly range: Range;
  readonly histogram: Histogram;
  readonly samples: SampleValues;
  readonly gram: Gram;
  readonly patches: Gram;
}
export type ResultOf<R extends StatisticRequest> = Results[R["kind"]];
export type AnyResult = Results[keyof Results];

/** What was measured. */
export interface Statistics {
  /** Samples that were seen, and the number of their classes (0 without labels). */
  readonly samples: number;
  readonly classes: number;
  /** @throws InternalError when it was not requested: criteria declare what they need (Criterion.statistics). */
  of<R extends StatisticRequest>(request: R): ResultOf<R>;
  has(request: StatisticRequest): boolean;
}

/** Two requests with one key ask the same. */
export function keyOf(request: StatisticRequest): string {
  const { kind, value, axis } = request;
  const tap = `${value}:${axis}`;
  switch (request.kind) {
    case "moments":
      return `${kind}(${request.variable}${request.byClass ? ", by class" : ""}) of ${tap}`;
    case "histogram":
      return `${kind}(${request.variable}${request.byClass ? ", by class" : ""}, ${request.bins}) of ${tap}`;
    case "samples":
      return `${kind}(${request.variable}, ${request.limit}) of ${tap}`;
    case "gram":
      return `${kind}(${request.pool ?? "full"}) of ${tap}`;
    case "patches": {
      const { window: w, channels, every } = request;
      const parts = [w.kernel.join("×"), `strides ${w.strides}`, `pads ${w.pads}`, `dilations ${w.dilations}`];
      if (channels) parts.push(`channels ${channels[0]}-${channels[1]}`);
      if (every !== undefined && every !== 1) parts.push(`every ${every}`);
      return `${kind}(${parts.join("; ")}) of ${tap}`;
    }
    default:
      return `${kind} of ${tap}`;
  }
}
