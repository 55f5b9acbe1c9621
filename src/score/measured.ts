/** What criteria that look at activations share: where they measure, what they need, and one score from several places. */
import { z } from "zod";
import { keyOf, type StatisticRequest, type Statistics, type Tap } from "../calibrate/statistics/request.js";
import { ConfigError, DataError } from "../errors.js";
import type { Coupling, Group } from "../graph/coupling/groups.js";
import { type Carrier, carriersOf, isTappable, perChannel, tapOf } from "./carriers.js";
import type { Ranking, ScoringContext } from "./criterion.js";

export const variableOption = z
  .enum(["gap", "pixels", "gmp"])
  .default("gap")
  .describe(
    "the number that stands for a channel: the mean of its map in each sample (gap), the maximum (gmp: suits networks that end in global max pooling), or every position (pixels)",
  );

export const atOption = z
  .enum(["read", "pre-activation"])
  .default("read")
  .describe(
    "measured where the channel is read, or before the activation function: the zeros of a ReLU fit neither a Gaussian nor equal bins, but ONNX Runtime cannot fuse an activation whose input is looked at",
  );

export type At = z.output<typeof atOption>;

/** Element-wise, one activation in; what else they read are constants. */
const ACTIVATIONS: ReadonlySet<string> = new Set([
  "Relu",
  "LeakyRelu",
  "PRelu",
  "ThresholdedRelu",
  "Clip",
  "Elu",
  "Celu",
  "Selu",
  "Gelu",
  "Mish",
  "Swish",
  "HardSwish",
  "HardSigmoid",
  "Sigmoid",
  "Tanh",
  "Softplus",
  "Softsign",
]);

/** The same channels before the activation functions (single operators) that made the value; the same place where none did. */
export function beforeActivation<P extends Pick<Carrier, "value" | "axis">>(place: P, coupling: Coupling): P {
  let { value } = place;
  for (;;) {
    const node = value.producer;
    const [before, ...more] = node?.inputs ?? [];
    if (!node?.isStandard || !ACTIVATIONS.has(node.opType) || !before || before.constant || more.some((v) => v && !v.constant)) break;
    if (!isTappable(before, coupling)) break;
    value = before;
  }
  return { ...place, value };
}

/** Where a group is measured: at each of its carriers, or before their activations. */
export function placesOf(group: Group, coupling: Coupling, at: At): readonly Carrier[] {
  const carriers = carriersOf(group, coupling);
  return at === "read" ? carriers : carriers.map((c) => beforeActivation(c, coupling));
}

/** One request for each place of each group, each once. */
export function requestsAt(coupling: Coupling, at: At, ask: (tap: Tap) => StatisticRequest): readonly StatisticRequest[] {
  return distinct(coupling.groups.flatMap((g) => placesOf(g, coupling, at).map((c) => ask(tapOf(c)))));
}

export function distinct(requests: readonly StatisticRequest[]): readonly StatisticRequest[] {
  return [...new Map(requests.map((r) => [keyOf(r), r])).values()];
}

/** What was measured for a criterion. @throws ConfigError CALIBRATION_MISSING when it is read and nothing was. */
export function measuredFor(criterion: string, { statistics }: ScoringContext): Statistics {
  if (statistics) return statistics;
  // No statistics are right where no place could be measured, and then nothing is read.
  return {
    samples: 0,
    classes: 0,
    has: () => false,
    of: () => {
      throw new ConfigError("CALIBRATION_MISSING", `Criterion "${criterion}" looks at activations, but no statistics came.`, {
        hint: "Measure what Criterion.statistics asks for (collect, or gather) and give it as `statistics`.",
      });
    },
  };
}

/** The same, of labelled samples. @throws DataError CRITERION_NEEDS_LABELS where samples have no classes, or all have one. */
export function labelledFor(criterion: string, context: ScoringContext): Statistics {
  const statistics = measuredFor(criterion, context);
  if (context.statistics) requireClasses(criterion, statistics.classes);
  return statistics;
}

/** @throws DataError CRITERION_NEEDS_LABELS when samples of so many classes tell nothing about the class (0: they have no labels). */
export function requireClasses(criterion: string, classes: number): void {
  if (classes >= 2) return;
  const came = classes === 0 ? "the samples have no labels" : "all samples are of one class";
  throw new DataError("CRITERION_NEEDS_LABELS", `Criterion "${criterion}" asks what channels tell about the class, but ${came}.`, {
    hint: "Calibrate on samples of two classes or more, with labels. entropy, entropy-gauss and output-l1 need none.",
  });
}

/** The ranking of a group that no activation of the main graph carries to what reads it. */
export function unmeasured(group: Group): Ranking {
  return {
    scores: new Float64Array(group.choices.length),
    whole: "no activation of the main graph carries its channels to the weights that read them, so that nothing of them was measured",
  };
}

/** Mean over the places that carry a channel of its figure there; `figures` gives one number per position of the axis. */
export function meanOver(
  group: Group,
  places: readonly Carrier[],
  context: ScoringContext,
  figures: (place: Carrier) => ArrayLike<number>,
): Ranking {
  const total = new Total(group);
  for (const place of places) {
    const here = perChannel(group, place, figures(place));
    here.forEach((x, k) => {
      if (place.positions(k).length > 0) total.add(k, x);
    });
  }
  return total.ranking(context);
}

/** Figures of a group's channels, added up. */
export class Total {
  readonly #group: Group;
  readonly #sums: Float64Array;
  readonly #counts: Float64Array;

  constructor(group: Group) {
    this.#group = group;
    this.#sums = new Float64Array(group.choices.length);
    this.#counts = new Float64Array(group.choices.length);
  }

  add(k: number, figure: number, count = 1): void {
    this.#sums[k] = (this.#sums[k] as number) + figure;
    this.#counts[k] = (this.#counts[k] as number) + count;
  }

  /** Means as scores (or sums). Channels without a figure get the mean score of the others, and a note tells; without any, the group stays whole. */
  ranking(context: ScoringContext, kind: "mean" | "sum" = "mean"): Ranking {
    const has = (k: number) => (this.#counts[k] as number) > 0;
    const scores = this.#sums.map((s, k) => (kind === "sum" ? s : s / (this.#counts[k] as number)));
    const seen = scores.filter((_, k) => has(k));
    if (seen.length === 0) return unmeasured(this.#group);
    if (seen.length === scores.length) return { scores };
    context.note({
      code: "CHANNELS_NOT_SEEN",
      about: this.#group.name,
      why: `${scores.length - seen.length} of its channels are carried by no activation of the main graph; they score as the mean of the others`,
    });
    const mean = seen.reduce((a, b) => a + b, 0) / seen.length;
    return { scores: scores.map((s, k) => (has(k) ? s : mean)) };
  }
}
