/** prune(): the whole flow, from a model to a smaller one with its proof. */
import { BudgetError, ConfigError } from "./errors.js";
import { gatesStep } from "./gates/step.js";
import type { Model } from "./graph/graph.js";
import type { Note } from "./graph/note.js";
import type { Pass } from "./passes/pass.js";
import { findEntry, nameOf } from "./passes/registry.js";
import { removeDead } from "./passes/remove-dead.js";
import { applyPlan, type Removal } from "./passes/remove-filters.js";
import { type Circumstances, checkPassed, parseOptions, runPass } from "./passes/run-pass.js";
import { askedOf, decideInTime, evidence, type PassRequest, type PruneOptions, planOnly } from "./planning.js";
import { pairingOf } from "./recover/pairing.js";
import { Recoveries, type Removed } from "./recover/recoveries.js";
import type { Calibration, RunReport, StepReport } from "./report.js";
import { openRunner } from "./runtime/provider.js";
import type { Runner } from "./runtime/runner.js";
import type { PruningPlan } from "./score/plan.js";
import { type Budget, type Measure, measureOf, type Target } from "./score/target.js";
import { type Claim, prove, requireLabels } from "./verify/prove.js";
import { checkInterface } from "./verify/verify.js";

export { type Calibration, type GatherOptions, gather, type PassRequest, type PruneOptions, planOnly } from "./planning.js";
export type { ProgressEvent, ProofOptions } from "./verify/prove.js";

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
  const recovery = new Recoveries(options);
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
    const stages = schedule(request, options);
    for (const [at, target] of stages.entries()) {
      const started = performance.now();
      const isLast = at === stages.length - 1;
      let step: Awaited<ReturnType<typeof runStep>>;
      try {
        step = await runStep(model, current, request, { ...options, ...(target ? { target } : {}) }, claims, plans);
      } catch (error) {
        // Widths are coarse in small models: what is between need not be met, only the budget itself.
        if (isLast || !(error instanceof BudgetError)) throw error;
        continue;
      }
      steps.push({ ...step.report, milliseconds: Math.round(performance.now() - started) });
      const recovered = await recovery.after(step);
      if (recovered) steps.push(recovered.report);
      current = recovered?.model ?? step.model;
      if (!isLast) continue;
      const gated = step.removal && (await secondStage(model, current, request, step.removal, step.report, options));
      if (!gated) continue;
      steps.push(gated.report);
      claims.push(...gated.claims);
      current = gated.model;
    }
  }
  const report = await prove({ before: model, after: current, steps, plans, claims }, options);
  return { model: current, plans, report };
}

/** Gates, where the criterion's options ask for them. */
async function secondStage(
  original: Model,
  student: Model,
  { entry, options: given }: PassRequest,
  removal: Removal,
  { budget }: Omit<StepReport, "milliseconds">,
  options: PruneOptions,
) {
  if (entry.kind !== "criterion") return undefined;
  const { criterion } = entry;
  const kinds = criterion.gates?.(parseOptions(criterion, given)) ?? "none";
  if (kinds === "none") return undefined;
  const started = performance.now();
  const made = await gatesStep({ pass: criterion.name, kinds, removal, student, budget, original }, options);
  return { ...made, report: { ...made.report, milliseconds: Math.round(performance.now() - started) } };
}

/**
 * The budgets that a criterion meets one after the other, each time judging anew what the steps before left and recovery mended: keep^(1/n),
 * keep^(2/n), …, keep of the original, so that each takes the same share of what is there. Of channels, which are counted in what is there,
 * that share itself.
 */
function schedule({ entry, options: given }: PassRequest, { target, steps = 1 }: PruneOptions): readonly (Target | undefined)[] {
  if (!Number.isInteger(steps) || steps < 1)
    throw new ConfigError("STEPS_RANGE", `A whole number of steps from 1 is expected, but ${steps} came.`);
  if (entry.kind !== "criterion" || !target || steps === 1) return [target];
  if (entry.criterion.decidesAmount?.(parseOptions(entry.criterion, given))) return [target];
  const { measure, keep } = measureOf(target);
  return Array.from({ length: steps }, (_, i) => ({ [measure]: keep ** ((measure === "ratio" ? 1 : i + 1) / steps) }));
}

async function requestOf(pass: PassRequest | string): Promise<PassRequest> {
  return typeof pass === "string" ? { entry: await findEntry(pass), options: {} } : pass;
}

/** Carries out a plan made before: no scores, no decision. */
export async function applyOnly(model: Model, plan: PruningPlan, options: Omit<PruneOptions, "passes" | "target">): Promise<PruneResult> {
  requireLabels(options);
  const recovery = new Recoveries(options);
  const claims: Claim[] = [];
  const started = performance.now();
  const { result, report, removal } = removalStep(model, "remove-filters", plan, claims);
  const steps: StepReport[] = [{ ...report, milliseconds: Math.round(performance.now() - started) }];
  const recovered = await recovery.after({ model: result, removal });
  if (recovered) steps.push(recovered.report);
  const after = recovered?.model ?? result;
  const made = await prove({ before: model, after, steps, plans: [plan], claims }, options);
  return { model: after, plans: [plan], report: made };
}

/** What `tune` corrects, and by what. */
export interface TuneOptions extends Omit<PruneOptions, "passes" | "target"> {
  /** The plan the student was made with: it tells which channels of the teacher are left. Without it, values of equal extents are compared. */
  readonly plan?: PruningPlan | undefined;
}

/**
 * Corrects the weights of `student`, a pruned copy of `teacher`, wherever it came from. Default method: least-squares.
 * @throws ConfigError RECONSTRUCT_NO_DATA without calibration samples, TUNE_UNLIKE when no layer of the student has a partner in the teacher.
 */
export async function tune(teacher: Model, student: Model, options: TuneOptions): Promise<PruneResult> {
  requireLabels(options);
  const { reconstruct = "least-squares", plan } = options;
  const recovery = new Recoveries({ ...options, reconstruct });
  checkInterface(teacher, student);
  const removal = plan && applyPlan(teacher, plan);
  const original = removal?.prepared.model ?? teacher;
  const recovered = await recovery.towards(pairingOf(original, student, removal), student);
  const { left, steps: made } = recovered.report.recovery;
  if (made.length > 0 && made.every((s) => s.layers.length === 0)) {
    throw new ConfigError("TUNE_UNLIKE", `No layer of the student can be compared with the teacher: ${left[0]?.why ?? "it has none"}.`, {
      hint: "Values are matched by name. Where channels were removed, give the --plan they were removed by.",
    });
  }
  const steps = [recovered.report];
  const plans = plan ? [plan] : [];
  const report = await prove({ before: teacher, after: recovered.model, steps, plans, claims: [] }, options);
  return { model: recovered.model, plans, report };
}

async function runStep(
  original: Model,
  model: Model,
  request: PassRequest,
  options: PruneOptions,
  claims: Claim[],
  plans: PruningPlan[],
): Promise<Removed & { report: Omit<StepReport, "milliseconds"> }> {
  const { entry } = request;
  if (entry.kind === "criterion") {
    const planned = await planOnly(model, request, options, original);
    plans.push(planned.plan);
    const { result, report, removal } = removalStep(model, entry.criterion.name, planned.plan, claims);
    const declined = planned.declined.map((d) => ({ group: d.group.name, why: d.why }));
    return {
      model: result,
      removal,
      report: {
        ...report,
        options: planned.plan.why["options"],
        notes: planned.notes,
        ...(planned.budget ? { budget: planned.budget } : {}),
        declined,
        ...(planned.calibration ? { calibration: planned.calibration } : {}),
      },
    };
  }
  const { pass } = entry;
  if (pass.name === "remove-filters") {
    const { plan } = parseOptions(pass, request.options) as { plan: PruningPlan };
    plans.push(plan);
    const { result, report, removal } = removalStep(model, pass.name, plan, claims);
    return { model: result, removal, report };
  }
  const told = await circumstances(pass, model, request.options, options, original);
  const { model: next, changed, notes, figures, budget, slices } = runPass(pass, model, request.options, told);
  const { name, oracle } = pass;
  // Measured, where it is one of time; the pass itself predicts.
  const reached = told.budget ?? budget;
  if (changed && pass.effect !== "weights")
    claims.push({ what: `${name}: after against before`, candidate: next, original: model, reference: () => model });
  else if (changed && oracle) {
    const reference = () => oracle(model, parseOptions(pass, request.options), told.decision);
    claims.push({
      what: `${name}: after against the original with what leaves made ineffective`,
      candidate: next,
      original: model,
      changes: true,
      reference,
    });
  }
  return {
    model: next,
    sliced: slices || (changed && pass.approximates) ? { before: model, slices } : undefined,
    report: {
      pass: pass.name,
      options: request.options ?? {},
      changed,
      notes: [...(told.notes ?? []), ...notes],
      ...(reached ? { budget: reached } : {}),
      ...(figures.length > 0 ? { figures } : {}),
      ...(told.calibration ? { calibration: told.calibration } : {}),
    },
  };
}

/** What a pass must know before it runs: statistics of activations, and what it decides with a runtime at hand. */
async function circumstances(
  pass: Pass,
  model: Model,
  given: unknown,
  options: PruneOptions,
  original: Model,
): Promise<Circumstances & { readonly calibration?: Calibration; readonly notes?: readonly Note[]; readonly budget?: Budget }> {
  const checked = parseOptions(pass, given);
  requireBudget(pass, pass.budgets?.(checked) ?? [], options.target ?? {});
  const seed = options.seed ?? 0;
  const wanted = pass.statistics?.(checked, model) ?? [];
  const seen =
    wanted.length > 0
      ? await evidence(model, { name: pass.name, needs: pass.needs?.(checked) ?? [] }, wanted, options, model === original)
      : undefined;
  const told = { seed, asked: askedOf(original, options), ...seen };
  const notes: Note[] = [];
  const note = (n: Note) => void notes.push(n);
  const context = { ...told, options: checked, note, budget: () => undefined, figures: () => undefined, removed: () => undefined };
  if (pass.decideFor) {
    const decide = pass.decideFor(model, context);
    // A budget of its own is none of time.
    const isTimed = options.target?.latency !== undefined && (pass.budgets?.(checked) ?? []).includes("latency");
    if (!isTimed) return { ...told, decision: decide(told.asked), notes };
    const carryOut = (decision: unknown) => runPass(pass, model, given, { ...told, decision }).model;
    return { ...told, ...(await decideInTime(original, options, note, decide, carryOut)), notes };
  }
  if (!pass.decide || options.check === "none") return told;
  let opened: Promise<Runner> | undefined;
  const open = () => {
    opened ??= openRunner(options.ep ?? "auto", { threads: options.threads, device: options.device });
    return opened;
  };
  try {
    return { ...told, decision: await pass.decide(model, context, open), notes };
  } finally {
    await (await opened)?.close();
  }
}

/** Before anything is measured for it. */
function requireBudget({ name }: Pass, budgets: readonly Measure[], target: Target): void {
  if (budgets.length === 0) return;
  const { measure } = measureOf(target);
  if (budgets.includes(measure)) return;
  throw new ConfigError("TARGET_KIND", `${name} meets a budget of ${budgets.join(" or ")}, but --${measure} came.`, {
    hint: `Give one of ${budgets.map((b) => `--${b}`).join(", ")}; or, where other passes need --${measure}, ${name} a budget of its own, as an option.`,
  });
}

/** Applies a plan, cleans up what nothing reads any more, and claims equality with the oracle. */
function removalStep(
  model: Model,
  name: string,
  plan: PruningPlan,
  claims: Claim[],
): { result: Model; removal: Removal; report: Omit<StepReport, "milliseconds"> } {
  const removal = applyPlan(model, plan);
  const { model: prepared, notes } = removal.prepared;
  if (prepared !== model)
    claims.push({
      what: "functions, branches and untied matrices put in place: after against before",
      candidate: prepared,
      original: model,
      reference: () => model,
    });
  const { bypass } = removal;
  const whole = bypass?.model ?? prepared;
  if (bypass) {
    checkPassed(`${name} (blocks)`, prepared, whole);
    claims.push({
      what: `${name}: the original without blocks against the original in which their branches give nothing`,
      candidate: whole,
      original: prepared,
      changes: true,
      reference: () => bypass.oracle(),
    });
  }
  if (removal.source !== whole) checkPassed(`${name} (merging)`, whole, removal.source);
  checkPassed(name, removal.source, removal.result);
  const result = runPass(removeDead, removal.result).model;
  result.sha256 = undefined;
  const groups = removal.coupling.groups.map((g) => ({
    name: g.name,
    of: g.choices.length,
    kept: g.choices.filter((c) => !removal.kept.isRemoved(c)).length,
  }));
  const isSliced = groups.some((g) => g.kept < g.of);
  claims.push({
    what: `${name}: pruned against the ${plan.merges.length > 0 ? "merged " : ""}original ${bypass ? "without the blocks, " : ""}with the removed slices made ineffective`,
    candidate: result,
    original: removal.source,
    removal,
    // Where only blocks leave, slicing has nothing to show.
    changes: isSliced || !bypass,
    reference: () => removal.oracle(),
  });
  const blocks = bypass?.blocks.map((b) => ({ name: b.name, nodes: b.nodes.length }));
  const changed = isSliced || bypass !== undefined;
  return { result, removal, report: { pass: name, options: { plan: "see plans" }, changed, notes, groups, ...(blocks ? { blocks } : {}) } };
}
