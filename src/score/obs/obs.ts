/** obs: channels ranked by what the network loses for good, once the weights that read the others have made up for them. */
import { z } from "zod";
import { keyOf, type StatisticRequest, type Statistics } from "../../calibrate/statistics/request.js";
import type { Group } from "../../graph/coupling/groups.js";
import { defineCriterion, type Ranking, type ScoringContext } from "../criterion.js";
import { distinct, measuredFor } from "../measured.js";
import { weightsFor } from "../relative.js";
import { eliminate, type Precision, precisionOf, type ReadingLayer } from "./elimination.js";
import { type Reading, readingsOf } from "./readings.js";
import { savingsOf } from "./savings.js";
import { swapped } from "./swaps.js";

/**
 * Σ over the layers that read channels R of tr(W_R (H_RR − H_RK (H_KK + λI)⁻¹ H_KR) W_Rᵀ) ÷ the variance of what the layer feeds: the share of
 * it that is lost after the weights of the channels K that stay are fitted by least squares, which is what reconstruction does afterwards.
 *
 * Channels are taken out one by one, each time the one that adds least (elimination.ts); with `swaps`, once it is known how many leave of a group,
 * channels that left are exchanged for others while that loses less (swaps.ts): off by default, as validation images of three nets do not show
 * that it pays (docs/recovery.md). Scores are the additions ÷ the share of the model's multiply-accumulates that the channel saves, made to rise
 * along the order; they are comparable between layers.
 *
 * @see Hassibi, Stork, "Optimal Brain Surgeon", NIPS 1992; Frantar, Alistarh, "Optimal Brain Compression", NeurIPS 2022; Meng et al., "OSSCAR",
 *   ICML 2024, for the exchanges. Sums over all readers, the energy of what is fed and the cost unit are ours.
 */
export const obs = defineCriterion({
  name: "obs",
  summary: "what is lost after the layers that read them are fitted anew",
  source:
    'Hassibi, Stork, "Optimal Brain Surgeon", NIPS 1992, and Frantar, Alistarh, "Optimal Brain Compression", NeurIPS 2022, for whole channels',
  options: z.strictObject({
    per: z
      .enum(["macs", "parameters", "none"])
      .default("macs")
      .describe("the loss of a channel is divided by the share of multiply-accumulates or parameters that it saves, or by nothing"),
    ridge: z
      .number()
      .positive()
      .max(1)
      .default(0.01)
      .describe("share of each feature's variance that is added before covariances are inverted"),
    features: z
      .int()
      .min(1)
      .default(1152)
      .describe(
        "most features (channels × taps) of a layer of which all covariances are taken; in larger layers the taps of a kernel share those of the channels",
      ),
    swaps: z
      .int()
      .min(0)
      .default(0)
      .describe(
        "most passes over the channels that leave, once their number is known, in which each comes back if another loses less in its place; 0: none",
      ),
  }),
  needs: ["activations"],
  comparable: true,

  statistics(options, context) {
    const weights = weightsFor(context);
    const all = context.coupling.groups.flatMap((g): StatisticRequest[] => {
      const readings = readingsOf(g, context.coupling, weights, options);
      return typeof readings === "string" ? [] : readings.flatMap((r) => [r.moments, r.received]);
    });
    return distinct(all);
  },

  prepare({ per, ridge, features, swaps }, context) {
    const statistics = measuredFor("obs", context);
    const weights = weightsFor(context);
    const savings = per === "none" ? undefined : savingsOf(context.coupling, per);
    const precisions = new Precisions(statistics, ridge);
    return (group) => {
      const readings = readingsOf(group, context.coupling, weights, { features });
      if (typeof readings === "string") return { scores: new Float64Array(group.choices.length), whole: readings };
      // Made anew where they are needed again: weights and covariances of all groups at once would be a model's worth of memory and more.
      const layers = () => readings.map((r) => layerOf(r, group, statistics, precisions));
      const ranking = rankingOf(group, layers(), savings?.(group), context);
      return swaps === 0 ? ranking : { ...ranking, refine: (gone, kinds) => swapped(layers(), gone, kinds, swaps) };
    };
  },
});

/** Inverse covariances, held for the next group that the same layer reads: streams that are joined from parts have several. */
class Precisions {
  readonly #statistics: Statistics;
  readonly #ridge: number;
  readonly #held = new Map<string, Precision>();
  #bytes = 0;

  constructor(statistics: Statistics, ridge: number) {
    this.#statistics = statistics;
    this.#ridge = ridge;
  }

  of(request: Reading["moments"]): Precision {
    const key = keyOf(request);
    const have = this.#held.get(key);
    if (have) return have;
    const { mean, covariance } = this.#statistics.of(request);
    const made = precisionOf(covariance, mean.length, this.#ridge);
    this.#bytes += made.matrix.byteLength;
    if (this.#bytes > MOST_HELD) {
      this.#held.clear();
      this.#bytes = made.matrix.byteLength;
    }
    this.#held.set(key, made);
    return made;
  }
}
const MOST_HELD = 2 ** 29;

function layerOf(reading: Reading, group: Group, statistics: Statistics, precisions: Precisions): ReadingLayer {
  const energy = statistics.of(reading.received).variance.reduce((a, b) => a + b, 0);
  return {
    precision: precisions.of(reading.moments),
    features: group.choices.map((_, k) => reading.features(k)),
    weights: group.choices.map((_, k) => reading.weights(k)),
    // What never varies loses nothing.
    importance: energy > 0 ? 1 / energy : 0,
  };
}

function rankingOf(group: Group, layers: readonly ReadingLayer[], savings: Float64Array | undefined, context: ScoringContext): Ranking {
  const { order, losses } = eliminate(group.choices.length, layers);
  if (savings?.some((s) => s === 0)) {
    context.note({
      code: "SAVINGS_UNKNOWN",
      about: group.name,
      why: "what some of its channels save is not known; it is taken to be the least there is",
    });
  }
  const least = savings?.reduce((a, s) => (s > 0 && s < a ? s : a), 1) ?? 1;
  const scores = new Float64Array(order.length);
  let highest = 0;
  order.forEach((k, i) => {
    highest = Math.max(highest, (losses[i] as number) / (savings ? savings[k] || least : 1));
    scores[k] = highest;
  });
  return { scores, order, losses };
}
