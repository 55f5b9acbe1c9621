/** The proof of a run: every claim on ONNX Runtime, then loading, accuracy and speed of the result, as one report. */
import type { Samples } from "../calibrate/samples.js";
import { BudgetError, ConfigError } from "../errors.js";
import { encodedSize } from "../graph/codec.js";
import { cost } from "../graph/cost.js";
import type { Model } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import { withoutFunctions } from "../passes/prepare.js";
import type { Removal } from "../passes/remove-filters.js";
import type { AccuracyFigures, CostFigures, Equality, RunReport, StepReport } from "../report.js";
import { openRunner } from "../runtime/provider.js";
import type { Feeds, Runner, Session } from "../runtime/runner.js";
import { withBoth } from "../runtime/source.js";
import type { PruningPlan } from "../score/plan.js";
import { version } from "../version.js";
import { type Accuracy, compareAccuracy } from "./accuracy.js";
import { checkBranches } from "./branches.js";
import { checkEquality } from "./equality.js";
import { randomFeeds } from "./feeds.js";
import { compareLatency } from "./latency.js";
import { isRunWhole, PiecewiseSession, weightBytes } from "./pieces.js";
import { checkProvider } from "./provider-check.js";
import { checkInterface, checkLoads, requireEquality, requireLoads } from "./verify.js";

export interface ProgressEvent {
  readonly phase: string;
  readonly done: number;
  readonly total: number;
}

/** How a result is proven and measured. */
export interface ProofOptions {
  /** Seed of all that is random. */
  readonly seed?: number;
  /** Held-out samples: accuracy of both graphs. */
  readonly data?: Samples | undefined;
  readonly ep?: "auto" | "cuda" | "cpu" | "webgpu" | "wasm";
  /** The number of the CUDA device, from 0. */
  readonly device?: number;
  readonly threads?: number;
  readonly batch?: number;
  /** A second runtime on which the result must be equal too. */
  readonly verifyWith?: "wasm" | undefined;
  readonly latency?: boolean;
  /**
   * Bytes of weights of both graphs together up to which they are held whole, to be timed and to run all samples (default
   * 2 GiB). Beyond it they are not timed, and samples go through one piece after the other, which is slow.
   */
  readonly memory?: number;
  /** Highest loss of top-1 accuracy, in percentage points. */
  readonly maxDrop?: number | undefined;
  /** "none" runs no ONNX Runtime at all: the result is then unproven, and the report says so. */
  readonly check?: "full" | "none";
  /** Numeric shapes of inputs with symbolic extents, for checks, cost and latency. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (event: ProgressEvent) => void;
}

/** A check that waits until a runner is open: the two graphs that must agree after a step. */
export interface Claim {
  readonly what: string;
  readonly candidate: Model;
  readonly original: Model;
  readonly removal?: Removal;
  /** The function changes on purpose: inputs that do not show it prove little, and every branch of an If must be right. */
  readonly changes?: boolean;
  reference(): Model;
}

/** What is to be proven: a model made from another by steps. */
export interface Made {
  readonly before: Model;
  readonly after: Model;
  readonly steps: readonly StepReport[];
  readonly plans: readonly PruningPlan[];
  readonly claims: readonly Claim[];
}

/**
 * Proves all claims, checks that the result is a valid replacement, and measures both graphs.
 * @throws VerificationError (4) when a check fails, BudgetError (3) past `maxDrop`, what the runner throws for a graph it refuses.
 */
export async function prove({ before, after, steps, plans, claims }: Made, options: ProofOptions): Promise<RunReport> {
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
      ...base,
      provider: { name: "none", runtime: "none", notes: [] },
      equality: [],
      loads: [],
      notes,
      milliseconds: Math.round(performance.now() - started),
    };
  }
  const providerNotes: string[] = [];
  const runner = await openRunner(options.ep ?? "auto", {
    threads: options.threads,
    device: options.device,
    onNote: (n) => providerNotes.push(n),
  });
  try {
    const feeds = await feedsOf(before, options);
    const notes: Note[] = [];
    const alone = await checkProvider(runner, before, feeds[0] as Feeds);
    if (alone) notes.push(alone);
    const equality = await proveClaims(runner, claims, feeds, options, notes);
    options.signal?.throwIfAborted();
    const loads = await checkLoads(runner, after, feeds[0] as Feeds, before);
    requireLoads(loads);
    const accuracy = options.data ? await measureAccuracy(runner, before, after, options.data, options) : undefined;
    const isTimed = (options.latency ?? true) && areHeldWhole(before, after, options);
    const latency = isTimed ? await measureLatency(runner, before, after, feeds[0] as Feeds, options) : undefined;
    const report: RunReport = {
      ...base,
      provider: { name: runner.provider, runtime: runner.runtime, notes: providerNotes },
      equality,
      loads,
      ...(accuracy ? { accuracy } : {}),
      ...(latency ? { latency } : {}),
      notes: [...notes, ...proofNotes(before, after, options)],
      milliseconds: Math.round(performance.now() - started),
    };
    requireAccuracy(report, options.maxDrop);
    return report;
  } finally {
    await runner.close();
  }
}

/** What the proof left out, or did in another way, and why. */
function proofNotes(before: Model, after: Model, options: ProofOptions): Note[] {
  const notes: Note[] = [...(options.data?.notes ?? [])];
  if (!options.data)
    notes.push({ code: "NO_DATA", about: "accuracy", why: "no --data was given: equality is proven, accuracy is not measured" });
  if (!isRunWhole(before)) {
    const why = "the weights are large, so both graphs were run piece by piece; the optimiser saw one piece of the result at a time";
    notes.push({ code: "RUN_IN_PIECES", about: "the checks", why });
  }
  if ((options.latency ?? true) && !areHeldWhole(before, after, options)) {
    const why = "both graphs would have to be in memory whole, with more weights than --memory allows";
    notes.push({ code: "NOT_TIMED", about: "latency", why });
  }
  return notes;
}

/** Weights of both graphs that are held in memory by default. */
export const DEFAULT_MEMORY: number = 2 ** 31;

function areHeldWhole(before: Model, after: Model, { memory = DEFAULT_MEMORY }: ProofOptions): boolean {
  return weightBytes(before) + weightBytes(after) <= memory;
}

/**
 * Called before any work: a bound on accuracy that could not be checked at the end is refused, never ignored.
 * @throws ConfigError MAX_DROP_NEEDS_LABELS.
 */
export function requireLabels(options: ProofOptions): void {
  if (options.maxDrop !== undefined && !options.data?.labels) {
    const came = options.data ? `${options.data.source} has none` : "no data were given";
    throw new ConfigError("MAX_DROP_NEEDS_LABELS", `A highest loss of accuracy (${options.maxDrop} points) needs labels, but ${came}.`, {
      hint: "Give --data with labels, held out: what the model was not trained or calibrated on.",
    });
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
async function feedsOf(model: Model, options: ProofOptions): Promise<Feeds[]> {
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

async function proveClaims(
  runner: Runner,
  claims: readonly Claim[],
  feeds: readonly Feeds[],
  options: ProofOptions,
  notes: Note[],
): Promise<Equality[]> {
  const results: Equality[] = [];
  const second = options.verifyWith === "wasm" ? await openRunner("wasm", {}) : undefined;
  try {
    for (const [i, claim] of claims.entries()) {
      progress(options, "verify", i, claims.length);
      const { what, candidate, original, removal, changes = removal !== undefined } = claim;
      const reference = claim.reference();
      const request = { what, reference, candidate, feeds, original, ...(removal ? { removal } : {}) };
      const equality = await checkEquality(runner, request);
      results.push(changes ? { ...equality, changes } : equality);
      if (changes) {
        if (equality.drift === 0) notes.push(nothingSeen(what));
        const branches = await checkBranches(runner, request);
        results.push(...branches.results);
        notes.push(...branches.notes);
      }
      if (second) results.push(await checkEquality(second, { ...request, what: `${what} (second opinion)`, feeds: feeds.slice(0, 1) }));
      requireEquality(results);
    }
  } finally {
    await second?.close();
  }
  progress(options, "verify", claims.length, claims.length);
  return results;
}

/** The outputs are those of the whole graph: whatever was removed, these inputs do not show it. */
function nothingSeen(what: string): Note {
  const why =
    "the removal did not move any output by a single bit: outputs that do not depend on the input, or inputs that reach nothing of it, prove little; give --data";
  return { code: "NOTHING_SEEN", about: what, why };
}

async function measureAccuracy(
  runner: Runner,
  before: Model,
  after: Model,
  data: Samples,
  options: ProofOptions,
): Promise<NonNullable<RunReport["accuracy"]>> {
  const comparison = (a: Session, b: Session) =>
    compareAccuracy(a, b, data, {
      batch: options.batch ?? 32,
      onProgress: (done, total) => {
        options.signal?.throwIfAborted();
        progress(options, "accuracy", done, total);
      },
    });
  const found = areHeldWhole(before, after, options)
    ? await withBoth(runner, [before, after], comparison)
    : await comparison(PiecewiseSession.of(runner, before), PiecewiseSession.of(runner, after));
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
  options: ProofOptions,
): Promise<RunReport["latency"]> {
  const found = await withBoth(runner, [before, after], (a, b) =>
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

function figures(model: Model, options: ProofOptions): CostFigures {
  const c = cost(withoutFunctions(model).model, undefined, costOptions(options));
  return { macs: c.macs, parameters: c.parameters, bytes: encodedSize(model), activationBytes: c.activationBytes, nodes: c.nodes };
}

/** Numeric input shapes for symbolic extents, where given. */
export function costOptions(options: ProofOptions): Parameters<typeof cost>[2] {
  return options.inputShapes ? { inputShapes: options.inputShapes } : {};
}

function progress(options: ProofOptions, phase: string, done: number, total: number): void {
  options.onProgress?.({ phase, done, total });
}
