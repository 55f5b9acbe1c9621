/** What stands before every plan: channels are followed through local functions and settled branches, which are put in place. */
import type { Model } from "../graph/graph.js";
import { everyNode } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import { inlineBranches } from "./inline-branches.js";
import { inlineFunctions } from "./inline-functions.js";
import { type PassResult, runPass } from "./run-pass.js";
import { chooseUntied, type Untying, untie } from "./untie.js";

export interface Prepared {
  /** The very model that was given, where there was nothing to do. */
  readonly model: Model;
  /** Matrices that were given to each of their readers, by name. */
  readonly untied: readonly string[];
  readonly notes: readonly Note[];
}

/**
 * `model` as plans see it: calls of local functions and Ifs with a known condition replaced by their bodies, and shared
 * matrices untied: those of a plan, by name, or those that are chosen now. Deterministic, so that a plan made from a file
 * names the groups that carrying it out finds.
 *
 * @throws PlanError PLAN_UNTIED when a matrix of that name is not shared.
 */
export function prepare(model: Model, untied: readonly string[] | Untying): Prepared {
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
  const whole = settled?.model ?? flat;
  const { names, notes: why } = typeof untied === "string" ? chooseUntied(whole, untied) : { names: untied, notes: [] };
  return {
    model: names.length > 0 ? runPass(untie, whole, { values: names }).model : whole,
    untied: names,
    notes: [...all, ...why],
  };
}

/** `model` with its calls of local functions put in place: what costs are counted on. */
export function withoutFunctions(model: Model): PassResult {
  return model.functions.length > 0 ? runPass(inlineFunctions, model) : { model, changed: false, notes: [], figures: [] };
}
