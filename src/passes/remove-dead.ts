/** remove-dead: what reaches no output is not computed and not stored. */
import { z } from "zod";
import { removeDeadFrom } from "../graph/dead.js";
import type { Model } from "../graph/graph.js";
import { definePass } from "./pass.js";

/**
 * Removes nodes none of whose outputs reach a graph output, and initializers nobody reads, in subgraphs too (graph/dead.ts).
 *
 * Graph inputs stay, read or not: they are the interface. So does an initializer that is the default of an input, which
 * without it callers would have to feed; under IR < 4, where initializers had to be listed as inputs, both go.
 */
export const removeDead = definePass({
  name: "remove-dead",
  summary: "remove nodes and initializers that reach no output",
  options: z.strictObject({}),
  effect: "exact",

  run(model: Model) {
    return removeDeadFrom(model.graph);
  },
});
