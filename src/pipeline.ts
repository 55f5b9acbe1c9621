/** prune(): the whole flow, from a model to a smaller one with its proof. */
import type { Samples } from "./calibrate/samples.js";
import { ConfigError } from "./errors.js";
import { cloneModel } from "./graph/clone.js";
import { encodedSize } from "./graph/codec.js";
import { cost } from "./graph/cost.js";
import type { Model } from "./graph/graph.js";
import { infer } from "./graph/infer.js";
import type { Note } from "./graph/note.js";
import { prepare, withoutFunctions } from "./passes/prepare.js";
import { type Entry, findEntry, nameOf } from "./passes/registry.js";
import { removeDead } from "./passes/remove-dead.js";
import { applyPlan } from "./passes/remove-filters.js";
import { checkPassed, parseOptions, runPass } from "./passes/run-pass.js";
import { retie, type Untying } from "./passes/untie.js";
import type { RunReport, StepReport } from "./report.js";
import { makePlan, type PlanResult } from "./score/budget.js";
import type { PruningPlan } from "./score/plan.js";
import type { Measure, Target } from "./score/target.js";
import { type Claim, costOptions, type ProofOptions, prove, requireLabels } from "./verify/prove.js";

export type { ProgressEvent, ProofOptions } from "./verify/prove.js";

export interface PassRequest {
  readonly entry: Entry;
  /** Raw options, checked against the schema of the pass. */
  readonly options: unknown;
}

export interface PruneOptions extends ProofOptions {
  /** Run in the order given; a name stands for a pass with its default options, a path for a module (registry.ts). */
  readonly passes: readonly (PassRequest | string)[];
  /** Needed when a criterion is among the passes. */
  readonly target?: Target;
  readonly scope?: "local" | "global";
  readonly align?: number | "auto";
  /** Shared matrices that get a copy per reader (passes/untie.ts). Default "auto". */
  readonly untie?: Untying;
  /** Groups or nodes left whole. */
  readonly exclude?: readonly string[];
  /** Samples that statistics are taken from; never those of `data`. */
  readonly calibration?: Samples | undefined;
}

export interface PruneResult {
  readonly model: Model;
  readonly plans: readonly PruningPlan[];
  readonly report: RunReport;
}

/**
 * Runs the passes on `model` and proves the result.
 *
 * Every cleaning step must equal the graph before it; every removal must equal the exact oracle (the graph before it
 * with the removed slices made ineffective); weight edits change the function on purpose and are steps of their own.
 *
 * @throws BudgetError (3) when the budget or --max-drop is not met, VerificationError (4) when a check fails.
 */
export async function prune(model: Model, options: PruneOptions): Promise<PruneResult> {
  if (options.passes.length === 0)
    throw new ConfigError("PASS_NONE", "At least one --pass is expected.", {
      hint: "`onnx-prune passes` lists them; e.g. --pass l1 --macs 0.5.",
    });
  requireLabels(options);
  const steps: StepReport[] = [];
  const plans: PruningPlan[] = [];
  const claims: Claim[] = [];
  let current = model;
  const requests = await Promise.all(options.passes.map(requestOf));
  for (const [i, request] of requests.entries()) {
    options.onProgress?.({ phase: nameOf(request.entry), done: i, total: requests.length });
    // Planning is one long computation: let signals and the progress bar through before it.
    await new Promise((resume) => setImmediate(resume));
    options.signal?.throwIfAborted();
    const started = performance.now();
    const step = runStep(model, current, request, options, claims, plans);
    steps.push({ ...step.report, milliseconds: Math.round(performance.now() - started) });
    current = step.model;
  }
  const report = await prove({ before: model, after: current, steps, plans, claims }, options);
  return { model: current, plans, report };
}

async function requestOf(pass: PassRequest | string): Promise<PassRequest> {
  return typeof pass === "string" ? { entry: await findEntry(pass), options: {} } : pass;
}

/** Carries out a plan made before: no scores, no decision. */
export async function applyOnly(model: Model, plan: PruningPlan, options: Omit<PruneOptions, "passes" | "target">): Promise<PruneResult> {
  requireLabels(options);
  const claims: Claim[] = [];
  const started = performance.now();
  const { result, report } = removalStep(model, "remove-filters", plan, claims);
  const steps = [{ ...report, milliseconds: Math.round(performance.now() - started) }];
  const made = await prove({ before: model, after: result, steps, plans: [plan], claims }, options);
  return { model: result, plans: [plan], report: made };
}

/**
 * The decision alone. Budgets are fractions of what `original` costs: in a run of several passes, of its input.
 * @throws ConfigError when the request is not a criterion.
 */
export function planOnly(
  model: Model,
  request: PassRequest,
  options: PruneOptions,
  original: Model = model,
): PlanResult & { readonly notes: readonly Note[] } {
  if (request.entry.kind !== "criterion") {
    throw new ConfigError("PLAN_NEEDS_CRITERION", `"${nameOf(request.entry)}" rewrites; only a criterion makes a plan.`, {
      hint: "`onnx-prune passes` tells which are criteria, e.g. l1.",
    });
  }
  const { criterion } = request.entry;
  if (!options.target)
    throw new ConfigError("TARGET_COUNT", `"${criterion.name}" needs a budget.`, {
      hint: "Give one of --ratio, --macs, --params, --bytes.",
    });
  const notes: Note[] = [];
  const prepared = prepare(model, options.untie ?? "auto");
  const result = makePlan(prepared.model, {
    criterion,
    options: parseOptions(criterion, request.options),
    target: options.target,
    scope: options.scope ?? "global",
    align: options.align ?? "auto",
    seed: options.seed ?? 0,
    exclude: options.exclude ?? [],
    original,
    measure: (m, what) => measured(m, what, options),
    note: (n) => notes.push(n),
  });
  return { ...result, plan: { ...result.plan, untied: [...prepared.untied] }, notes: [...prepared.notes, ...notes] };
}

function runStep(
  original: Model,
  model: Model,
  request: PassRequest,
  options: PruneOptions,
  claims: Claim[],
  plans: PruningPlan[],
): { model: Model; report: Omit<StepReport, "milliseconds"> } {
  const { entry } = request;
  if (entry.kind === "criterion") {
    const planned = planOnly(model, request, options, original);
    plans.push(planned.plan);
    const { result, report } = removalStep(model, entry.criterion.name, planned.plan, claims);
    const declined = planned.declined.map((d) => ({ group: d.group.name, why: d.why }));
    return {
      model: result,
      report: { ...report, options: planned.plan.why["options"], notes: planned.notes, budget: planned.budget, declined },
    };
  }
  const { pass } = entry;
  if (pass.name === "remove-filters") {
    const { plan } = parseOptions(pass, request.options) as { plan: PruningPlan };
    plans.push(plan);
    const { result, report } = removalStep(model, pass.name, plan, claims);
    return { model: result, report };
  }
  const { model: next, changed, notes } = runPass(pass, model, request.options);
  if (changed && pass.effect !== "weights")
    claims.push({ what: `${pass.name}: after against before`, candidate: next, original: model, reference: () => model });
  return { model: next, report: { pass: pass.name, options: request.options ?? {}, changed, notes } };
}

/** Applies a plan, cleans up what nothing reads any more, and claims equality with the oracle. */
function removalStep(
  model: Model,
  name: string,
  plan: PruningPlan,
  claims: Claim[],
): { result: Model; report: Omit<StepReport, "milliseconds"> } {
  const removal = applyPlan(model, plan);
  const { model: prepared, notes } = removal.prepared;
  if (prepared !== model)
    claims.push({
      what: "functions, branches and untied matrices put in place: after against before",
      candidate: prepared,
      original: model,
      reference: () => model,
    });
  if (removal.source !== prepared) checkPassed(`${name} (merging)`, prepared, removal.source);
  checkPassed(name, removal.source, removal.result);
  const result = runPass(removeDead, removal.result).model;
  result.sha256 = undefined;
  claims.push({
    what: `${name}: pruned against the ${plan.merges.length > 0 ? "merged " : ""}original with the removed slices made ineffective`,
    candidate: result,
    original: removal.source,
    removal,
    reference: () => removal.oracle(),
  });
  const groups = removal.coupling.groups.map((g) => ({
    name: g.name,
    of: g.choices.length,
    kept: g.choices.filter((c) => !removal.kept.isRemoved(c)).length,
  }));
  return { result, report: { pass: name, options: { plan: "see plans" }, changed: groups.some((g) => g.kept < g.of), notes, groups } };
}

/** What the file made from a model costs: dead nodes and weights do not reach it. */
function measured(model: Model, what: Exclude<Measure, "ratio">, options: PruneOptions): number {
  const clean = cloneModel(runPass(removeDead, withoutFunctions(model).model).model);
  if ((options.untie ?? "auto") !== "none") retie(clean);
  if (what === "bytes") return encodedSize(clean);
  const c = cost(clean, options.inputShapes ? undefined : infer(clean), costOptions(options));
  return what === "macs" ? c.macs : c.parameters;
}
