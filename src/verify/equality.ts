/** Whether two graphs compute the same: both are run, and the first value that differs is named. */

import { ModelError, VerificationError } from "../errors.js";
import { cloneModel } from "../graph/clone.js";
import type { Kept } from "../graph/coupling/choices.js";
import type { Coupling } from "../graph/coupling/groups.js";
import { isFloat } from "../graph/dtype.js";
import type { Model, Value } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";
import type { Equality } from "../report.js";
import type { Feeds, LoadOptions, Runner } from "../runtime/runner.js";
import { bisect } from "./bisect.js";
import { difference } from "./difference.js";
import { runAll } from "./pieces.js";

/** Relative error allowed between graphs that must be equal, by the narrowest float type the model computes in. */
export function toleranceOf(model: Model): number {
  let worst = 1e-5;
  for (const v of model.graph.values) {
    const dtype = v.constant?.dtype ?? v.dtype;
    if (dtype === "float16") worst = Math.max(worst, 5e-3);
    else if (dtype === "bfloat16") worst = Math.max(worst, 4e-2);
  }
  return worst;
}

export interface EqualityRequest {
  readonly what: string;
  readonly reference: Model;
  readonly candidate: Model;
  readonly feeds: readonly Feeds[];
  /** The graph before any of this, to show that the check had something to see. */
  readonly original?: Model;
  /** How axes of the reference's values relate to the candidate's, to name the first value that differs. */
  readonly removal?: { readonly coupling: Coupling; readonly kept: Kept };
  readonly optimization?: NonNullable<LoadOptions["optimization"]>;
}

/**
 * Runs both graphs on all feeds. The result says how far they agree; it does not throw on a difference.
 * @throws VerificationError when an output had no finite number in any run: NaN agrees with NaN whatever the graphs are.
 */
export async function checkEquality(runner: Runner, request: EqualityRequest): Promise<Equality> {
  const optimization = request.optimization ?? "disabled";
  const tolerance = toleranceOf(request.reference);
  const bounded = boundedOutputs(request);
  const outputs = (model: Model, role: string) =>
    inRole(role, () => runAll(runner, withOutputs(model, bounded.values()), request.feeds, { optimization }));
  const reference = await outputs(request.reference, "the reference (the graph before this step, or the oracle)");
  const candidate = await outputs(request.candidate, "the changed graph");
  const maxRel = worstOf(candidate, reference, bounded);
  const ok = maxRel <= tolerance;
  const blind = ok ? unseen(reference) : undefined;
  if (blind !== undefined) {
    throw new VerificationError(
      "VERIFY_NOT_FINITE",
      `${request.what}: the output "${blind}" had no finite number in any of ${request.feeds.length} runs, so there was nothing to compare.`,
      { at: { value: blind }, hint: "Random inputs may lie outside what the model takes: give --data with real ones." },
    );
  }
  const drift = request.original ? worstOf(await outputs(request.original, "the graph before this step"), reference, bounded) : undefined;
  const first = ok
    ? undefined
    : await bisect(runner, { ...request, feeds: worstFeeds(request.feeds, candidate, reference, bounded), tolerance });
  return {
    what: request.what,
    maxRel,
    tolerance,
    ok,
    runs: request.feeds.length,
    on: `${runner.provider}, optimisation ${optimization}`,
    ...(drift === undefined ? {} : { drift }),
    ...(first ? { firstDifference: first } : {}),
  };
}

/** Activations with values in [-1, 1] that saturate: rounding there says nothing about the graph before them. */
const BOUNDED = new Set(["Sigmoid", "Softmax", "Tanh", "HardSigmoid"]);
/** What an activation may pass through on its way to the output. */
const MOVES = new Set(["Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast"]);

/**
 * Outputs made by a bounded activation, with the value it is applied to. Such an output is judged on the scale of 1, and
 * its pre-activation, on its own scale, is judged too: a saturated sigmoid would otherwise compare noise with noise.
 */
function boundedOutputs({ reference, candidate, original }: EqualityRequest): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const output of reference.graph.outputs) {
    const before = preActivation(output);
    const isEverywhere = before && [candidate, original ?? candidate].every((m) => m.graph.value(before.name) !== undefined);
    if (before && isEverywhere && before.constant === undefined && !before.isInput) found.set(output.name, before.name);
  }
  return found;
}

/** What the bounded activation behind `output` is applied to; undefined when there is none. */
export function preActivation(output: Value): Value | undefined {
  let node = output.producer;
  while (node && MOVES.has(node.opType)) node = node.inputs[0]?.producer;
  return node?.isStandard && BOUNDED.has(node.opType) ? node.inputs[0] : undefined;
}

/** A copy of `model` that also gives the named values. */
export function withOutputs(model: Model, names: Iterable<string>): Model {
  const tapped = cloneModel(model);
  for (const name of names) {
    const v = tapped.graph.value(name);
    if (v && !v.isOutput) tapped.graph.addOutput(v);
  }
  return tapped;
}

/** Largest relative difference over all outputs of all runs; Infinity when an output is missing or of another shape. */
function worstOf(
  candidate: readonly Record<string, Tensor>[],
  reference: readonly Record<string, Tensor>[],
  bounded: ReadonlyMap<string, string>,
): number {
  let worst = 0;
  reference.forEach((run, i) => {
    for (const [name, want] of Object.entries(run)) {
      const got = candidate[i]?.[name];
      worst = Math.max(worst, got ? relative(got, want, bounded.has(name) ? 1 : 0) : Number.POSITIVE_INFINITY);
    }
  });
  return worst;
}

/** The feeds whose run differs most. */
function worstFeeds(
  feeds: readonly Feeds[],
  candidate: readonly Record<string, Tensor>[],
  reference: readonly Record<string, Tensor>[],
  bounded: ReadonlyMap<string, string>,
): Feeds {
  const errors = reference.map((run, i) => worstOf(candidate.slice(i, i + 1), [run], bounded));
  return feeds[errors.indexOf(Math.max(...errors))] as Feeds;
}

/** Runs `work`; a refusal by the runtime says which of the graphs at hand it was. */
async function inRole<T>(role: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ModelError) {
      throw new ModelError(error.code, `${error.message} This was ${role}.`, {
        ...(error.hint ? { hint: error.hint } : {}),
        at: error.at,
        cause: error,
      });
    }
    throw error;
  }
}

/** An output that has elements, none of which was ever finite. */
function unseen(runs: readonly Record<string, Tensor>[]): string | undefined {
  return Object.keys(runs[0] ?? {}).find((name) => {
    const seen = runs.map((run) => run[name]).filter((t) => t !== undefined && t.size > 0 && isFloat(t.dtype));
    return seen.length > 0 && seen.every((t) => t?.numbers().every((x) => !Number.isFinite(x)));
  });
}

/** Largest difference over the largest magnitude of `want`, or over `scale` where that is larger. */
export function relative(got: Tensor, want: Tensor, scale = 0): number {
  if (got.dims.length !== want.dims.length || got.dims.some((d, a) => d !== want.dims[a])) return Number.POSITIVE_INFINITY;
  const { maxAbs, maxRel } = difference(got, want);
  if (Number.isNaN(maxRel)) return Number.POSITIVE_INFINITY;
  return scale > 0 ? Math.min(maxRel, maxAbs / scale) : maxRel;
}
