/** bn-scale: channels ranked by the scale of the batch normalisation they pass through. */
import { z } from "zod";
import type { Group } from "../graph/coupling/groups.js";
import type { Tensor } from "../graph/tensor.js";
import { defineCriterion } from "./criterion.js";
import { norms, noteNoProducer, relativeMean, weightsFor } from "./relative.js";

/**
 * |γ_k| of the BatchNormalization nodes on the group, averaged where there are several.
 *
 * Where the exporter folded them away, ‖ŵ_k‖₂ of the folded filters stands in (γ is a factor of ŵ), scaled so that an
 * average channel scores as an average |γ| of the model (1 if it has none); a note says so.
 *
 * @see Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017. The paper trains
 *   with an L1 penalty on γ; without that training the scales are less telling. The stand-in is ours.
 */
export const bnScale = defineCriterion({
  name: "bn-scale",
  summary: "the scale |γ| of their batch normalisation",
  source: 'Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017',
  options: z.strictObject({}),
  needs: ["weights"],
  comparable: true,

  prepare(_, context) {
    const weights = weightsFor(context);
    const typical = averageScale(context.coupling.groups);
    return (group) => {
      const scores = scalesOf(group);
      if (scores) return { scores };
      context.note({
        code: "NO_BATCH_NORM",
        about: group.name,
        why: "not every channel passes a BatchNormalization; the L2 norm of the folded filters stands in for its scale",
      });
      let all = weights.producerNorms(group, 2, false);
      if (all.length === 0) {
        noteNoProducer(context, group.name);
        all = weights.consumerNorms(group, 2);
      }
      return { scores: relativeMean(group.choices.length, norms(all)).map((s) => s * typical) };
    };
  },
});

/** |γ| of each channel; undefined when one of them has none. */
function scalesOf(group: Group): Float64Array | undefined {
  const total = new Float64Array(group.choices.length);
  const count = new Float64Array(group.choices.length);
  for (const slot of group.slots) {
    if (!slot.uses.some(({ node, index }) => node.isStandard && node.opType === "BatchNormalization" && index === 1)) continue;
    const gamma = (slot.value.constant as Tensor).numbers();
    for (let k = 0; k < total.length; k++) {
      for (const p of slot.positions(k)) {
        total[k] = (total[k] as number) + Math.abs(gamma[p] as number);
        count[k] = (count[k] as number) + 1;
      }
    }
  }
  return count.length > 0 && count.every((n) => n > 0) ? total.map((t, k) => t / (count[k] as number)) : undefined;
}

function averageScale(groups: readonly Group[]): number {
  const all = groups.flatMap((g) => [...(scalesOf(g) ?? [])]);
  const mean = all.reduce((a, b) => a + b, 0) / Math.max(1, all.length);
  return mean > 0 ? mean : 1;
}
