/** l1 and l2: channels ranked by the norm of their filters. */
import { type Criterion, defineCriterion } from "./criterion.js";
import { biasOption, norms, noteNoProducer, relativeMean, weightsFor } from "./relative.js";

/**
 * (Σ|ŵ_k|^p)^(1/p) of filter k of each producer, BN folded.
 *
 * Where several layers make a channel (residual sums, depthwise filters on the way), each layer's norms are divided by
 * their mean over the group and averaged: a layer with long filters counts as much as one with short ones. The score is
 * therefore 1 for an average channel of any group. The folding and the averaging are ours.
 */
function byNorm(name: string, p: 1 | 2, source: string) {
  return defineCriterion({
    name,
    summary: `the L${p} norm of their filters, batch normalisation folded in`,
    source,
    options: biasOption,
    needs: ["weights"],
    comparable: false,

    prepare({ bias }, context) {
      const weights = weightsFor(context);
      return (group) => {
        let all = weights.producerNorms(group, p, bias);
        if (all.length === 0) {
          noteNoProducer(context, group.name);
          all = weights.consumerNorms(group, p);
        }
        return { scores: relativeMean(group.choices.length, norms(all)) };
      };
    },
  });
}

/** @see Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017 */
export const l1: Criterion<{ bias: boolean }> = byNorm("l1", 1, 'Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017');

/** @see He et al., "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks", IJCAI 2018; without its training between removals */
export const l2: Criterion<{ bias: boolean }> = byNorm(
  "l2",
  2,
  'He et al., "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks", IJCAI 2018',
);
