/** output-l1: channels ranked by how large they are, whatever they tell. */
import { z } from "zod";
import type { Tap } from "../calibrate/statistics/request.js";
import type { Group } from "../graph/coupling/groups.js";
import { type Carrier, tapOf } from "./carriers.js";
import { defineCriterion } from "./criterion.js";
import { atOption, meanOver, measuredFor, placesOf, requestsAt } from "./measured.js";

const ask = (tap: Tap) => ({ kind: "absolute", ...tap }) as const;

/**
 * Mean |F_k| over samples and positions of each feature map, where it is read.
 *
 * Channels that several blocks read from a residual stream are measured at each, and the figures averaged. By default
 * each is divided by its mean over the group first, so that an average channel of any group scores 1; `scale: raw` leaves
 * them as they are, and with `--scope global` layers with small activations then empty first.
 *
 * @see Chen, "Exploiting Data Entropy for Neural Network Compression", NTU 2020, whose baseline this is by name ("output L1"). Only the
 *   name is public; reading it as the mean magnitude, `scale` and the rule for residual streams are ours.
 */
export const outputL1 = defineCriterion({
  name: "output-l1",
  summary: "the mean magnitude of their feature maps",
  source:
    'the baseline "output L1" of Chen, "Exploiting Data Entropy for Neural Network Compression", NTU 2020, reconstructed from its name',
  options: z.strictObject({
    scale: z
      .enum(["group", "raw"])
      .default("group")
      .describe("magnitudes over their mean in the group, or as they are: then layers with small activations leave first over all layers"),
    at: atOption,
  }),
  needs: ["activations"],
  // Divided here, where that is asked for.
  comparable: true,

  statistics: ({ at }, { coupling }) => requestsAt(coupling, at, ask),

  prepare({ scale, at }, context) {
    const statistics = measuredFor("output-l1", context);
    return (group) => {
      const places = placesOf(group, context.coupling, at);
      return meanOver(group, places, context, (place) => {
        const magnitudes = statistics.of(ask(tapOf(place)));
        return scale === "raw" ? magnitudes : overMean(magnitudes, positionsOf(group, place));
      });
    };
  },
});

/** Positions of the group's channels. */
function positionsOf(group: Group, place: Carrier): readonly number[] {
  return group.choices.flatMap((_, k) => [...place.positions(k)]);
}

function overMean(figures: Float64Array, of: readonly number[]): Float64Array {
  const mean = of.reduce((n, p) => n + (figures[p] as number), 0) / of.length;
  return mean === 0 ? figures : figures.map((x) => x / mean);
}
