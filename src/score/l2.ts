/** l2: channels ranked by the L2 norm of their filters. */
import { z } from "zod";
import { defineCriterion } from "./criterion.js";
import { norms, noteNoProducer, relativeMean, weightsFor } from "./relative.js";

/**
 * √Σŵ_k² of filter k of each producer, BN folded; several producers are averaged as for l1.
 *
 * @see He et al., "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks", IJCAI 2018, whose filters are ranked by
 *   their Lp norm, p = 2; without its training between removals. The folding and the averaging are ours.
 */
export const l2 = defineCriterion({
  name: "l2",
  summary: "the L2 norm of their filters, batch normalisation folded in",
  source: 'He et al., "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks", IJCAI 2018',
  options: z.strictObject({
    bias: z.boolean().default(false).describe("count the folded bias as one more weight of the filter"),
  }),
  needs: ["weights"],
  comparable: false,

  prepare({ bias }, context) {
    const weights = weightsFor(context);
    return (group) => {
      let all = weights.producerNorms(group, 2, bias);
      if (all.length === 0) {
        noteNoProducer(context, group.name);
        all = weights.consumerNorms(group, 2);
      }
      return { scores: relativeMean(group.choices.length, norms(all)) };
    };
  },
});
