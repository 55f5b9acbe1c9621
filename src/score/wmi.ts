/** wmi: channels ranked by what they tell about the class, weighted by the filters that pass it on. */
import { z } from "zod";
import { defineCriterion } from "./criterion.js";
import { InformationReader, informationOptions, informationRequest, momentsRequest } from "./information.js";
import { atOption, distinct, labelledFor, requestsAt } from "./measured.js";
import { weightsFor } from "./relative.js";
import { inputTaps, literal, own, signalToNoise } from "./wmi-readings.js";

const readings = { literal, own, snr: signalToNoise } as const;

/**
 * Weighted mutual information, in nats: a weight w turns the entropy h(X) of a channel into h(wX) = h(X) + ln|w|, of which only what is
 * about the class counts, I(X; Y).
 *
 * - `literal`: I_k + the mean of ln ω_kj over the filters j that read the channel; ω is the norm of the kernel. It changes when a
 *   channel is multiplied by a and its outgoing weights are divided by a, though the network computes the same.
 * - `own`: the mean of I(X_c; Y) + ln|w_kc| over a filter's own weights and their inputs.
 * - `snr`: the mean over filters j of the information that reaches j, the other inputs being noise; at least 0, 0 for a channel that
 *   nothing reads, and unchanged by such a rescaling.
 *
 * Norms and weights are those of the folded filters. Terms are averaged, so that layers of any width compare; the sums that the
 * source speaks of make wide layers the least of all. Over all layers, those that are read by small weights (literal) or are wide (snr)
 * still leave first: `--scope local` takes the same share of each. Where several blocks read a residual stream, each filter counts with what
 * its own block reads, after the sum.
 *
 * @see Chen, "Exploiting Data Entropy for Neural Network Compression", NTU 2020, of which only the abstract is public: that the class
 *   information of a channel passes through the weights and that the entropies of the outputs are summed is the source's. Which weights,
 *   their norm, the mean, all estimators and floors are reconstructions; `snr` is ours.
 */
export const wmi = defineCriterion({
  name: "wmi",
  summary: "their mutual information with the class, weighted by the filters that pass it on",
  source:
    'Chen, "Exploiting Data Entropy for Neural Network Compression", NTU 2020, reconstructed from its abstract; the reading snr is ours',
  options: z.strictObject({
    reading: z
      .enum(["literal", "own", "snr"])
      .default("literal")
      .describe(
        "weighted by outgoing weights, by the filter's own (and what it reads), or by the signal-to-noise ratio in the filters that read it",
      ),
    norm: z
      .enum(["l1", "l2", "taps"])
      .default("l1")
      .describe("of a kernel: its L1 or L2 norm, or each of its weights by itself; not for own"),
    sum: z.boolean().default(false).describe("sum over filters instead of the mean: wide layers then score lowest over all layers"),
    ...informationOptions,
    at: atOption,
  }),
  needs: ["weights", "activations", "labels"],
  comparable: true,

  statistics(options, { coupling }) {
    const { reading, variable, at } = options;
    if (reading === "own") return distinct(inputTaps(coupling, at).map((tap) => informationRequest(tap, options)));
    return requestsAt(coupling, at, (tap) => (reading === "snr" ? momentsRequest(tap, variable) : informationRequest(tap, options)));
  },

  prepare(options, context) {
    const information = new InformationReader("wmi", labelledFor("wmi", context), options, context);
    const { norm, at, sum } = options;
    return readings[options.reading]({ context, weights: weightsFor(context), information, norm, at, over: sum ? "sum" : "mean" });
  },
});
