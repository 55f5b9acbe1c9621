/** row-column: rows (filters) and columns (input channels × taps) of weight matrices leave, so that a given share of each is left. */
import { z } from "zod";
import type { Node } from "../graph/graph.js";
import { METHODS } from "../score/row-column/solve.js";
import { definePass, type Figures } from "./pass.js";
import { emit, formsByEstimate, formsByTime, type Job, oracle, type Sliced, slice, windowsFor } from "./row-column/carry-out.js";
import { type Decision, decide, powerRequests } from "./row-column/decide.js";
import { FORMS, type Form, formsOf, storedOf } from "./row-column/forms.js";

const options = z.strictObject({
  sparsity: z.number().gt(0).lt(1).describe("share of the weights of each layer (scope global: of all) that leaves"),
  method: z
    .enum(METHODS)
    .default("sa-shape")
    .describe(
      "im: lightest rows and columns; sr: lightest rows, then residual columns; sa-fixed, sa-shape: simulated annealing from there",
    ),
  saliency: z.enum(["abs", "square", "data"]).default("abs").describe("what a weight counts: |w|, w², or w²·E[x²], which looks at samples"),
  unit: z.enum(["element", "channel", "tap"]).default("element").describe("what a column is: one tap of one channel, a channel, or a tap"),
  scope: z
    .enum(["layer", "global"])
    .default("layer")
    .describe("every layer to the same sparsity, or one budget for all, by the loss of each"),
  rows: z
    .enum(["coupled", "group", "expand", "keep"])
    .default("coupled")
    .describe(
      "coupled: filters leave with their channel where one layer makes it; group: also where layers add, the same in all; expand: there put back as zeros; keep: columns alone",
    ),
  form: z
    .enum(["auto", "timed", ...FORMS])
    .default("auto")
    .describe(
      "how a layer without columns is written (auto: of those that `prefer` allows, the fastest by a model of costs, the same in every run; timed: the fastest on your runtime, which may differ from run to run)",
    ),
  prefer: z
    .enum(["parameters", "bytes", "speed"])
    .default("parameters")
    .describe("forms that store no weight too many; the smallest; or any that makes the file smaller"),
  skip: z.array(z.string()).default([]).describe("layers left as they are, by node name"),
});
export type RowColumnOptions = z.output<typeof options>;

interface Made {
  readonly decision: Decision;
  /** By output of a layer; undefined: by estimate. */
  readonly forms: ReadonlyMap<string, Form> | undefined;
}

/**
 * Prunes rows and columns of the weight matrices of Conv, Gemm and MatMul, which in the rest are dense (score/row-column/problem.ts).
 *
 * A row that leaves takes its channel out of all consumers, as any removed filter does. A column leaves in one of four forms
 * (row-column/forms.ts), none of which computes with zeros it need not. Layers in groups keep their rows; depthwise and transposed
 * convolutions stay. Saliencies count batch normalisation that follows. The result must equal, and in every run is checked to, the
 * same graph with zeros for the columns and the channels made ineffective.
 *
 * @see Tu, "Approximation Algorithms and Simulated Annealing Heuristics for Row-and-Column Pruning of DNNs", NTU 2024. Its problem is from
 *   the public abstract; algorithms, annealing moves, global scope, what becomes of residual sums and all forms in ONNX are ours.
 */
export const rowColumn = definePass<RowColumnOptions>({
  name: "row-column",
  summary: "remove rows and columns of weight matrices, chosen by approximation or simulated annealing",
  options,
  effect: "weights",

  needs: ({ saliency }) => (saliency === "data" ? ["activations"] : ["weights"]),
  statistics: ({ saliency, skip }, model) => (saliency === "data" ? powerRequests(model, skip) : []),

  async decide(model, context, openRunner): Promise<Made> {
    const decision = decide(model, context.options, context);
    const { form, prefer } = context.options;
    return { decision, forms: form === "timed" ? await formsByTime(slice(model, decision), prefer, await openRunner()) : undefined };
  },

  run(model, context) {
    const { note, seed, statistics } = context;
    const made = context.decision as Made | undefined;
    const decision = made?.decision ?? decide(model, context.options, { seed, statistics, note });
    const sliced = slice(model, decision);
    const { form, prefer } = context.options;
    const chosen = made?.forms ?? (form === "auto" || form === "timed" ? formsByEstimate(sliced, prefer) : formsAs(sliced, form));
    const before = new Map(model.graph.nodes.map((n) => [n.outputs[0]?.name, bytesOf(n)]));
    context.figures(sliced.jobs.map((job) => figuresOf(job, chosen.get(job.decision.output) as Form, before)));
    if (decision.layers.every((l) => l.kept === l.cells)) return false;
    for (const { decision: d, work } of sliced.jobs) {
      if (form !== "mask" && chosen.get(d.output) === "mask" && storedOf(work, "mask") > d.kept)
        note({ code: "LAYER_DENSE", about: d.label, why: "its columns stay as zeros: every other form would take more bytes" });
    }
    emit(sliced, chosen);
    context.removed(sliced.slices);
    model.graph = sliced.model.graph;
    return true;
  },

  oracle: (before, chosen, decision) =>
    oracle(before, (decision as Made | undefined)?.decision ?? decide(before, chosen, { seed: 0, note: () => undefined })),
});

/** The form asked for, where the layer has it: a layer of one tap has no smaller kernel. */
function formsAs(sliced: Sliced, form: Form): Map<string, Form> {
  return new Map(
    sliced.jobs.map(({ decision, work }) => {
      const has = formsOf(work, windowsFor(sliced, work));
      return [decision.output, has.includes(form) ? form : form === "mask" ? "mask" : "channels"];
    }),
  );
}

function figuresOf({ decision, work }: Job, form: Form, before: ReadonlyMap<string | undefined, number>): Figures {
  const { label, op, shape, left, cost, total, bound } = decision;
  return {
    layer: label,
    op,
    matrix: `${shape[0]} × ${shape[1]}`,
    left: `${left[0]} × ${left[1]}`,
    "f / T": total > 0 ? round(cost / total) : 0,
    "f / bound": bound > 0 ? round(cost / bound) : 1,
    form: work.kept.every((x) => x === 1) ? "dense" : form,
    "weight bytes before": before.get(decision.output) as number,
    "weight bytes after": storedOf(work, form) * elementBytes(work.node),
  };
}

/** Bytes of the weight. */
function bytesOf(node: Node): number {
  return node.inputs[1]?.constant?.byteLength ?? 0;
}
function elementBytes(node: Node): number {
  return bytesOf(node) / (node.inputs[1]?.constant?.size ?? 1);
}
function round(x: number): number {
  return Math.round(1e4 * x) / 1e4;
}
