/** The information about the class in each channel of a place: what is to be measured, and the estimator's answer. */
import { z } from "zod";
import type { Moments, StatisticRequest, Statistics, Tap } from "../calibrate/statistics/request.js";
import { DataError } from "../errors.js";
import type { ScoringContext } from "./criterion.js";
import { variableOption } from "./measured.js";
import {
  classesOf,
  gaussianInformation,
  histogramInformation,
  isConstant,
  leftOut,
  pooledInformation,
  quantileCounts,
  quantiles,
} from "./mutual-information.js";

export const informationOptions = {
  variable: variableOption,
  estimator: z
    .enum(["gauss", "pooled", "hist"])
    .default("gauss")
    .describe(
      "Gaussian with a variance for each class, with one variance for all classes (steadier with few samples), or a histogram over quantiles",
    ),
  // The bias that is taken off grows with the number of bins, and its error with it.
  bins: z.int().min(2).max(100).default(10).describe("quantiles of the histogram; other estimators have none"),
} as const;

export interface InformationOptions {
  readonly variable: "gap" | "pixels" | "gmp";
  readonly estimator: "gauss" | "pooled" | "hist";
  readonly bins: number;
}

/** Single samples that are kept for quantiles: enough for 10 bins × 10 classes, and 2,048 × 2,048 channels are 16 MiB. */
export const SAMPLE_LIMIT = 2048;

/**
 * Equal bins that are joined to quantiles, where single values (pixels) are too many to keep. Counts take 1 KiB per channel and
 * class: 20 MiB for 2,048 channels and 10 classes, but 2 GiB for 1,000.
 */
const FINE_BINS = 128;

/** The request whose result `Information` reads. */
export function informationRequest(tap: Tap, { variable, estimator }: InformationOptions): StatisticRequest {
  if (estimator !== "hist") return momentsRequest(tap, variable);
  if (variable === "pixels") return { kind: "histogram", ...tap, variable, byClass: true, bins: FINE_BINS };
  return { kind: "samples", ...tap, variable, limit: SAMPLE_LIMIT };
}

export function momentsRequest(tap: Tap, variable: "gap" | "pixels" | "gmp") {
  return { kind: "moments", ...tap, variable, byClass: true } as const;
}

/** Per position of a tap's axis. */
export interface Information {
  /** Of the class, at least 0. */
  readonly nats: Float64Array;
  /** 1 where the channel is the same for all samples, else 0. */
  readonly constant: Float64Array;
}

/** Reader of information at taps; tells once in a run which classes were left out. */
export class InformationReader {
  readonly #criterion: string;
  readonly #statistics: Statistics;
  readonly #options: InformationOptions;
  readonly #context: ScoringContext;
  #told = false;

  constructor(criterion: string, statistics: Statistics, options: InformationOptions, context: ScoringContext) {
    this.#criterion = criterion;
    this.#statistics = statistics;
    this.#options = options;
    this.#context = context;
  }

  /** @throws DataError CRITERION_FEW_SAMPLES when there are fewer than two samples for each class. */
  at(tap: Tap): Information {
    const { estimator, variable, bins } = this.#options;
    if (estimator !== "hist") return this.#ofMoments(this.moments(tap), estimator);
    if (variable === "pixels") return this.#ofHistogram(tap, bins);
    return this.#ofSamples(tap, variable, bins);
  }

  /** Moments by class at a tap, where they were requested. */
  moments(tap: Tap): Moments {
    const moments = this.#statistics.of(momentsRequest(tap, this.#options.variable));
    const { classes, samples } = classesOf(moments);
    this.#require(classes.length, samples);
    return moments;
  }

  #ofMoments(moments: Moments, estimator: "gauss" | "pooled"): Information {
    const constant = moments.mean.map((m, k) => (isConstant(m, moments.variance[k] as number) ? 1 : 0));
    if (estimator === "pooled") return { nats: pooledInformation(moments), constant };
    const why = this.#told ? undefined : leftOut(moments);
    if (why) this.#context.note({ code: "FEW_SAMPLES", about: this.#criterion, why });
    this.#told = true;
    return { nats: gaussianInformation(moments), constant };
  }

  #ofHistogram(tap: Tap, bins: number): Information {
    const histogram = this.#statistics.of({ kind: "histogram", ...tap, variable: "pixels", byClass: true, bins: FINE_BINS });
    const seen = histogram.byClass.filter((of) => of[0]?.some((n) => n > 0)).length;
    this.#require(seen, histogram.samples);
    const constant = Float64Array.from(histogram.counts, (of) => (of.filter((n) => n > 0).length <= 1 ? 1 : 0));
    const nats = Float64Array.from(histogram.counts, (of, k) => {
      const quantile = quantiles(of, bins);
      const joint = histogram.byClass.map((byChannel) => joined(byChannel[k] as Float64Array, quantile, bins));
      return histogramInformation(joint, histogram.samples);
    });
    return { nats, constant };
  }

  #ofSamples(tap: Tap, variable: "gap" | "gmp", bins: number): Information {
    const { values, labels = [] } = this.#statistics.of({ kind: "samples", ...tap, variable, limit: SAMPLE_LIMIT });
    this.#require(new Set(labels).size, values.length);
    const channels = values[0]?.length ?? 0;
    const [nats, constant] = [new Float64Array(channels), new Float64Array(channels)];
    for (let k = 0; k < channels; k++) {
      const mine = Float32Array.from(values, (of) => of[k] as number);
      nats[k] = histogramInformation(quantileCounts(mine, labels, this.#statistics.classes, bins), values.length);
      constant[k] = mine.every((x) => x === mine[0]) ? 1 : 0;
    }
    return { nats, constant };
  }

  #require(classes: number, samples: number): void {
    if (classes >= 2 && samples >= 2 * classes) return;
    throw new DataError(
      "CRITERION_FEW_SAMPLES",
      `Criterion "${this.#criterion}" needs at least two classes, and two samples for each; seen were ${samples} samples of ${classes} classes.`,
      { hint: "Give more samples, 20 of each class or more for figures that mean something." },
    );
  }
}

function joined(counts: Float64Array, quantile: Int32Array, bins: number): Float64Array {
  const out = new Float64Array(bins);
  counts.forEach((n, i) => {
    const b = quantile[i] as number;
    out[b] = (out[b] as number) + n;
  });
  return out;
}
