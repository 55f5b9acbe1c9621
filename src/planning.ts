/** Decisions: what a criterion must see of the model's activations, and the plan it then makes. */
import type { Samples } from "./calibrate/samples.js";
import { type CollectOptions, collect } from "./calibrate/statistics/collect.js";
import { keyOf, type StatisticRequest, type Statistics } from "./calibrate/statistics/request.js";
import { type Summary, statisticsFrom } from "./calibrate/statistics/summary.js";
import { ConfigError } from "./errors.js";
import { keepTable, openTable } from "./export/latency-tables.js";
import { findBlocks } from "./graph/blocks/find.js";
import { cloneModel } from "./graph/clone.js";
import { encodedSize } from "./graph/codec.js";
import { cost } from "./graph/cost.js";
import { findGroups } from "./graph/coupling/groups.js";
import type { Model } from "./graph/graph.js";
import { infer } from "./graph/infer.js";
import type { Note } from "./graph/note.js";
import type { Asked } from "./passes/pass.js";
import { prepare, withoutFunctions } from "./passes/prepare.js";
import { type Entry, nameOf } from "./passes/registry.js";
import { removeDead } from "./passes/remove-dead.js";
import { applyPlan } from "./passes/remove-filters.js";
import { parseOptions, runPass } from "./passes/run-pass.js";
import { retie, type Untying } from "./passes/untie.js";
import type { RecoveryMethod } from "./recover/recover.js";
import type { Calibration } from "./report.js";
import { openRunner } from "./runtime/provider.js";
import { makePlan, type PlanRequest, type PlanResult, toMeasure } from "./score/budget.js";
import { type Bench, type Evidence, needsOf } from "./score/criterion.js";
import { judgedOnce } from "./score/judged-once.js";
import { distinct, requireClasses } from "./score/measured.js";
import type { Scope } from "./score/moves.js";
import { type Correction, correctionStatistics } from "./score/planner/corrected.js";
import { measureSensitivity, type Sensitivity, type SensitivityOptions } from "./score/planner/sensitivity.js";
import { type Budget, type Measure, measureOf, type Target } from "./score/target.js";
import { randomFeeds } from "./verify/feeds.js";
import { type LatencyRequest, planForLatency } from "./verify/latency-budget.js";
import { costOptions, type ProofOptions } from "./verify/prove.js";

export type { Calibration } from "./report.js";

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
  /** A budget is met in so many steps, each with its own statistics, removal and recovery (default 1). */
  readonly steps?: number | undefined;
  readonly scope?: Scope;
  /** How sensitivities are measured, for that scope. Default: with what `reconstruct` will make good made good. */
  readonly sensitivity?: SensitivityOptions | undefined;
  readonly align?: number | "auto";
  /** Shared matrices that get a copy per reader (passes/untie.ts). Default "auto". */
  readonly untie?: Untying;
  /** Samples that statistics are taken from; never those of `data`. */
  readonly calibration?: Samples | undefined;
  /** Statistics gathered before (`gather`): what a criterion needs is looked up there, and only else measured. */
  readonly statistics?: Summary | undefined;
  /** How weights are corrected after each removal, from the calibration samples (recover/recover.ts). Default "none". */
  readonly reconstruct?: RecoveryMethod | "none" | undefined;
  /** Groups or nodes left whole. */
  readonly exclude?: readonly string[];
  /** Folder in which times of layers are kept for the next run with a budget of time (export/latency-tables.ts); default: they are not. */
  readonly latencyCache?: string | undefined;
}

/**
 * The decision alone. Budgets are fractions of what `original` costs: in a run of several passes, of its input.
 * @throws ConfigError when the request is not a criterion.
 */
export async function planOnly(
  model: Model,
  request: PassRequest,
  options: PruneOptions,
  original: Model = model,
): Promise<PlanResult & { readonly notes: readonly Note[]; readonly calibration?: Calibration }> {
  if (request.entry.kind !== "criterion") {
    throw new ConfigError("PLAN_NEEDS_CRITERION", `"${nameOf(request.entry)}" rewrites; only a criterion makes a plan.`, {
      hint: "`onnx-prune passes` tells which are criteria, e.g. l1.",
    });
  }
  const { criterion } = request.entry;
  const checked = parseOptions(criterion, request.options);
  if (!options.target && !criterion.decidesAmount?.(checked))
    throw new ConfigError("TARGET_COUNT", `"${criterion.name}" needs a budget.`, {
      hint: "Give one of --ratio, --macs, --params, --bytes, --latency.",
    });
  requireSameModel(options.statistics, original);
  const notes: Note[] = [];
  const prepared = prepare(model, options.untie ?? "auto");
  const coupling = findGroups(prepared.model);
  const context = { model: prepared.model, coupling, seed: options.seed ?? 0, note: () => undefined };
  const bySensitivity = options.scope === "sensitivity" && !criterion.decidesAmount?.(checked);
  if (bySensitivity && !options.calibration) throw missing("--scope sensitivity", "no samples came");
  const correct = options.sensitivity?.correct ?? CORRECTION_BEFORE[options.reconstruct ?? "none"];
  const own = criterion.statistics?.(checked, context) ?? [];
  const wanted = bySensitivity ? distinct([...own, ...correctionStatistics(coupling, findBlocks(prepared.model).blocks, correct)]) : own;
  const measuredOf =
    wanted.length > 0
      ? await evidence(prepared.model, { name: criterion.name, needs: needsOf(criterion, checked) }, wanted, options, model === original)
      : undefined;
  const runs = criterion.measure?.(checked, { ...context, statistics: measuredOf?.statistics });
  const ownRuns = runs ? await onBench(runs, criterion.name, options) : undefined;
  const once = judgedOnce(criterion);
  const requestFor = (target: Target, measure: PlanRequest["measure"]): PlanRequest => ({
    criterion: once,
    options: checked,
    coupling,
    statistics: measuredOf?.statistics,
    measured: ownRuns,
    target,
    scope: options.scope ?? "global",
    align: options.align ?? "auto",
    seed: options.seed ?? 0,
    exclude: options.exclude ?? [],
    original,
    measure,
    note: (n) => notes.push(n),
  });
  const byCost: PlanRequest["measure"] = (m, what) => measured(m, what, options);
  // Which channels a width keeps is the criterion's to say, so that what is measured depends on it; on the budget it does not.
  const sensitivity = bySensitivity
    ? await onBench(
        ({ runner, samples, signal, onProgress }) => {
          const { whole, blocks } = toMeasure(prepared.model, requestFor({ macs: 1 }, byCost));
          const { blocks: withBlocks = true, ...how } = options.sensitivity ?? {};
          const run = { ...how, correct, batch: options.batch, signal, onProgress };
          return measureSensitivity(runner, samples, whole, withBlocks ? blocks : [], measuredOf?.statistics, run);
        },
        "sensitivity",
        options,
      )
    : undefined;
  if (sensitivity) notes.push(sensitivityNote(sensitivity));
  const make = (target: Target, measure: PlanRequest["measure"]): PlanResult => {
    const made = makePlan(prepared.model, { ...requestFor(target, measure), sensitivity });
    return { ...made, plan: { ...made.plan, untied: [...prepared.untied] } };
  };
  const isTimed = options.target?.latency !== undefined && !criterion.decidesAmount?.(checked);
  const result = isTimed ? await planInTime(model, original, options, (n) => notes.push(n), make) : make(options.target ?? {}, byCost);
  return {
    ...result,
    notes: [...prepared.notes, ...(measuredOf || sensitivity ? (options.calibration?.notes ?? []) : []), ...notes],
    ...(measuredOf ? { calibration: measuredOf.calibration } : {}),
  };
}

/** What sensitivities take to be made good, by how weights will be corrected. */
const CORRECTION_BEFORE: Readonly<Record<RecoveryMethod | "none", Correction>> = {
  none: "none",
  mean: "mean",
  normalise: "mean",
  merge: "linear",
  "least-squares": "linear",
  joint: "linear",
  "least-squares+normalise": "linear",
};

function sensitivityNote({ metric, correct, samples, levels, blocks }: Sensitivity): Note {
  const runs = [...levels.values()].reduce((n, l) => n + l.length, blocks.size);
  const how =
    correct === "none" ? "which was taken out" : correct === "mean" ? "with its mean in its place" : "with what stays predicting it";
  const what = `${levels.size} ${levels.size === 1 ? "pool" : "pools"} of channels and ${blocks.size} residual ${blocks.size === 1 ? "block" : "blocks"}`;
  const by = metric === "kl" ? "divergence of the class probabilities" : "1 − cosine of the outputs";
  return { code: "SENSITIVITY", about: "scope", why: `${by} on ${samples} samples, in ${runs} runs without part of ${what}, ${how}` };
}

/** A plan for a fraction of the original's time, on this machine and provider. */
async function planInTime(
  model: Model,
  original: Model,
  options: PruneOptions,
  note: (note: Note) => void,
  make: (target: Target, measure: PlanRequest["measure"]) => PlanResult,
): Promise<PlanResult> {
  const { plan, budget } = await inTime(original, options, note, {
    plan: (asked, predict) => make({ latency: asked }, (m) => predict(emitted(m, options))),
    carryOut: (made) => emitted(applyPlan(model, made.plan).result, options),
  });
  return { ...plan, plan: { ...plan.plan, why: { ...plan.plan.why, target: { latency: budget.asked } } }, budget };
}

/** What a pass decides for that fraction. `carryOut`: what it makes of a decision. */
export async function decideInTime(
  original: Model,
  options: PruneOptions,
  note: (note: Note) => void,
  decide: (asked: Asked) => unknown,
  carryOut: (decision: unknown) => Model,
): Promise<{ readonly decision: unknown; readonly budget: Budget }> {
  const asked = askedOf(original, options);
  const { plan, budget } = await inTime(original, options, note, {
    plan: (keep, predict, timing) => {
      const measure: Asked["measure"] = (m, what) => (what === "latency" ? predict(emitted(m, options)) : asked.measure(m, what));
      return decide({ ...asked, target: { latency: keep }, measure, timing });
    },
    carryOut: (decision) => emitted(carryOut(decision), options),
  });
  return { decision: plan, budget };
}

async function inTime<P>(
  original: Model,
  options: PruneOptions,
  note: (note: Note) => void,
  how: Pick<LatencyRequest<P>, "plan" | "carryOut">,
): Promise<{ readonly plan: P; readonly budget: Budget }> {
  const { keep } = measureOf(options.target ?? {});
  const runner = await openRunner(options.ep ?? "auto", { threads: options.threads, device: options.device });
  const table = await openTable(runner, options.threads, options.latencyCache);
  try {
    const { plan, reached } = await planForLatency(runner, {
      original,
      keep,
      // What the report times, too.
      feeds: randomFeeds(original, (options.seed ?? 0) + 1, options.inputShapes),
      table,
      ...how,
      note,
      signal: options.signal,
      onProgress: (done, total) => options.onProgress?.({ phase: "latency", done, total }),
    });
    return { plan, budget: { measure: "latency", asked: keep, reached } };
  } finally {
    await keepTable(table, options.latencyCache);
    await runner.close();
  }
}

/** What `gather` runs on, and how. */
export interface GatherOptions
  extends Pick<PruneOptions, "seed" | "untie" | "ep" | "device" | "threads" | "batch" | "inputShapes" | "signal" | "onProgress">,
    Pick<CollectOptions, "shard" | "resume" | "checkpoint" | "memory"> {
  /** What statistics are taken from. */
  readonly calibration: Samples;
}

/**
 * The statistics that these criteria need of `model`, in one pass over the samples: what several ask for is measured once.
 * @throws ConfigError GATHER_NOTHING when none of them looks at activations; what collect throws.
 */
export async function gather(model: Model, requests: readonly PassRequest[], options: GatherOptions): Promise<Summary> {
  const prepared = prepare(model, options.untie ?? "auto");
  const coupling = findGroups(prepared.model);
  const context = { model: prepared.model, coupling, seed: options.seed ?? 0, note: () => undefined };
  const wanted = requests.flatMap(({ entry, options: given }) =>
    entry.kind === "criterion"
      ? (entry.criterion.statistics?.(parseOptions(entry.criterion, given), context) ?? [])
      : (entry.pass.statistics?.(parseOptions(entry.pass, given), prepared.model) ?? []),
  );
  if (wanted.length === 0) {
    throw new ConfigError(
      "GATHER_NOTHING",
      `Nothing is to be measured: ${requests.map((r) => nameOf(r.entry)).join(", ")} look at weights alone.`,
      {
        hint: "`onnx-prune passes` tells which criteria need activations, e.g. output-l1.",
      },
    );
  }
  for (const { entry, options: given } of requests) {
    if (entry.kind !== "criterion" || !needsOf(entry.criterion, parseOptions(entry.criterion, given)).includes("labels")) continue;
    requireClasses(entry.criterion.name, new Set(options.calibration.labels ?? []).size);
  }
  return collected(prepared.model, wanted, { ...options, sha256: model.sha256 });
}

async function collected(
  model: Model,
  wanted: readonly StatisticRequest[],
  options: GatherOptions & { readonly sha256?: string | undefined },
): Promise<Summary> {
  const runner = await openRunner(options.ep ?? "auto", { threads: options.threads, device: options.device });
  try {
    const { calibration, onProgress, batch, ep: _ep, device: _device, threads: _threads, ...rest } = options;
    return await collect(runner, model, wanted, calibration, {
      ...rest,
      ...(batch === undefined ? {} : { batch }),
      onProgress: (done, total) => onProgress?.({ phase: "calibrate", done, total }),
    });
  } finally {
    await runner.close();
  }
}

/** @throws ConfigError STATISTICS_OTHER_MODEL: values of another model may have the same names. */
function requireSameModel(statistics: Summary | undefined, original: Model): void {
  const of = statistics?.identity.model;
  if (!of || original.sha256 === undefined || of === original.sha256) return;
  throw new ConfigError("STATISTICS_OTHER_MODEL", `The statistics are of a model with sha256 ${of}, but this one has ${original.sha256}.`, {
    hint: "Calibrate this file: onnx-prune calibrate in.onnx stats.npz …",
  });
}

/** What a criterion finds out by runs of its own. @throws ConfigError CALIBRATION_MISSING without samples. */
async function onBench<T>(runs: (bench: Bench) => Promise<T>, criterion: string, options: PruneOptions): Promise<T> {
  const { calibration, ep, device, threads, signal, onProgress } = options;
  if (!calibration) throw missing(criterion, "no samples came");
  const runner = await openRunner(ep ?? "auto", { threads, device });
  try {
    return await runs({
      runner,
      samples: calibration,
      signal,
      onProgress: (done, total) => onProgress?.({ phase: criterion, done, total }),
    });
  } finally {
    await runner.close();
  }
}

function missing(criterion: string, why: string): ConfigError {
  return new ConfigError("CALIBRATION_MISSING", `"${criterion}" looks at activations, but ${why}.`, {
    hint: "Give --calibrate samples (or --data, of which a part is then set aside), or --stats of `onnx-prune calibrate`. Criteria that need no data: `onnx-prune passes`.",
  });
}

/** Statistics for a criterion or pass: those given, where they have all it needs, else measured. */
export async function evidence(
  model: Model,
  criterion: { readonly name: string; readonly needs: readonly Evidence[] },
  wanted: readonly StatisticRequest[],
  options: PruneOptions,
  isOriginal: boolean,
): Promise<{ readonly statistics: Statistics; readonly calibration: Calibration }> {
  const { statistics: given, calibration } = options;
  const started = performance.now();
  if (given && isOriginal) {
    const statistics = statisticsFrom(given);
    const lacking = wanted.find((r) => !statistics.has(r));
    if (!lacking) return { statistics, calibration: figures(given, wanted, "statistics gathered before", 0) };
    if (!calibration) {
      throw new ConfigError("STATISTICS_LACKING", `The statistics do not have the ${keyOf(lacking)}, which ${criterion.name} needs.`, {
        hint: "Calibrate with the same --pass and options, and the same --untie; or give --calibrate samples.",
      });
    }
  }
  if (!calibration) {
    throw missing(criterion.name, given ? "the statistics at hand are of the model before other passes" : "no samples came");
  }
  // Before, not after, all is measured.
  if (criterion.needs.includes("labels")) requireClasses(criterion.name, new Set(calibration.labels ?? []).size);
  // A batch for measuring accuracy is larger than what statistics are best taken in.
  const { batch: _batch, ...rest } = options;
  const summary = await collected(model, wanted, { ...rest, calibration });
  const seconds = (performance.now() - started) / 1000;
  return { statistics: statisticsFrom(summary), calibration: figures(summary, wanted, calibration.source, seconds) };
}

function figures(summary: Summary, wanted: readonly StatisticRequest[], data: string, seconds: number): Calibration {
  const { samples, classes } = summary.identity;
  return { data, samples, classes, statistics: wanted.length, seconds: Math.round(10 * seconds) / 10 };
}

/** What the file made from a model costs: dead nodes and weights do not reach it. */
function measured(model: Model, what: Exclude<Measure, "ratio">, options: PruneOptions): number {
  const clean = emitted(model, options);
  if (what === "bytes") return encodedSize(clean);
  const c = cost(clean, options.inputShapes ? undefined : infer(clean), costOptions(options));
  return what === "macs" ? c.macs : c.parameters;
}

/** What a run asks of the file, as passes are told. */
export function askedOf(original: Model, options: PruneOptions): Asked {
  return {
    target: options.target ?? {},
    original,
    align: options.align ?? "auto",
    exclude: options.exclude ?? [],
    measure: (m, what) => measured(m, what, options),
    cost: (m) => cost(m, options.inputShapes ? undefined : infer(m), costOptions(options)),
  };
}

function emitted(model: Model, options: PruneOptions): Model {
  const clean = cloneModel(runPass(removeDead, withoutFunctions(model).model).model);
  if ((options.untie ?? "auto") !== "none") retie(clean);
  return clean;
}
