/** random: the yardstick every criterion should beat. */
import { z } from "zod";
import { random as stream } from "../graph/random.js";
import { defineCriterion } from "./criterion.js";

/**
 * Uniform numbers in [0, 1). They depend on the seed and the group's name alone: not on other groups or their order.
 *
 * @see Mittal et al., "Recovering from Random Pruning", WACV 2018, for random channels as a baseline.
 */
export const random = defineCriterion({
  name: "random",
  summary: "chance, from the seed",
  source: 'the usual baseline; Mittal et al., "Recovering from Random Pruning", WACV 2018',
  options: z.strictObject({}),
  needs: ["weights"],
  comparable: true,

  prepare(_, { seed }) {
    return (group) => {
      const next = stream(`${seed}:${group.name}`);
      return { scores: Float64Array.from(group.choices, () => next()) };
    };
  },
});
