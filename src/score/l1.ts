/** l1: channels ranked by the L1 norm of their filters. */
import { z } from "zod";
import { defineCriterion } from "./criterion.js";
import { norms, noteNoProducer, relativeMean, weightsFor } from "./relative.js";

/**
 * Σ|ŵ_k| of filter k of each producer, BN folded.
 *
 * Where several layers make a channel (residual sums, depthwise filters on the way), each layer's norms are divided by
 * their mean over the group and averaged: a layer with long filters counts as much as one with short ones. The score is
 * therefore 1 for an average channel of any group.
 *
 * @see Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017; the folding and the averaging are ours.
 */
export const l1 = defineCriterion({
  name: "l1",
  summary: "the L1 norm of their filters, batch normalisation folded in",
  source: 'Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017',
  options: z.strictObject({
    bias: z.boolean().default(false).describe("count the folded bias as one more weight of the filter"),
  }),
  needs: ["weights"],
  comparable: false,

  prepare({ bias }, context) {
    const weights = weightsFor(context);
    return (group) => {
      let all = weights.producerNorms(group, 1, bias);
      if (all.length === 0) {
        noteNoProducer(context, group.name);
        all = weights.consumerNorms(group, 1);
      }
      return { scores: relativeMean(group.choices.length, norms(all)) };
    };
  },
});
