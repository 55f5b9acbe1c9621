/** dominos: channels that others resemble, or that little downstream depends on, go first. */
import { z } from "zod";
import type { Group } from "../../graph/coupling/groups.js";
import type { Node } from "../../graph/graph.js";
import { defineCriterion, type Ranking, type ScoringContext } from "../criterion.js";
import { mergeObstacle } from "../similar-obstacles.js";
import { blockThreshold, importance } from "./importance.js";
import { ratio } from "./influence.js";
import type { FeatureMap } from "./maps.js";
import { type Producer, rankChannels } from "./rank.js";
import { uniqueness } from "./representativeness.js";
import { type Ablations, type Layer, Study } from "./study.js";

export const dominosOptions = z.strictObject({
  uniqueness: z
    .enum(["nearest", "mean", "conditional"])
    .default("nearest")
    .describe("what makes a feature map unique: no other like it, no others like it on average, or no combination of others"),
  influence: z
    .enum(["variance", "ablation"])
    .default("variance")
    .describe("variance: closed form from the statistics; ablation: a run without each filter (exact, slow)"),
  survival: z
    .enum(["per-filter", "per-layer", "global"])
    .default("per-filter")
    .describe("whose Weibull scale: each filter's, drawn to that of its layer; the layer's; or one for the whole network"),
  fit: z.enum(["mle", "curve"]).default("mle").describe("censored maximum likelihood on lifetimes, or least squares on the curves"),
  alpha: z.number().min(0).max(1).default(0.1).describe("weight of uniqueness against influence"),
  pool: z.int().min(1).default(7).describe("feature maps are compared after averaging to this many positions a side"),
  linked: z
    .enum(["keep", "prune"])
    .default("keep")
    .describe("channels of a residual sum: kept, so that whole blocks leave instead, or pruned as all others"),
  omegaMin: z
    .number()
    .gt(0)
    .max(1)
    .default(0.9)
    .describe("a block leaves when this share of the filters of its last layer is below the threshold"),
  blocks: z
    .enum(["contribution", "layer"])
    .default("contribution")
    .describe(
      "V of a block's filters counts what the block adds to the stream, against what blocks add on average; or is relative to its layer, as V of channels is",
    ),
  merge: z.boolean().default(false).describe("add the outgoing weights of a channel that leaves to those of its twin (nearest only)"),
  samples: z.int().min(1).default(32).describe("samples that ablation runs on"),
  gates: z
    .enum(["none", "static", "diagonal", "se", "auto"])
    .default("auto")
    .describe(
      "second stage, after removal, where it lowers the loss on held-out calibration samples: factors per channel folded into weights (static), then gates affine in the channel's mean (diagonal) or squeeze-and-excitation (se), or the cheaper that pays",
    ),
});
export type DominosOptions = z.output<typeof dominosOptions>;

/**
 * V_{l,k} = U^α·(D/mean D)^(1−α) of filter k of layer l: U its representativeness (representativeness.ts), D its domino influence
 * (influence.ts, weibull.ts, importance.ts). A channel of several layers has the mean of their V. Within a group the lowest leaves
 * first and U is looked at again, so that of two twins one stays. V is relative to its layer: one threshold serves all of them.
 *
 * Channels that meet others in a residual sum are not thinned: there blocks leave, at the threshold past which the share ω of
 * their last layer's filters with V below it reaches `omegaMin` (`DominosScores.blockAt`).
 *
 * Defaults of `alpha` and `omegaMin` were chosen on validation images of six networks (bench/accuracy/README.md): influence says more
 * than uniqueness, and a block is better kept until nearly all of its last filters are unimportant.
 *
 * Once the channels have left, gates are fitted to what the layers gave before (`gates`; src/gates).
 *
 * Source: that filters are scored by uniqueness and by an influence that decays layer by layer as a Weibull survival model, and
 * that blocks leave where linked layers would not match, is in the abstract of Chen 2020. The measures, the product, the rule for
 * blocks, the form and fit of the gates (attention once the architecture is fixed is in the abstract), and every default are a
 * reconstruction; the full text is not public.
 *
 * @see Ting-An Chen, "Dominance in an Overall Sight: Attentive Channel Pruning via Filter Importance Learning", National Taiwan
 *   University 2020, tdr.lib.ntu.edu.tw/handle/123456789/8475
 */
export const dominos = defineCriterion<DominosOptions>({
  name: "dominos",
  summary: "the uniqueness of their feature maps times their decaying influence on the layers that follow",
  source:
    'after Chen, "Dominance in an Overall Sight: Attentive Channel Pruning via Filter Importance Learning", NTU 2020 (reconstructed from its abstract)',
  options: dominosOptions,
  needs: ["activations"],
  comparable: true,

  statistics: (options, context) => {
    const study = new Study(context);
    return study.requests(shownLayers(study, context, options), options.pool);
  },

  measure: (options, context) =>
    options.influence === "ablation" ? (bench) => new Study(context).ablate(bench, options.samples) : undefined,

  prepare(options, context) {
    const scores = new DominosScores(options, context);
    return { rank: (group) => scores.rank(group), block: ({ last }) => scores.blockAt(last) };
  },

  gates: ({ gates }) => gates,
});

/** The scores of one model: of channels, of filters, and of blocks. */
export class DominosScores {
  readonly #options: DominosOptions;
  readonly #context: ScoringContext;
  readonly #study: Study;
  readonly #shown: ReadonlySet<Layer>;
  readonly #ablations: Ablations | undefined;
  readonly #influence: ReadonlyMap<Layer, Float64Array>;

  /** @param context with the statistics that the criterion asks for. */
  constructor(options: DominosOptions, context: ScoringContext) {
    this.#options = options;
    this.#context = context;
    this.#study = new Study(context);
    for (const note of this.#study.notes) context.note(note);
    this.#shown = shownLayers(this.#study, context, options);
    this.#ablations = options.influence === "ablation" ? (context.measured as Ablations) : undefined;
    this.#influence = this.#study.influence(options, this.#ablations);
  }

  rank(group: Group): Ranking {
    const { uniqueness: kind, alpha, linked, merge: wanted } = this.#options;
    const sum = linked === "keep" ? linkOf(group, this.#study) : undefined;
    const whole = (why: string): Ranking => ({ scores: new Float64Array(group.choices.length).fill(1), whole: why });
    if (sum) return whole(`its channels are linked through a residual sum (Add "${sum.label}"), where DOMINOS removes blocks`);
    const producers = this.#study.makersOf(group).map((layer) => this.#producer(group, layer));
    if (producers.length === 0)
      return whole("no linear layer of the main graph is known to make its channels and to have another after it");
    const blind = group.choices.filter((_, k) =>
      producers.every(({ cells, influence }) => (cells[k] as readonly number[]).every((p) => Number.isNaN(influence[p]))),
    ).length;
    if (blind > 0) {
      const why = `what depends on ${blind} of its channels is not known (INFLUENCE_ENDS, or a product of two activations): uniqueness alone decides on them`;
      this.#context.note({ code: "INFLUENCE_UNKNOWN", about: group.name, why });
    }
    const obstacle = wanted ? mergeObstacle(group, this.#context.coupling) : undefined;
    if (obstacle) this.#context.note({ code: "MERGE_OFF", about: group.name, why: `twins are removed without merging: ${obstacle}` });
    return rankChannels(producers, { kind, alpha, merge: wanted && !obstacle });
  }

  /** V of each filter of a linear node while all are there; undefined where no layer after it is known. */
  filters(node: Node): Float64Array | undefined {
    const layer = [...this.#shown].find((l) => l.layer.node === node);
    if (!layer) return undefined;
    const gram = this.#study.gram(layer, this.#options.pool);
    const { values } = uniqueness(this.#options.uniqueness, gram.covariance, layer.cells);
    const relative = this.#influence.get(layer) as Float64Array;
    return values.map((u, c) => importance(u, Number.isNaN(relative[c]) ? 1 : (relative[c] as number), this.#options.alpha));
  }

  /**
   * The threshold at which a block with these last layers leaves (importance.ts); the filters of several count together.
   * undefined when V of none is known: then the block stays.
   *
   * With `blocks: "contribution"` V is U^α·(D/mean D · E/mean E)^(1−α), E what the layer brings to the next ones (Study.contribution)
   * and its mean that over all layers that end branches: V alone is relative to its layer, and does not see how little a
   * block may add.
   */
  blockAt(last: readonly Node[]): number | undefined {
    const values = last.flatMap((node) => {
      const weight = this.#weightOf(node);
      return [...(this.filters(node) ?? [])].map((v) => v * weight);
    });
    return values.length > 0 ? blockThreshold(values, this.#options.omegaMin) : undefined;
  }

  /** (E/mean E)^(1−α). */
  #weightOf(node: Node): number {
    if (this.#options.blocks === "layer") return 1;
    const ends = this.#study.ends();
    const all = [...this.#shown].filter((l) => ends.has(l.index));
    const layer = all.find((l) => l.layer.node === node);
    if (!layer) return 1;
    const of = (l: Layer) => this.#study.contribution(l, this.#ablations);
    const mean = all.reduce((sum, l) => sum + of(l), 0) / all.length;
    return importance(1, ratio(of(layer), mean), this.#options.alpha);
  }

  #producer(group: Group, layer: Layer): Producer {
    return {
      cells: this.#study.cellsOf(group, layer),
      influence: this.#influence.get(layer) as Float64Array,
      gram: this.#study.gram(layer, this.#options.pool),
    };
  }
}

/** Layers whose maps are compared: those that make channels which may leave, and those that may end a block. */
function shownLayers(study: Study, { coupling }: ScoringContext, { linked }: DominosOptions): ReadonlySet<Layer> {
  const ends = study.ends();
  const free = coupling.groups.filter((g) => linked === "prune" || !linkOf(g, study));
  const makers = new Set(free.flatMap((g) => study.makersOf(g)));
  return new Set(study.layers.filter((l) => ends.has(l.index) || makers.has(l)));
}

/** The first sum that brings two maps with channels of the group together; undefined when there is none. */
function linkOf(group: Group, { sums }: Study): Node | undefined {
  const mine = new Set(group.choices);
  const carries = (map: FeatureMap) => map.keys.some((key) => key.some((c) => mine.has(c)));
  return sums.find(({ operands }) => operands.filter(carries).length > 1)?.node;
}
