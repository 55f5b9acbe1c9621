/** output-l1: channels ranked by how large they are, whatever they tell. */
import { z } from "zod";
import type { Tap } from "../calibrate/statistics/request.js";
import { perChannel, tapOf } from "./carriers.js";
import { defineCriterion } from "./criterion.js";
import { atOption, meanOver, measuredFor, placesOf, requestsAt, unmeasured } from "./measured.js";
import { relativeMean } from "./relative.js";

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
      if (places.length === 0) return unmeasured(group);
      if (scale === "raw") return meanOver(group, places, context, (p) => statistics.of(ask(tapOf(p))));
      const figures = places.map((p) => perChannel(group, p, statistics.of(ask(tapOf(p)))));
      return { scores: relativeMean(group.choices.length, figures) };
    };
  },
});
