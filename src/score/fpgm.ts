/** fpgm: channels whose filters lie in the middle of the others go first, however large they are. */
import { defineCriterion } from "./criterion.js";
import type { SlotVectors } from "./folded-weights.js";
import { biasOption, noteNoProducer, relativeMean, weightsFor } from "./relative.js";

/**
 * g(k) = Σ_j ‖ŵ_k − ŵ_j‖₂ over the filters of each producer, BN folded; several producers are averaged as for l1.
 *
 * A filter near the geometric median of its layer can be represented by the others. Filters of different extents (a
 * grouped weight's blocks) are not compared. O(C²·length) per producer.
 *
 * @see He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration", CVPR 2019; the folding and the averaging are ours
 */
export const fpgm = defineCriterion({
  name: "fpgm",
  summary: "the distance of their filters from all others of the layer (geometric median)",
  source: 'He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration", CVPR 2019',
  options: biasOption,
  needs: ["weights"],
  comparable: false,

  prepare({ bias }, context) {
    const weights = weightsFor(context);
    return (group) => {
      let slots = weights.producers(group);
      if (slots.length === 0) {
        noteNoProducer(context, group.name);
        slots = weights.consumers(group);
      }
      return {
        scores: relativeMean(
          group.choices.length,
          slots.map((s) => distances(s, bias)),
        ),
      };
    };
  },
});

/** Mean over the comparable others, so that blocks of different sizes stay on one scale; NaN where the slot has no weights. */
function distances({ vectors, biases }: SlotVectors, bias: boolean): Float64Array {
  const n = vectors.length;
  const total = new Float64Array(n);
  const others = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const [a, b] = [vectors[i] as Float64Array, vectors[j] as Float64Array];
      if (a.length === 0 || a.length !== b.length) continue;
      let d = squaredDistance(a, b);
      if (bias) d += squaredDistance(biases[i] as Float64Array, biases[j] as Float64Array);
      d = Math.sqrt(d);
      total[i] = (total[i] as number) + d;
      total[j] = (total[j] as number) + d;
      others[i] = (others[i] as number) + 1;
      others[j] = (others[j] as number) + 1;
    }
  }
  return total.map((t, k) => ((vectors[k] as Float64Array).length === 0 ? Number.NaN : t / Math.max(1, others[k] as number)));
}

function squaredDistance(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) {
    const d = (a[i] as number) - (b[i] as number);
    total += d * d;
  }
  return total;
}
