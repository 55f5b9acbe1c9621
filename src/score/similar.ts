/** similar: of the two channels of a layer that are most alike, one leaves, and the other takes over its outgoing weights. */
import { z } from "zod";
import type { Group } from "../graph/coupling/groups.js";
import type { Tensor } from "../graph/tensor.js";
import { defineCriterion, type Merge, type Ranking, type ScoringContext } from "./criterion.js";
import type { FoldedWeights } from "./folded-weights.js";
import { norms, noteNoProducer, relativeMean, weightsFor } from "./relative.js";
import { DISTANCES, matrixOf } from "./similar-distance.js";
import { mergeObstacle, scaleObstacle } from "./similar-obstacles.js";
import { type PairRule, PairSearch, type PairStep } from "./similar-pairs.js";

const options = z.strictObject({
  rule: z
    .enum(["pair-distance", "srinivas-babu"])
    .default("pair-distance")
    .describe(
      "pair-distance: distances in the target and the next layer; srinivas-babu: ⟨a²⟩·‖t_i − t_j‖², which ignores target, next and combine",
    ),
  target: z.enum(DISTANCES).default("l1").describe("distance of the filters that make two channels, biases included"),
  next: z
    .enum([...DISTANCES, "none"])
    .default("l1")
    .describe("distance of the weights that read two channels; none: the target layer alone"),
  combine: z.enum(["sum", "product"]).default("sum").describe("how the two distances become one"),
  normalise: z
    .enum(["mean", "none", "layerMax"])
    .default("mean")
    .describe("mean: distances per element, so that the longer side does not swamp the other; layerMax: divided by the layer's largest"),
  merge: z.boolean().default(true).describe("add the outgoing weights of the channel that leaves to those of its twin"),
  scaleAware: z
    .boolean()
    .default(false)
    .describe("also pair channels that are positive multiples of each other, where only ReLU-like ops and pools follow"),
});

/**
 * Greedy pairs of similar channels, without data. With t_i = [vec(ŵ_i), b̂_i] over all producers of the group (depthwise
 * filters and other per-channel parameters on the way included) and a_i = vec(Ŵ_next[:, i]) over all consumers, BN folded:
 *
 *     S_ij = d_T(t_i, t_j) ⊕ d_N(a_i, a_j)          rule pair-distance
 *     S_ij = ⟨a_j²⟩·‖t_i − t_j‖²                     rule srinivas-babu
 *
 * (i, j) = argmin S; the one with the smaller ‖a‖₁·‖t‖₁ (srinivas-babu: the cheaper one) leaves; a_i += a_j; row i of S is
 * computed again. Only channels with weights of the same extents, read by the same blocks, pair. Scores are the saliency
 * at which each channel leaves, as a running maximum; channels left without a partner score twice the largest.
 *
 * Why the sum: with h = act(t·x), removing j and doubling a_i is off by a_i(h_i − h_j) + (a_i − a_j)h_j, so its norm is at most
 * ‖a_i‖₁‖t_i − t_j‖₁‖x‖∞ + ‖a_i − a_j‖₁|h_j| for a 1-Lipschitz act; after merging it is at most ‖a_j‖₁‖t_i − t_j‖₁‖x‖∞.
 *
 * scaleAware is ours: with α = ⟨t_i, t_j⟩/‖t_i‖² > 0, t_j is compared with α·t_i, α·a_j with a_i, and α·a_j is added.
 *
 * @see Yoo, "Similar Channel Pruning Algorithm in CNN", Hanyang University 2023. Only its abstract is public: the pair saliency
 *   over the target and the next layer, L1 in both, and no data are its own; sum, mean, choice of the pair's victim,
 *   merging and updates are a reconstruction. @see Srinivas and Babu, "Data-free Parameter Pruning for Deep Neural
 *   Networks", BMVC 2015, for the other rule and for merging (surgery).
 */
export const similar = defineCriterion({
  name: "similar",
  summary: "the distance to the channel most like them, which takes over their outgoing weights",
  source:
    'after Yoo, "Similar Channel Pruning Algorithm in CNN", Hanyang University 2023 (reconstructed from its abstract); Srinivas and Babu, BMVC 2015',
  options,
  needs: ["weights"],
  comparable: false,
  sequential: true,

  prepare(chosen, context) {
    const weights = weightsFor(context);
    return (group) => {
      const rule = ruleFor(chosen, group, weights, context);
      return rule ? rank(group, weights, rule) : rankByReaders(group, weights, context);
    };
  },
});

/** The options, less what this group does not allow; undefined when nothing tells its channels apart. */
function ruleFor(chosen: z.output<typeof options>, group: Group, weights: FoldedWeights, context: ScoringContext): PairRule | undefined {
  const ends = weights.producerEnds(group);
  if (ends.length === 0) return undefined;
  let { merge, scaleAware } = chosen;
  const noMerge = merge || scaleAware ? mergeObstacle(group, context.coupling) : undefined;
  if (noMerge) {
    context.note({ code: "MERGE_OFF", about: group.name, why: `similar channels are removed without merging: ${noMerge}` });
    merge = false;
    scaleAware = false;
  }
  const noScale = scaleAware ? scaleObstacle(group, ends) : undefined;
  if (noScale) {
    context.note({ code: "SCALE_REFUSED", about: group.name, why: `multiples of a channel do not count as similar: ${noScale}` });
    scaleAware = false;
  }
  return { ...chosen, merge, scaleAware };
}

/** Channels no weight makes (they come out of fixed computations): all that is known is how much their readers make of them. */
function rankByReaders(group: Group, weights: FoldedWeights, context: ScoringContext): Ranking {
  noteNoProducer(context, group.name);
  return { scores: relativeMean(group.choices.length, norms(weights.consumerNorms(group, 1))) };
}

/** Channels that may pair, and the search among them. */
interface Bucket {
  readonly channels: readonly number[];
  readonly search: PairSearch;
}

function rank(group: Group, weights: FoldedWeights, rule: PairRule): Ranking {
  const all = buckets(group, weights, rule);
  const maxima = rule.normalise === "layerMax" ? all.map((b) => b.search.maxima()) : [];
  const largest = {
    target: Math.max(0, ...maxima.map((m) => m.target)),
    next: Math.max(0, ...maxima.map((m) => m.next)),
  };
  for (const b of all) b.search.start(largest);

  const scores = new Float64Array(group.choices.length);
  const order: number[] = [];
  const merges: (Merge | undefined)[] = [];
  let highest = 0;
  const heads = all.map((b) => b.search.cheapest());
  for (;;) {
    const at = cheapestOf(heads);
    if (at < 0) break;
    const { channels, search } = all[at] as Bucket;
    const step = heads[at] as PairStep;
    search.take(step);
    heads[at] = search.cheapest();
    const from = channels[step.leaves] as number;
    highest = Math.max(highest, step.saliency);
    scores[from] = highest;
    order.push(from);
    merges.push(rule.merge && step.scale > 0 ? { from, into: channels[step.stays] as number, scale: step.scale } : undefined);
  }
  // Nothing can stand for these: by strength, where the budget takes them all the same.
  const left = all.flatMap(({ channels, search }) =>
    search.survivors().map((k) => ({ channel: channels[k] as number, strength: search.strength[k] as number })),
  );
  left.sort((a, b) => a.strength - b.strength || a.channel - b.channel);
  for (const { channel } of left) {
    scores[channel] = 2 * highest || 1;
    order.push(channel);
    merges.push(undefined);
  }
  return { scores, order, merges };
}

/** Index of the least saliency; the first among equals; -1 when all are exhausted. */
function cheapestOf(heads: readonly (PairStep | undefined)[]): number {
  let best = -1;
  heads.forEach((h, i) => {
    if (h && (best < 0 || h.saliency < (heads[best] as PairStep).saliency)) best = i;
  });
  return best;
}

function buckets(group: Group, weights: FoldedWeights, rule: PairRule): Bucket[] {
  const made = [...weights.producers(group), ...weights.vectors(group)];
  const read = weights.consumers(group);
  const bySignature = new Map<string, number[]>();
  group.choices.forEach((_, k) => {
    const signature = signatureOf(group, k);
    const of = bySignature.get(signature);
    if (of) of.push(k);
    else bySignature.set(signature, [k]);
  });
  return [...bySignature.values()].map((channels) => {
    const target = matrixOf(channels.length, (i) =>
      made.flatMap((s) => [s.vectors[channels[i] as number], s.biases[channels[i] as number]] as Float64Array[]),
    );
    const next = matrixOf(channels.length, (i) => read.map((s) => s.vectors[channels[i] as number] as Float64Array));
    return { channels, search: new PairSearch(channels.length, target, next, rule) };
  });
}

/**
 * What two channels must share to be one and the same where their numbers are: as many positions in each slot, and the
 * same block of a grouped convolution, since filters of different blocks read different inputs.
 */
function signatureOf(group: Group, k: number): string {
  return group.slots
    .map((slot) => {
      const positions = slot.positions(k);
      const dims = (slot.value.constant as Tensor).dims;
      const grouped = slot.role === "producer" && slot.axis === 0 && (dims[1] ?? 1) > 1;
      const blocks = !grouped
        ? []
        : slot.uses.flatMap(({ node, index }) => {
            const groups = node.isStandard && node.opType === "Conv" && index === 1 ? node.int("group", 1) : 1;
            return groups > 1 ? positions.map((p) => Math.floor((p * groups) / (dims[0] as number))) : [];
          });
      return [positions.length, ...blocks].join(".");
    })
    .join(" ");
}
