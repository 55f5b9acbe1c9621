/** Whether two graphs compute the same: both are run, and the first value that differs is named. */
import type { Kept } from "../graph/coupling/choices.js";
import type { Coupling } from "../graph/coupling/groups.js";
import { cloneModel } from "../graph/clone.js";
import { isFloat } from "../graph/dtype.js";
import type { Model, Value } from "../graph/graph.js";
import type { Tensor } from "../graph/tensor.js";
import type { Equality } from "../report.js";
import type { Feeds, LoadOptions, Runner } from "../runtime/runner.js";
import { difference } from "./difference.js";
import { sourceOf } from "./source.js";

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

/** Runs both graphs on all feeds. The result says how far they agree; it does not throw on a difference. */
export async function checkEquality(runner: Runner, request: EqualityRequest): Promise<Equality> {
  const optimization = request.optimization ?? "disabled";
  const tolerance = toleranceOf(request.reference);
  const outputs = async (model: Model) => {
    const session = await runner.load(sourceOf(model), { optimization });
    try {
      const runs: Record<string, Tensor>[] = [];
      for (const feeds of request.feeds) runs.push(await session.run(feeds));
      return runs;
    } finally {
      await session.release();
    }
  };
  const reference = await outputs(request.reference);
  const candidate = await outputs(request.candidate);
  const maxRel = worstOf(candidate, reference);
  const ok = maxRel <= tolerance;
  const drift = request.original ? worstOf(await outputs(request.original), reference) : undefined;
  const first = ok ? undefined : await firstDifference(runner, request, tolerance);
  return {
    what: request.what, maxRel, tolerance, ok, runs: request.feeds.length, on: `${runner.provider}, optimisation ${optimization}`,
    ...(drift === undefined ? {} : { drift }),
    ...(first ? { firstDifference: first } : {}),
  };
}

/** Largest relative difference over all outputs of all runs; Infinity when an output is missing or of another shape. */
function worstOf(candidate: readonly Record<string, Tensor>[], reference: readonly Record<string, Tensor>[]): number {
  let worst = 0;
  reference.forEach((run, i) => {
    for (const [name, want] of Object.entries(run)) {
      const got = candidate[i]?.[name];
      worst = Math.max(worst, got ? relative(got, want) : Number.POSITIVE_INFINITY);
    }
  });
  return worst;
}

function relative(got: Tensor, want: Tensor): number {
  if (got.dims.length !== want.dims.length || got.dims.some((d, a) => d !== want.dims[a])) return Number.POSITIVE_INFINITY;
  const d = difference(got, want).maxRel;
  return Number.isNaN(d) ? Number.POSITIVE_INFINITY : d;
}

/** Values per session when every one of them becomes an output: bounds memory. */
const VALUES_AT_ONCE = 48;

/** The first float value, in graph order, whose kept part differs between candidate and reference. */
async function firstDifference(runner: Runner, request: EqualityRequest, tolerance: number): Promise<{ value: string; maxRel: number } | undefined> {
  const { reference, candidate, removal } = request;
  const shared: { mine: Value; theirs: Value }[] = [];
  for (const node of reference.graph.nodes) {
    for (const mine of node.outputs) {
      const theirs = mine && candidate.graph.value(mine.name);
      if (mine && theirs && mine.dtype && isFloat(mine.dtype) && mine.constant === undefined) shared.push({ mine, theirs });
    }
  }
  for (let at = 0; at < shared.length; at += VALUES_AT_ONCE) {
    const names = shared.slice(at, at + VALUES_AT_ONCE).map((s) => s.mine.name);
    const [want, got] = [await fetchValues(runner, reference, names, request), await fetchValues(runner, candidate, names, request)];
    for (const name of names) {
      const a = got[name];
      const b = want[name];
      if (!a || !b) continue;
      const maxRel = relative(a, removal ? keptPart(b, name, removal) : b);
      if (maxRel > tolerance) return { value: name, maxRel };
    }
  }
  return undefined;
}

async function fetchValues(runner: Runner, model: Model, names: readonly string[], request: EqualityRequest): Promise<Record<string, Tensor>> {
  const tapped = cloneModel(model);
  for (const name of names) {
    const v = tapped.graph.value(name);
    if (v && !v.isOutput) tapped.graph.addOutput(v);
  }
  const session = await runner.load(sourceOf(tapped), { optimization: "disabled" });
  try {
    return await session.run(request.feeds[0] as Feeds, names.filter((n) => tapped.graph.value(n)));
  } finally {
    await session.release();
  }
}

function keptPart(tensor: Tensor, name: string, removal: { readonly coupling: Coupling; readonly kept: Kept }): Tensor {
  const { typing } = removal.coupling;
  const value = typing.model.graph.value(name);
  const axes = value && typing.axesOf(value);
  if (!axes || axes.length !== tensor.dims.length) return tensor;
  return axes.reduce((t, axis, a) => {
    if (typeof axis.size !== "number" || axis.size !== t.dims[a]) return t;
    const indices = removal.kept.indices(axis);
    return indices ? t.take(a, indices) : t;
  }, tensor);
}
