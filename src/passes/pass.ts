/** A pass: one named rewrite of a model. */
import type { z } from "zod";
import type { Model } from "../graph/graph.js";
import type { Note } from "../graph/note.js";

export interface PassContext<O> {
  readonly options: O;
  /** Says why something was left alone, or what a user should know. */
  note(note: Note): void;
}

/**
 * A rewrite that keeps the function of the model (cleaning), or changes it in a declared way.
 *
 * `run` gets a private copy of the model and changes it in place; tensors are immutable and shared. It returns whether
 * anything changed, truthfully: an unchanged copy is thrown away.
 */
export interface Pass<O = unknown> {
  /** As typed after --pass: a verb phrase in kebab-case. */
  readonly name: string;
  /** Completes "this pass will …". */
  readonly summary: string;
  /** Schema of the JSON after `--pass name=`. */
  readonly options: z.ZodType<O>;
  /**
   * exact: bit for bit the same function; equal: the same up to rounding (verified ≤ 1e-5); weights: edits weights and
   * changes the function on purpose (merging, recovery), a step of its own before or after removal.
   */
  readonly effect: "exact" | "equal" | "weights";
  run(model: Model, context: PassContext<O>): boolean;
  /**
   * What the result must equal, where the function changes on purpose and it can be said how: made from the model before by
   * other means than `run`. Every run of the pass is then checked against it.
   */
  oracle?(before: Model, options: O): Model;
}

/** Identity that gives the literal its option type. */
export function definePass<O>(pass: Pass<O>): Pass<O> {
  return pass;
}
