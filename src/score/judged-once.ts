/** One judgement for several plans: a budget of time makes one after the other, and sensitivities are measured before the first. */
import type { Group } from "../graph/coupling/groups.js";
import { type Criterion, type Judgement, judgementOf, type Ranking, type Refinement } from "./criterion.js";

/** The same criterion, which judges a model once however often it is planned for. */
export function judgedOnce(criterion: Criterion): Criterion {
  let judgement: Judgement | undefined;
  const ranked = new Map<Group, Ranking>();
  return {
    ...criterion,
    prepare(checked, context) {
      const made = judgement ?? judgementOf(criterion.prepare(checked, context));
      judgement = made;
      return {
        ...made,
        ...(made.block ? { block: (b) => made.block?.(b) } : {}),
        rank(group) {
          const ranking = ranked.get(group) ?? refinedOnce(made.rank(group));
          ranked.set(group, ranking);
          return ranking;
        },
      };
    },
  };
}

/** The same ranking, which looks again once at any channels, however many plans let just these leave. */
function refinedOnce(ranking: Ranking): Ranking {
  const refine = (ranking as Ranking | undefined)?.refine;
  if (!refine) return ranking;
  const known = new Map<string, Refinement>();
  return {
    ...ranking,
    refine(gone, kinds) {
      const key = `${gone}|${kinds}`;
      const refined = known.get(key) ?? refine.call(ranking, gone, kinds);
      known.set(key, refined);
      return refined;
    },
  };
}
