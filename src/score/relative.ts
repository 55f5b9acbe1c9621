/** Per-producer figures of different scale made one score. */
import { z } from "zod";
import type { ScoringContext } from "./criterion.js";
import { FoldedWeights, type SlotNorms } from "./folded-weights.js";

/**
 * Mean over the producers that a channel has of (its figure ÷ the mean figure of that producer), so that a producer with
 * long filters counts as much as one with short ones. Entries of NaN stand for "has none there"; a channel that has
 * none anywhere gets 1, the score of an average channel.
 */
export function relativeMean(count: number, figures: readonly Float64Array[]): Float64Array {
  const total = new Float64Array(count);
  const present = new Float64Array(count);
  for (const f of figures) {
    const has = f.filter((x) => !Number.isNaN(x));
    const mean = has.reduce((a, b) => a + b, 0) / Math.max(1, has.length);
    f.forEach((x, k) => {
      if (Number.isNaN(x)) return;
      total[k] = (total[k] as number) + (mean > 0 ? x / mean : 0);
      present[k] = (present[k] as number) + 1;
    });
  }
  return total.map((t, k) => ((present[k] as number) > 0 ? t / (present[k] as number) : 1));
}

/** Options of criteria that look at filters one by one. */
export const biasOption: z.ZodType<{ bias: boolean }> = z.strictObject({
  bias: z.boolean().default(false).describe("count the folded bias as one more weight of the filter"),
});

export const norms = (all: readonly SlotNorms[]): Float64Array[] => all.map((s) => s.norms);

/** The reader of folded weights for a scoring run. */
export function weightsFor(context: ScoringContext): FoldedWeights {
  const { types } = context.coupling.typing;
  return new FoldedWeights((v) => types.shape(v) ?? v.shape);
}

/** Tells that a group no constant makes is scored by what reads it. */
export function noteNoProducer(context: ScoringContext, group: string): void {
  context.note({ code: "NO_PRODUCER", about: group, why: "no weight makes its channels; they are scored by the weights that read them" });
}
