/** What stands before every plan: channels are followed through local functions and settled branches, which are put in place. */
import type { Model } from "../graph/graph.js";
import { everyNode } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import { inlineBranches } from "./inline-branches.js";
import { inlineFunctions } from "./inline-functions.js";
import { runPass } from "./run-pass.js";

export interface Prepared {
  /** The very model that was given, where there was nothing to do. */
  readonly model: Model;
  readonly notes: readonly Note[];
}

/**
 * `model` as plans see it: calls of local functions and Ifs with a known condition replaced by their bodies. Deterministic,
 * so that a plan made from a file names the groups that carrying it out finds.
 */
export function prepare(model: Model): Prepared {
  const { model: flat, changed, notes } = withoutFunctions(model);
  const hasBranches = [...everyNode(flat.graph)].some((n) => n.isStandard && n.opType === "If");
  const settled = hasBranches ? runPass(inlineBranches, flat) : undefined;
  const all: Note[] = [...notes];
  if (changed) all.push({ code: "FUNCTIONS_INLINED", about: "the model", why: "local functions were put where they are called" });
  if (settled?.changed)
    all.push({
      code: "BRANCHES_INLINED",
      about: "the model",
      why: "each If whose condition is always the same was replaced by the branch it takes",
    });
  return { model: settled?.model ?? flat, notes: all };
}

/** `model` with its calls of local functions put in place: what costs are counted on. */
export function withoutFunctions(model: Model): Prepared & { readonly changed: boolean } {
  return model.functions.length > 0 ? runPass(inlineFunctions, model) : { model, changed: false, notes: [] };
}
