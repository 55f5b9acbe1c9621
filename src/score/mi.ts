/** mi: channels ranked by what they tell about the class. */
import { z } from "zod";
import { tapOf } from "./carriers.js";
import { defineCriterion } from "./criterion.js";
import { InformationReader, informationOptions, informationRequest } from "./information.js";
import { atOption, labelledFor, meanOver, placesOf, requestsAt } from "./measured.js";

/**
 * I(F_k; Y) = H(F_k) − H(F_k | Y) in nats, bias corrected, at least 0: the entropy of the channel less what is not about the class.
 *
 * Estimators are in mutual-information.ts. None depends on shift and scale of a channel, and that from quantiles of single values
 * (gap, gmp) on no rising function of it either. Where a residual stream is read by several blocks, the mean over what each reads.
 *
 * @see Chen, "Exploiting Data Entropy for Neural Network Compression", NTU 2020. H − H(·|label) is the source's; its text is not
 *   public: the random variable, the estimators, their corrections and the rule for residual streams are ours.
 */
export const mi = defineCriterion({
  name: "mi",
  summary: "their mutual information with the class",
  source: 'Chen, "Exploiting Data Entropy for Neural Network Compression", NTU 2020, reconstructed from its abstract',
  options: z.strictObject({ ...informationOptions, at: atOption }),
  needs: ["activations", "labels"],
  comparable: true,

  statistics: (options, { coupling }) => requestsAt(coupling, options.at, (tap) => informationRequest(tap, options)),

  prepare(options, context) {
    const reader = new InformationReader("mi", labelledFor("mi", context), options, context);
    return (group) => meanOver(group, placesOf(group, context.coupling, options.at), context, (p) => reader.at(tapOf(p)).nats);
  },
});
