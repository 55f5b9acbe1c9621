/** entropy and entropy-gauss: channels ranked by how much they vary from sample to sample. */
import { z } from "zod";
import type { StatisticRequest, Statistics, Tap } from "../calibrate/statistics/request.js";
import { tapOf } from "./carriers.js";
import { type Criterion, defineCriterion } from "./criterion.js";
import { SAMPLE_LIMIT } from "./information.js";
import { atOption, meanOver, measuredFor, placesOf, requestsAt, variableOption } from "./measured.js";
import { equalBins, gaussianEntropy, histogramEntropy } from "./mutual-information.js";

interface EntropyOptions {
  readonly variable: "gap" | "pixels" | "gmp";
  readonly at: "read" | "pre-activation";
  readonly bins: number;
}

/** Bins of `pixels` lie in twice the range of the first batch (HistogramRequest): twice as many are as wide as `bins` in that range. */
const pixelsRequest = (tap: Tap, bins: number) =>
  ({ kind: "histogram", ...tap, variable: "pixels", byClass: false, bins: 2 * bins }) as const;

function entropyRequest(tap: Tap, { variable, bins }: EntropyOptions): StatisticRequest {
  return variable === "pixels" ? pixelsRequest(tap, bins) : { kind: "samples", ...tap, variable, limit: SAMPLE_LIMIT };
}

function entropyAt(tap: Tap, { variable, bins }: EntropyOptions, statistics: Statistics): Float64Array {
  if (variable === "pixels") {
    const { counts, samples } = statistics.of(pixelsRequest(tap, bins));
    return Float64Array.from(counts, (of) => histogramEntropy(of, samples));
  }
  const { values } = statistics.of({ kind: "samples", ...tap, variable, limit: SAMPLE_LIMIT });
  return Float64Array.from({ length: values[0]?.length ?? 0 }, (_, k) => {
    const mine = Float32Array.from(values, (of) => of[k] as number);
    return histogramEntropy(equalBins(mine, bins), mine.length);
  });
}

/**
 * −Σ p ln p of a channel's histogram in nats, corrected by Miller & Madow (number of samples, not of pixels): `bins` equal bins
 * over the channel's own range, which are those of the first batch for `pixels`. In [0, ln bins] but for the correction;
 * a constant channel has 0. Does not depend on the channel's scale. Several places of a residual stream are averaged.
 *
 * @see Luo & Wu, "An Entropy-based Pruning Method for CNN Compression", 2017, which pools globally and takes 100 bins; the
 *   default of 30, the correction and the rule for residual streams are ours
 */
export const entropy: Criterion<EntropyOptions> = defineCriterion({
  name: "entropy",
  summary: "the entropy of their feature maps, from a histogram",
  source: 'Luo & Wu, "An Entropy-based Pruning Method for CNN Compression", 2017, with the correction of Miller & Madow',
  options: z.strictObject({
    variable: variableOption,
    bins: z.int().min(2).max(1000).default(30).describe("equal bins over the range of the channel"),
    at: atOption,
  }),
  needs: ["activations"],
  comparable: true,

  statistics: (options, { coupling }) => requestsAt(coupling, options.at, (tap) => entropyRequest(tap, options)),

  prepare(options, context) {
    const statistics = measuredFor("entropy", context);
    return (group) =>
      meanOver(group, placesOf(group, context.coupling, options.at), context, (p) => entropyAt(tapOf(p), options, statistics));
  },
});

const momentsOf = (tap: Tap, variable: "gap" | "pixels" | "gmp") => ({ kind: "moments", ...tap, variable, byClass: false }) as const;

/**
 * ½ ln 2πe(v_k + 10⁻¹²) nats, as if the channel were Gaussian: the same order as its variance, and −12.4 for a dead channel.
 *
 * A channel that is multiplied by a has ln a more: scores of different layers are compared as they are, as the source does.
 * Several places of a residual stream are averaged.
 *
 * @see Chen, "Exploiting Data Entropy for Neural Network Compression", NTU 2020 (entropy "estimated according to Gaussian
 *   distribution"). The text of the work is not public: the random variable, the floor and the rule for residual streams are ours.
 */
export const entropyGauss = defineCriterion({
  name: "entropy-gauss",
  summary: "the entropy of their feature maps, as if these were Gaussian",
  source: 'Chen, "Exploiting Data Entropy for Neural Network Compression", NTU 2020, reconstructed from its abstract',
  options: z.strictObject({ variable: variableOption, at: atOption }),
  needs: ["activations"],
  comparable: true,

  statistics: ({ variable, at }, { coupling }) => requestsAt(coupling, at, (tap) => momentsOf(tap, variable)),

  prepare({ variable, at }, context) {
    const statistics = measuredFor("entropy-gauss", context);
    return (group) =>
      meanOver(group, placesOf(group, context.coupling, at), context, (p) =>
        statistics.of(momentsOf(tapOf(p), variable)).variance.map(gaussianEntropy),
      );
  },
});
