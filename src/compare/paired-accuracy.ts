/** Accuracy of two classifiers on the same labelled samples, and whether the difference is more than chance. */
import type { Tensor } from "../graph/tensor.js";
import { badLabel, rankOf } from "../verify/accuracy.js";
import { type Estimate, type McNemar, mcnemar, type PairCounts, pairedDifference, wilson } from "./statistics.js";

/** Top-k accuracy of both. */
export interface PairedAccuracy {
  /** Shares of samples in [0, 1] with Wilson's 95 % interval. */
  readonly a: Estimate;
  readonly b: Estimate;
  /** Accuracy of a minus that of b in percentage points (positive: b is worse), with Newcombe's 95 % interval for pairs. */
  readonly drop: Estimate;
  readonly pairs: PairCounts;
  /** Of the hypothesis that a and b are equally accurate. */
  readonly mcnemar: McNemar;
}

export interface ClassAccuracy {
  readonly label: number;
  readonly samples: number;
  /** Samples of the class that each puts first. */
  readonly a: number;
  readonly b: number;
}

export interface AccuracyComparison {
  /** What the samples are, as opened. */
  readonly data: string;
  /** The output that classifies. */
  readonly output: string;
  readonly samples: number;
  readonly top1: PairedAccuracy;
  /** Undefined for five classes or fewer. */
  readonly top5: PairedAccuracy | undefined;
  /** Classes that occur among the labels, in their order. */
  readonly classes: readonly ClassAccuracy[];
}

export class PairedHits {
  readonly #labels: Int32Array;
  readonly #top1 = new Pairs();
  readonly #top5 = new Pairs();
  readonly #byClass = new Map<number, { samples: number; a: number; b: number }>();
  #classes = 0;

  constructor(labels: Int32Array) {
    this.#labels = labels;
  }

  /** Adds rows of scores of both for samples `from` and on. @throws DataError LABEL_RANGE for a label that is no class. */
  add(a: Tensor, b: Tensor, classes: number, from: number, samples: number): void {
    this.#classes = classes;
    const [x, y] = [a.numbers(), b.numbers()];
    for (let row = 0; row < samples; row++) {
      const label = this.#labels[from + row] ?? -1;
      if (label < 0 || label >= classes) throw badLabel(label, from + row, classes);
      const ranks = [rankOf(label, x, row * classes, classes), rankOf(label, y, row * classes, classes)] as const;
      this.#top1.add(ranks[0] < 1, ranks[1] < 1);
      this.#top5.add(ranks[0] < 5, ranks[1] < 5);
      const of = this.#byClass.get(label) ?? { samples: 0, a: 0, b: 0 };
      of.samples++;
      if (ranks[0] < 1) of.a++;
      if (ranks[1] < 1) of.b++;
      this.#byClass.set(label, of);
    }
  }

  result(): Omit<AccuracyComparison, "data" | "output"> {
    return {
      samples: this.#top1.count,
      top1: this.#top1.result(),
      top5: this.#classes > 5 ? this.#top5.result() : undefined,
      classes: [...this.#byClass].sort(([p], [q]) => p - q).map(([label, of]) => ({ label, ...of })),
    };
  }
}

class Pairs {
  #both = 0;
  #lost = 0;
  #gained = 0;
  #neither = 0;

  add(a: boolean, b: boolean): void {
    if (a && b) this.#both++;
    else if (a) this.#lost++;
    else if (b) this.#gained++;
    else this.#neither++;
  }

  get count(): number {
    return this.#both + this.#lost + this.#gained + this.#neither;
  }

  result(): PairedAccuracy {
    return pairedAccuracy({ both: this.#both, lost: this.#lost, gained: this.#gained, neither: this.#neither });
  }
}

/** All figures that follow from the counts. */
export function pairedAccuracy(pairs: PairCounts): PairedAccuracy {
  const { both, lost, gained, neither } = pairs;
  const n = both + lost + gained + neither;
  const { low, high } = pairedDifference(pairs);
  return {
    a: wilson(both + lost, n),
    b: wilson(both + gained, n),
    // Of the counts, so that 3 in 1000 are 0.3 points and not a hair more than --max-drop 0.3 allows.
    drop: { value: (100 * (lost - gained)) / n, low: 100 * low, high: 100 * high },
    pairs,
    mcnemar: mcnemar(lost, gained),
  };
}
