/** low-rank: layers become two thin ones, so that a budget is met. */
import { z } from "zod";
import { ConfigError, internal } from "../errors.js";
import { kernelsOf } from "../score/low-rank/factors.js";
import type { Target } from "../score/target.js";
import { candidatesOf } from "./low-rank/candidates.js";
import { type Decision, decider, type LayerDecision } from "./low-rank/decide.js";
import { emit, oracle } from "./low-rank/emit.js";
import { definePass, type Figures } from "./pass.js";

const fraction = (of: string) =>
  z.number().gt(0).max(1).optional().describe(`fraction of the original's ${of} to keep (default: what the run's budget says)`);

const options = z.strictObject({
  macs: fraction("multiply-accumulates"),
  params: fraction("parameters"),
  bytes: fraction("bytes"),
  saliency: z
    .enum(["data", "weights"])
    .default("data")
    .describe("what is lost counts by how much it varies on samples, or by the weights alone"),
  skip: z.array(z.string()).default([]).describe("layers left as they are, by node name"),
});
export type LowRankOptions = z.output<typeof options>;

/**
 * Puts two layers in the place of one Conv, Gemm or MatMul, with fewer channels between them than would carry everything: of a 3 × 3 convolution
 * one of 3 × 1 and one of 1 × 3 (or the other way round), or one of 3 × 3 and one of 1 × 1, whichever keeps most for what it costs. What is
 * kept are the principal components of what the layer gives on samples (score/low-rank/factors.ts); ranks of all layers are found together
 * (score/low-rank/ranks.ts). No channel leaves that another layer reads, so residual sums and the like set no bounds. Layers in groups and
 * transposed convolutions stay. The result must equal, and in every run is checked to, the same graph with the products of the
 * factors for weights. `--reconstruct` corrects the second factors (least-squares), or both (joint), afterwards.
 *
 * @see score/low-rank/factors.ts and ranks.ts for sources.
 */
export const lowRank = definePass<LowRankOptions>({
  name: "low-rank",
  summary: "put two thin layers in the place of one, by principal components of what it gives",
  options,
  effect: "weights",
  approximates: true,

  budgets: (o) => (ownOf(o) ? [] : ["macs", "params", "bytes", "latency"]),
  needs: ({ saliency }) => (saliency === "data" ? ["activations"] : ["weights"]),
  statistics: ({ saliency, skip }, model) =>
    candidatesOf(model, { measures: saliency === "data", skip }).flatMap((c) => c.divisions.flatMap((d) => d.request ?? [])),

  decideFor: (model, { options: o, asked, statistics, note }) => {
    if (!asked) throw internal("low-rank was not told of a budget.");
    return decider(model, { skip: o.skip, data: o.saliency === "data", own: ownOf(o) }, asked, statistics, note);
  },

  run(model, context) {
    if (!context.decision) {
      throw new ConfigError("LOW_RANK_ALONE", "low-rank meets a budget of the file that is made, and none was told of here.", {
        hint: "Call it through prune(), which tells passes what is asked.",
      });
    }
    const { layers, budget } = context.decision as Decision;
    context.budget(budget);
    if (layers.length === 0) return false;
    context.figures(layers.map(figuresOf));
    emit(model, layers);
    return true;
  },

  oracle: (before, _, decision) => oracle(before, (decision as Decision).layers),
});

/** Its own budget, if it has one. */
function ownOf({ macs, params, bytes }: LowRankOptions): Target | undefined {
  const given = Object.entries({ macs, params, bytes }).filter(([, fraction]) => fraction !== undefined);
  return given.length > 0 ? Object.fromEntries(given) : undefined;
}

function figuresOf({ label, op, inputs, outputs, kernel, split, rank, kept }: LayerDecision): Figures {
  const { first, second } = kernelsOf(kernel, split);
  const form = (k: readonly number[]) => (k.length === 0 ? "" : ` of ${k.join(" × ")}`);
  return {
    layer: label,
    op,
    whole: `${inputs} → ${outputs}${form(kernel)}`,
    first: `${inputs} → ${rank}${form(first)}`,
    second: `${rank} → ${outputs}${form(second)}`,
    "variance kept": Math.round(1e4 * kept) / 1e4,
  };
}
