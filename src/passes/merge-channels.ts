/** merge-channels: hands what readers make of some channels to others, so that the former can leave. */
import { z } from "zod";
import { findGroups } from "../graph/coupling/groups.js";
import { applyMerges } from "../score/merge.js";
import { definePass } from "./pass.js";

/**
 * W[:, into] += scale·W[:, from] in every consumer of the group, in the order given. Where channel `from` is scale times
 * channel `into`, the sum over both is then twice counted: it is made to be followed by the removal of `from`.
 *
 * @throws PlanError when a group or channel does not exist.
 */
export const mergeChannels = definePass({
  name: "merge-channels",
  summary: "add the outgoing weights of channels to those of others, before the former are removed",
  options: z.strictObject({
    merges: z
      .array(
        z.strictObject({
          group: z.string().describe("a group as `onnx-prune inspect` names it"),
          from: z.int().min(0).describe("the channel that will leave"),
          into: z.int().min(0).describe("the channel that takes over"),
          scale: z.number().default(1).describe("factor on the weights taken over"),
        }),
      )
      .default([]),
  }),
  effect: "weights",

  run(model, { options }) {
    if (options.merges.length === 0) return false;
    model.graph = applyMerges(model, options.merges, findGroups(model)).graph;
    return true;
  },
});
