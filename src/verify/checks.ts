/** The ways to prove a removal that do not trust one another. */

import { Kept } from "../graph/coupling/choices.js";
import { findGroups } from "../graph/coupling/groups.js";
import { oracleOf } from "../graph/coupling/oracle.js";
import type { Model } from "../graph/graph.js";
import type { Removal } from "../passes/remove-filters.js";
import type { Equality } from "../report.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { compareValues } from "./bisect.js";
import { checkEquality, type EqualityRequest, toleranceOf } from "./equality.js";
import { maskedOf } from "./masked.js";
import { poison } from "./poison.js";
import { unzeroed, zeroRemoved } from "./zero.js";

/**
 * oracle: outputs equal those of the original with a Gather of what is kept before each sum;
 * values: so does every value in between, at its kept positions;
 * masked: outputs equal those of the original with the removed terms of each sum multiplied by 0 (finds an op that is
 *   said to sum and does not);
 * poison: outputs stay what they are when every removed parameter is huge (finds a member that a group misses);
 * zero: outputs equal those of the whole original with every removed parameter 0 (reads groups alone).
 */
export const CHECKS = ["oracle", "values", "masked", "poison", "zero"] as const;
export type CheckName = (typeof CHECKS)[number];

export interface CheckResult {
  readonly check: CheckName;
  /** Absent when skipped. */
  readonly equality?: Equality;
  /** Why the check says nothing about this removal. */
  readonly skipped?: string;
  /** Parameters that were set (poison, zero), or values compared (values). */
  readonly count?: number;
}

export interface CheckRequest {
  readonly removal: Pick<Removal, "source" | "coupling" | "kept" | "oracle">;
  /** The pruned graph on trial; its values have the names they had in the original. */
  readonly candidate: Model;
  readonly feeds: readonly Feeds[];
  /** What the two are called in reports, e.g. the file names. */
  readonly names?: { readonly original: string; readonly pruned: string };
}

/**
 * Runs one check. The result says how far the graphs agree; it does not throw on a difference.
 * @throws VerificationError when an output had no finite number in any run, what the runner throws for a graph it refuses.
 */
export async function checkRemoval(runner: Runner, check: CheckName, request: CheckRequest): Promise<CheckResult> {
  const { removal, candidate, feeds, names = { original: "the original", pruned: "the pruned graph" } } = request;
  const { coupling, kept } = removal;
  const against = async (reference: Model, how: string, more: Partial<EqualityRequest> = {}, count?: number): Promise<CheckResult> => ({
    check,
    equality: await checkEquality(runner, {
      what: `${names.pruned} against ${names.original} with ${how}`,
      reference,
      candidate,
      feeds,
      removal,
      ...more,
    }),
    ...(count === undefined ? {} : { count }),
  });
  switch (check) {
    case "oracle":
      return against(removal.oracle(), "the removed slices made ineffective", { original: removal.source });
    case "values":
      return everyValue(runner, request, names);
    case "masked": {
      const masked = maskedOf(coupling.typing, kept, "first") ?? maskedOf(coupling.typing, kept, "last");
      if (!masked) return { check, skipped: "an operand of a sum has no numeric extents" };
      return against(masked, "the removed terms of each sum set to zero");
    }
    case "poison": {
      const { model, count } = poison(coupling, kept);
      if (count === 0) return { check, skipped: "no float parameter lies on a removed channel alone" };
      const sick = findGroups(model);
      const same = new Kept(sick.typing.system, sick.choices, removedChoices(removal));
      return against(oracleOf(sick.typing, same), `${count} removed parameters made huge, and their slices ineffective`, {}, count);
    }
    case "zero": {
      const zeroed = zeroRemoved(coupling, kept);
      const { model, count } = zeroed;
      if (count === 0) return { check, skipped: "no float parameter lies on a removed channel alone" };
      const [loud] = await unzeroed(runner, coupling, kept, zeroed, feeds[0] as Feeds);
      if (loud) return { check, skipped: `removed channels are not zero where ${loud.opType} "${loud.label}" sums over them`, count };
      return against(model, `${count} removed parameters set to zero`, {}, count);
    }
    default:
      return check satisfies never;
  }
}

async function everyValue(
  runner: Runner,
  { removal, candidate, feeds }: CheckRequest,
  names: { readonly original: string; readonly pruned: string },
): Promise<CheckResult> {
  const reference = removal.oracle();
  const tolerance = toleranceOf(reference);
  const { count, maxRel, first } = await compareValues(runner, { reference, candidate, feeds: feeds[0] as Feeds, tolerance, removal });
  const what = `every value of ${names.pruned} against ${names.original} with the removed slices made ineffective`;
  const on = `${runner.provider}, optimisation disabled`;
  const ok = maxRel <= tolerance;
  return { check: "values", count, equality: { what, maxRel, tolerance, runs: 1, on, ok, ...(first ? { firstDifference: first } : {}) } };
}

/** Numbers of the choices that a removal takes. */
export function removedChoices({ coupling, kept }: Pick<Removal, "coupling" | "kept">): number[] {
  return Array.from({ length: coupling.choices.count }, (_, c) => c).filter((c) => kept.isRemoved(c));
}
