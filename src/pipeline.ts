/** prune(): the whole flow, from a model to a smaller one with its proof. */
import type { Samples } from "./calibrate/samples.js";
import { BudgetError, ConfigError } from "./errors.js";
import { encodedSize } from "./graph/codec.js";
import { cost } from "./graph/cost.js";
import type { Model } from "./graph/graph.js";
import { infer } from "./graph/infer.js";
import type { Note } from "./graph/note.js";
import { type Entry, findEntry, nameOf } from "./passes/registry.js";
import { removeDead } from "./passes/remove-dead.js";
import { applyPlan, type Removal } from "./passes/remove-filters.js";
import { checkPassed, parseOptions, runPass } from "./passes/run-pass.js";
import type { AccuracyFigures, CostFigures, Equality, RunReport, StepReport } from "./report.js";
import { openRunner } from "./runtime/provider.js";
import type { Feeds, Runner, Session } from "./runtime/runner.js";
import { makePlan, type PlanResult } from "./score/budget.js";
import type { PruningPlan } from "./score/plan.js";
import type { Measure, Target } from "./score/target.js";
import { type Accuracy, compare } from "./verify/accuracy.js";
import { checkEquality } from "./verify/equality.js";
import { randomFeeds } from "./verify/feeds.js";
import { compareLatency } from "./verify/latency.js";
import { sourceOf } from "./verify/source.js";
import { checkInterface, checkLoads, requireEquality, requireLoads } from "./verify/verify.js";
import { version } from "./version.js";

export interface PassRequest {
  readonly entry: Entry;
  /** Raw options, checked against the schema of the pass. */
  readonly options: unknown;
}

export interface ProgressEvent {
  readonly phase: string;
  readonly done: number;
  readonly total: number;
}

export interface PruneOptions {
  /** Run in the order given; a name stands for a pass with its default options, a path for a module (registry.ts). */
  readonly passes: readonly (PassRequest | string)[];
  /** Needed when a criterion is among the passes. */
  readonly target?: Target;
  readonly scope?: "local" | "global";
  readonly align?: number | "auto";
  /** Groups or nodes left whole. */
  readonly exclude?: readonly string[];
  readonly seed?: number;
  /** Held-out samples: accuracy of both graphs. */
  readonly data?: Samples | undefined;
  readonly ep?: "auto" | "cuda" | "cpu" | "webgpu" | "wasm";
  readonly threads?: number;
  readonly batch?: number;
  /** A second runtime on which the result must be equal too. */
  readonly verifyWith?: "wasm" | undefined;
  readonly latency?: boolean;
  /** Highest loss of top-1 accuracy, in percentage points. */
  readonly maxDrop?: number | undefined;
  /** "none" runs no ONNX Runtime at all: the result is then unproven, and the report says so. */
  readonly check?: "full" | "none";
  /** Numeric shapes of inputs with symbolic extents, for checks, cost and latency. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (event: ProgressEvent) => void;
}

export interface PruneResult {
  readonly model: Model;
  readonly plans: readonly PruningPlan[];
  readonly report: RunReport;
}

/** A check that waits until a runner is open: the two graphs that must agree after a step. */
interface Claim {
  readonly what: string;
  readonly candidate: Model;
  readonly original: Model;
  readonly removal?: Removal;
  reference(): Model;
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
  if (options.maxDrop !== undefined && !options.data?.labels) {
    const came = options.data ? `${options.data.source} has none` : "no data were given";
    throw new ConfigError("MAX_DROP_NEEDS_LABELS", `A highest loss of accuracy (${options.maxDrop} points) needs labels, but ${came}.`, {
      hint: "Give --data with labels, held out: what the model was not trained or calibrated on.",
    });
  }
  const steps: StepReport[] = [];
  const plans: PruningPlan[] = [];
  const claims: Claim[] = [];
  let current = model;
  const requests = await Promise.all(options.passes.map(requestOf));
  for (const [i, request] of requests.entries()) {
    progress(options, nameOf(request.entry), i, options.passes.length);
    // Planning is one long computation: let signals and the progress bar through before it.
    await new Promise((resume) => setImmediate(resume));
    options.signal?.throwIfAborted();
    const started = performance.now();
    const step = runStep(model, current, request, options, claims, plans);
    steps.push({ ...step.report, milliseconds: Math.round(performance.now() - started) });
    current = step.model;
  }
  return finish(model, current, plans, steps, claims, options);
}

async function requestOf(pass: PassRequest | string): Promise<PassRequest> {
  return typeof pass === "string" ? { entry: await findEntry(pass), options: {} } : pass;
}

/** Carries out a plan made before: no scores, no decision. */
export async function applyOnly(model: Model, plan: PruningPlan, options: Omit<PruneOptions, "passes" | "target">): Promise<PruneResult> {
  const claims: Claim[] = [];
  const started = performance.now();
  const { result, report } = removalStep(model, "remove-filters", plan, claims);
  const steps = [{ ...report, milliseconds: Math.round(performance.now() - started) }];
  return finish(model, result, [plan], steps, claims, { ...options, passes: [] });
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
  const result = makePlan(model, {
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
  return { ...result, notes };
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
  if (removal.source !== model) checkPassed(`${name} (merging)`, model, removal.source);
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
  return { result, report: { pass: name, options: { plan: "see plans" }, changed: groups.some((g) => g.kept < g.of), notes: [], groups } };
}

async function finish(
  before: Model,
  after: Model,
  plans: readonly PruningPlan[],
  steps: readonly StepReport[],
  claims: readonly Claim[],
  options: PruneOptions,
): Promise<PruneResult> {
  const started = performance.now();
  checkInterface(before, after);
  const base = {
    format: 1,
    tool: { name: "onnx-prune", version },
    input: before.sha256 === undefined ? {} : { sha256: before.sha256 },
    steps,
    plans,
    cost: { before: figures(before, options), after: figures(after, options) },
  } as const;
  if (options.check === "none") {
    const notes: Note[] = [{ code: "UNPROVEN", about: "the result", why: "checks were switched off: nothing was run" }];
    return {
      model: after,
      plans,
      report: {
        ...base,
        provider: { name: "none", runtime: "none", notes: [] },
        equality: [],
        loads: [],
        notes,
        milliseconds: Math.round(performance.now() - started),
      },
    };
  }
  const providerNotes: string[] = [];
  const runner = await openRunner(options.ep ?? "auto", {
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    onNote: (n) => providerNotes.push(n),
  });
  try {
    const feeds = await feedsOf(before, options);
    const equality = await proveClaims(runner, claims, feeds, options);
    options.signal?.throwIfAborted();
    const loads = await checkLoads(runner, after, feeds[0] as Feeds);
    requireLoads(loads);
    const accuracy = options.data ? await measureAccuracy(runner, before, after, options.data, options) : undefined;
    const latency = (options.latency ?? true) ? await measureLatency(runner, before, after, feeds[0] as Feeds, options) : undefined;
    const report: RunReport = {
      ...base,
      provider: { name: runner.provider, runtime: runner.runtime, notes: providerNotes },
      equality,
      loads,
      ...(accuracy ? { accuracy } : {}),
      ...(latency ? { latency } : {}),
      notes: options.data
        ? []
        : [{ code: "NO_DATA", about: "accuracy", why: "no --data was given: equality is proven, accuracy is not measured" }],
      milliseconds: Math.round(performance.now() - started),
    };
    requireAccuracy(report, options.maxDrop);
    return { model: after, plans, report };
  } finally {
    await runner.close();
  }
}

/** @throws BudgetError ACCURACY_DROP, with the report as details, when top-1 fell by more than `maxDrop` percentage points. */
function requireAccuracy(report: RunReport, maxDrop: number | undefined): void {
  const { before, after } = report.accuracy ?? {};
  if (maxDrop === undefined || before?.top1 === undefined || after?.top1 === undefined) return;
  const drop = 100 * (before.top1 - after.top1);
  if (drop <= maxDrop) return;
  throw new BudgetError(
    "ACCURACY_DROP",
    `Top-1 accuracy fell by ${drop.toFixed(2)} percentage points on ${before.samples} samples, more than --max-drop ${maxDrop} allows.`,
    { hint: "The model was not written. Remove less, try another criterion, or allow a larger drop.", details: report },
  );
}

/** Two random inputs, and one real batch when there is data. */
async function feedsOf(model: Model, options: PruneOptions): Promise<Feeds[]> {
  const seed = options.seed ?? 0;
  const feeds: Feeds[] = [randomFeeds(model, seed + 1, options.inputShapes), randomFeeds(model, seed + 2, options.inputShapes)];
  if (options.data) feeds.push(await options.data.batch(0, Math.min(firstBatch(model), options.data.count)));
  return feeds;
}

/** The batch a model is fixed to, else a few. */
function firstBatch(model: Model): number {
  const n = model.graph.inputs.find((v) => v.constant === undefined)?.shape?.[0];
  return typeof n === "number" && n > 0 ? n : 4;
}

async function proveClaims(runner: Runner, claims: readonly Claim[], feeds: readonly Feeds[], options: PruneOptions): Promise<Equality[]> {
  const results: Equality[] = [];
  const second = options.verifyWith === "wasm" ? await openRunner("wasm", {}) : undefined;
  try {
    for (const [i, claim] of claims.entries()) {
      progress(options, "verify", i, claims.length);
      const { what, candidate, original, removal } = claim;
      const reference = claim.reference();
      const request = { what, reference, candidate, feeds, original, ...(removal ? { removal } : {}) };
      results.push(await checkEquality(runner, request));
      if (second) results.push(await checkEquality(second, { ...request, what: `${what} (second opinion)`, feeds: feeds.slice(0, 1) }));
      requireEquality(results);
    }
  } finally {
    await second?.close();
  }
  progress(options, "verify", claims.length, claims.length);
  return results;
}

async function measureAccuracy(
  runner: Runner,
  before: Model,
  after: Model,
  data: Samples,
  options: PruneOptions,
): Promise<NonNullable<RunReport["accuracy"]>> {
  const found = await withBoth(runner, before, after, (a, b) =>
    compare(a, b, data, {
      batch: options.batch ?? 32,
      onProgress: (done, total) => {
        options.signal?.throwIfAborted();
        progress(options, "accuracy", done, total);
      },
    }),
  );
  const figures = ({ n, top1, top5 }: Accuracy): AccuracyFigures => ({
    samples: n,
    ...(top1 === undefined ? {} : { top1 }),
    ...(top5 === undefined ? {} : { top5 }),
  });
  return { data: data.source, before: figures(found.reference), after: figures(found.candidate), agreement: found.agreement };
}

async function measureLatency(
  runner: Runner,
  before: Model,
  after: Model,
  feeds: Feeds,
  options: PruneOptions,
): Promise<RunReport["latency"]> {
  const found = await withBoth(runner, before, after, (a, b) =>
    compareLatency(a, b, feeds, {
      budget: LATENCY_BUDGET,
      onProgress: (done, total) => {
        progress(options, "latency", done, total);
      },
    }),
  );
  const { provider } = runner;
  const batch = Object.values(feeds)[0]?.dims[0] ?? 1;
  return {
    provider,
    threads: options.threads,
    batch,
    before: found.reference,
    after: found.candidate,
    speedup: { median: 1 / found.ratio.median, low: 1 / found.ratio.high, high: 1 / found.ratio.low },
    rounds: found.rounds,
  };
}

/** Milliseconds spent on timing both graphs. */
const LATENCY_BUDGET = 3000;

/** Runs `work` with sessions of both graphs, optimised as a deployment would be. */
async function withBoth<T>(runner: Runner, before: Model, after: Model, work: (before: Session, after: Session) => Promise<T>): Promise<T> {
  const a = await runner.load(sourceOf(before));
  try {
    const b = await runner.load(sourceOf(after));
    try {
      return await work(a, b);
    } finally {
      await b.release();
    }
  } finally {
    await a.release();
  }
}

function figures(model: Model, options: PruneOptions): CostFigures {
  const c = cost(model, undefined, costOptions(options));
  return { macs: c.macs, parameters: c.parameters, bytes: encodedSize(model), activationBytes: c.activationBytes, nodes: c.nodes };
}

/** What the file made from a model costs: dead nodes and weights do not reach it. */
function measured(model: Model, what: Exclude<Measure, "ratio">, options: PruneOptions): number {
  const clean = runPass(removeDead, model).model;
  if (what === "bytes") return encodedSize(clean);
  const c = cost(clean, options.inputShapes ? undefined : infer(clean), costOptions(options));
  return what === "macs" ? c.macs : c.parameters;
}

function costOptions(options: PruneOptions): Parameters<typeof cost>[2] {
  return options.inputShapes ? { inputShapes: options.inputShapes } : {};
}

function progress(options: PruneOptions, phase: string, done: number, total: number): void {
  options.onProgress?.({ phase, done, total });
}
