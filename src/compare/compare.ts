/** compare(): two graphs side by side, and whether the second may take the place of the first. */
import { ConfigError, UnsupportedError } from "../errors.js";
import type { Model } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import type { Tensor } from "../graph/tensor.js";
import type { RunReport } from "../report.js";
import { openRunner } from "../runtime/provider.js";
import type { Feeds, Runner, Session } from "../runtime/runner.js";
import type { PruningPlan } from "../score/plan.js";
import { classesOf, noOutput } from "../verify/accuracy.js";
import { preActivation, toleranceOf, withOutputs } from "../verify/equality.js";
import { extract } from "../verify/extract.js";
import { RANDOM_BATCH, randomFeeds } from "../verify/feeds.js";
import { compareLatency } from "../verify/latency.js";
import { costOptions, DEFAULT_MEMORY, type ProofOptions, requireLabels } from "../verify/prove.js";
import { checkLoads } from "../verify/verify.js";
import { version } from "../version.js";
import { firstDifference } from "./first-difference.js";
import { graphDifference } from "./graph-difference.js";
import { blank, type ComparableOutputs, comparableOutputs, Outputs } from "./outputs.js";
import { PairedHits } from "./paired-accuracy.js";
import type { AccuracyComparison, BisectFigures, CompareReport, LatencyAB, OutputDifference, RunsFigures } from "./report.js";
import { type Batch, dataBatches, fitInMemory, fixedBatch, randomBatches, withSessions } from "./runs.js";
import { areMeantEqual, checksOf, type Thresholds, verdictOf } from "./verdict.js";

/** How two graphs are compared; what is shared with prune() means the same there. */
export interface CompareOptions
  extends Thresholds,
    Pick<ProofOptions, "seed" | "data" | "ep" | "threads" | "batch" | "latency" | "memory" | "inputShapes" | "signal" | "onProgress"> {
  /** Random inputs that are compared where there are no data; default 8. */
  readonly runs?: number;
  /** Name of the output that classifies; default: the first of class scores. */
  readonly output?: string | undefined;
  /** Where an output differs, find the first value that does. Default false. */
  readonly bisect?: boolean;
  /** The plan that made b of a: then `bisect` compares values at the indices that were kept. */
  readonly plan?: PruningPlan | undefined;
}

/** Random inputs: enough rows that agreement means something, few enough for a large model. */
const RUNS = 8;
/** Samples per run where both graphs leave their batch open. */
const BATCH = 32;
/** Milliseconds spent on timing both graphs. */
const LATENCY_BUDGET = 3000;

/**
 * Compares `b`, the candidate, with `a`, the reference: interface, operators, sizes and layers from the graphs alone; outputs on the
 * same inputs (`data`, else random ones), unoptimised where they are meant to be equal; accuracy of both where the
 * data have labels; latency of both in turns. The verdict follows from the thresholds and is part of the report: a
 * difference does not throw.
 *
 * @throws ConfigError for a threshold that nothing could be held against; ModelError or UnsupportedError for a graph that ONNX
 *   Runtime refuses, or without an output of numbers; DataError for data or labels that do not fit; what `signal` gives as its reason.
 */
export async function compare(a: Model, b: Model, options: CompareOptions = {}): Promise<CompareReport> {
  const started = performance.now();
  checkThresholds(options);
  const graph = graphDifference(a, b, costOptions(options));
  const tolerance = toleranceFor(a, b, options);
  const outputs = comparableOutputs(a, b);
  const obstacle = graph.interface.some((p) => p.kind === "input" && !p.ok)
    ? "the inputs of the graphs differ"
    : outputs.names.length === 0
      ? "the graphs have no output in common that holds numbers"
      : undefined;
  if (outputs.names.length === 0 && graph.interface.every((p) => p.ok)) throw nothingToCompare(outputs);
  const measured = obstacle === undefined ? await new Measuring(a, b, outputs, options, tolerance).all() : unmeasured(outputs, obstacle);
  requireScores(measured.outputs, options);
  const checks = checksOf({ graph, ...measured }, options, tolerance);
  return {
    format: 1,
    kind: "compare",
    tool: { name: "onnx-prune", version },
    a: a.sha256 === undefined ? {} : { sha256: a.sha256 },
    b: b.sha256 === undefined ? {} : { sha256: b.sha256 },
    verdict: verdictOf(checks),
    checks,
    graph,
    ...measured,
    milliseconds: Math.round(performance.now() - started),
  };
}

/** @throws ConfigError for bounds on what is not measured. */
function checkThresholds(options: CompareOptions): void {
  requireLabels({ maxDrop: options.maxDrop, data: options.data });
  if (options.confident && options.maxDrop === undefined) {
    throw new ConfigError("CONFIDENT_NEEDS_DROP", "The interval of the drop is to be held against a bound, but no highest drop came.", {
      hint: "Give --max-drop too.",
    });
  }
  if (options.maxLatencyRatio !== undefined && options.latency === false) {
    throw new ConfigError(
      "LATENCY_NOT_MEASURED",
      `A latency ratio of at most ${options.maxLatencyRatio} was asked for, but not to be measured.`,
      {
        hint: "Leave out --no-latency, or --max-latency-ratio.",
      },
    );
  }
}

function nothingToCompare({ notCompared }: ComparableOutputs): UnsupportedError {
  const why = [...notCompared].map(([name, text]) => `"${name}": ${text}`).join("; ");
  return new UnsupportedError("COMPARE_NO_NUMBERS", `Neither graph has an output that can be compared: ${why || "there is none"}.`, {
    hint: "Outputs are compared as tensors of numbers. Make one of the values before them an output of both graphs.",
  });
}

/** @throws ConfigError COMPARE_NO_SCORES when a bound on class scores has no output it applies to. */
function requireScores(outputs: readonly OutputDifference[], { minAgreement, maxKl }: CompareOptions): void {
  const bound = minAgreement !== undefined ? "agreement" : maxKl !== undefined ? "KL divergence" : undefined;
  if (bound === undefined || outputs.some((o) => o.scores) || outputs.every((o) => o.notCompared !== undefined)) return;
  throw new ConfigError("COMPARE_NO_SCORES", `A bound on ${bound} was given, but no output is rows of class scores [N, classes].`, {
    hint: "Use --tolerance or --min-cosine, which any numeric output has.",
  });
}

/** Undefined where outputs may differ. */
function toleranceFor(a: Model, b: Model, options: CompareOptions): number | undefined {
  if (!areMeantEqual(options)) return undefined;
  return typeof options.tolerance === "number" ? options.tolerance : Math.max(toleranceOf(a), toleranceOf(b));
}

type Measured = Pick<CompareReport, "provider" | "runs" | "outputs" | "loads" | "accuracy" | "latency" | "bisect" | "notes">;

/** For graphs that cannot be run side by side. */
function unmeasured({ names, notCompared }: ComparableOutputs, why: string): Measured {
  return {
    provider: { name: "none", runtime: "none", notes: [] },
    runs: undefined,
    outputs: [...names, ...notCompared.keys()].map((name) => blank(name, notCompared.get(name) ?? why)),
    loads: [],
    accuracy: undefined,
    latency: undefined,
    bisect: undefined,
    notes: [{ code: "NOT_RUN", about: "both graphs", why: `${why}: outputs, accuracy and latency were not compared` }],
  };
}

/** Everything that takes a runtime, in order. */
class Measuring {
  readonly #a: Model;
  readonly #b: Model;
  readonly #comparable: ComparableOutputs;
  readonly #options: CompareOptions;
  readonly #tolerance: number | undefined;
  readonly #notes: Note[];

  constructor(a: Model, b: Model, outputs: ComparableOutputs, options: CompareOptions, tolerance: number | undefined) {
    this.#a = withOnly(a, outputs.names);
    this.#b = withOnly(b, outputs.names);
    this.#comparable = outputs;
    this.#options = options;
    this.#tolerance = tolerance;
    this.#notes = [...(options.data?.notes ?? [])];
  }

  async all(): Promise<Measured> {
    const { options, memory } = { options: this.#options, memory: this.#options.memory ?? DEFAULT_MEMORY };
    const notes: string[] = [];
    const runner = await openRunner(options.ep ?? "auto", {
      ...(options.threads === undefined ? {} : { threads: options.threads }),
      onNote: (n) => notes.push(n),
    });
    try {
      const first = await this.#firstFeeds();
      this.#progress("load", 0, 1);
      const loads = await this.#loads(runner, first);
      this.#progress("load", 1, 1);
      const ran = await this.#run(runner, memory);
      const bisected = options.bisect ? await this.#bisect(runner, ran) : undefined;
      const latency = await this.#latency(runner, first, memory);
      if (!options.data) {
        const why = "no data were given: outputs were compared on random inputs, accuracy was not measured";
        this.#notes.push({ code: "NO_DATA", about: "accuracy", why });
      }
      return {
        provider: { name: runner.provider, runtime: runner.runtime, notes },
        runs: ran.runs,
        outputs: ran.outputs,
        loads,
        accuracy: ran.accuracy,
        latency,
        bisect: bisected,
        notes: this.#notes,
      };
    } finally {
      await runner.close();
    }
  }

  /** Real samples where there are any: random ones may lie outside of what the model takes. */
  async #firstFeeds(): Promise<Feeds> {
    const { data, seed, inputShapes } = this.#options;
    if (data) for await (const { feeds } of dataBatches(data, fixedBatch(this.#a), RANDOM_BATCH)) return feeds;
    return randomFeeds(this.#a, (seed ?? 0) + 1, inputShapes);
  }

  async #loads(runner: Runner, feeds: Feeds): Promise<RunReport["loads"]> {
    this.#options.signal?.throwIfAborted();
    return checkLoads(runner, this.#b, feeds, this.#a);
  }

  async #run(runner: Runner, memory: number): Promise<Ran> {
    const { data, output } = this.#options;
    // Graphs that are meant to be equal should run the same kernels; others are judged as they would be deployed.
    const optimization = this.#tolerance === undefined ? "all" : "disabled";
    const saturating = this.#tolerance === undefined ? new Map<string, string>() : saturatingOutputs(this.#a, this.#b);
    const models = [withOutputs(this.#a, saturating.values()), withOutputs(this.#b, saturating.values())] as const;
    return withSessions(runner, models, optimization, memory, async (a, b) => {
      const outputs = new Outputs(a, b, this.#comparable, saturating);
      const hits = data?.labels ? new PairedHits(data.labels) : undefined;
      let classifying: string | undefined;
      let samples = 0;
      for await (const batch of this.#batches()) {
        this.#options.signal?.throwIfAborted();
        const { mine, theirs } = await outputs.add(batch);
        if (hits) {
          classifying ??= classOutput(outputs.names, mine, theirs, batch, output);
          const classes = classifying === undefined ? undefined : classesOf(mine[classifying] as Tensor, batch.samples);
          if (classifying !== undefined && classes !== undefined)
            hits.add(mine[classifying] as Tensor, theirs[classifying] as Tensor, classes, batch.from, batch.samples);
          else this.#requireClassifier(a, mine, batch);
        }
        samples = batch.from + batch.samples;
        this.#progress("compare", samples, this.#total() ?? samples);
      }
      const accuracy: AccuracyComparison | undefined =
        hits && data && classifying !== undefined ? { data: data.source, output: classifying, ...hits.result() } : undefined;
      if (hits && !accuracy) {
        const why = "no output is rows of class scores of the same dims in both graphs: accuracy was not measured";
        this.#notes.push({ code: "NO_CLASS_OUTPUT", about: "accuracy", why });
      }
      if (!fitInMemory(models, memory)) {
        const why = "both graphs have more weights than --memory allows, and were run piece by piece";
        this.#notes.push({ code: "RUN_IN_PIECES", about: "outputs", why });
      }
      const source = data?.source ?? `random inputs (${samples} samples)`;
      const runs = { data: source, fingerprint: data?.fingerprint, samples, on: `${runner.provider}, optimisation ${optimization}` };
      return { runs, outputs: outputs.result(), accuracy, worst: outputs.worst };
    });
  }

  /** @throws DataError ACCURACY_NO_OUTPUT when accuracy has a bound, and the reference is no classifier. */
  #requireClassifier(session: Session, outputs: Readonly<Record<string, Tensor>>, batch: Batch): void {
    const { maxDrop, output } = this.#options;
    const isClassifier = Object.values(outputs).some((t) => classesOf(t, batch.samples) !== undefined);
    if (output !== undefined || (maxDrop !== undefined && !isClassifier)) throw noOutput(session, outputs, batch.samples, output);
  }

  #batches(): AsyncGenerator<Batch> {
    const { data, batch, seed, inputShapes, runs } = this.#options;
    if (data) return dataBatches(data, fixedBatch(this.#a), batch ?? BATCH);
    return randomBatches(this.#a, runs ?? RUNS, seed ?? 0, inputShapes);
  }

  #total(): number | undefined {
    return this.#options.data?.count;
  }

  async #bisect(runner: Runner, { outputs, worst }: Ran): Promise<BisectFigures | undefined> {
    const tolerance = this.#tolerance ?? Math.max(toleranceOf(this.#a), toleranceOf(this.#b));
    const isDifferent = outputs.some((o) => (o.error !== undefined && !(o.error <= tolerance)) || String(o.dims.a) !== String(o.dims.b));
    if (!isDifferent || !worst) return undefined;
    this.#options.signal?.throwIfAborted();
    this.#progress("bisect", 0, 1);
    const found = await firstDifference(runner, this.#a, this.#b, worst, tolerance, this.#options.plan);
    this.#progress("bisect", 1, 1);
    return found;
  }

  async #latency(runner: Runner, feeds: Feeds, memory: number): Promise<LatencyAB | undefined> {
    const { latency, threads, signal } = this.#options;
    if (latency === false) return undefined;
    const models = [this.#a, this.#b] as const;
    if (!fitInMemory(models, memory)) {
      const why = "both graphs would have to be in memory whole, with more weights than --memory allows";
      this.#notes.push({ code: "NOT_TIMED", about: "latency", why });
      return undefined;
    }
    const onProgress = (done: number, total: number) => {
      signal?.throwIfAborted();
      this.#progress("latency", done, total);
    };
    const found = await withSessions(runner, models, "all", memory, (a, b) =>
      compareLatency(a, b, feeds, { budget: LATENCY_BUDGET, onProgress }),
    );
    const batch = Object.values(feeds)[0]?.dims[0] ?? 1;
    const { reference, candidate, ratio, rounds } = found;
    return { provider: runner.provider, threads, batch, rounds, a: reference, b: candidate, ratio };
  }

  #progress(phase: string, done: number, total: number): void {
    this.#options.onProgress?.({ phase, done, total });
  }
}

interface Ran {
  readonly runs: RunsFigures;
  readonly outputs: readonly OutputDifference[];
  readonly accuracy: AccuracyComparison | undefined;
  /** Inputs on which the outputs differ most. */
  readonly worst: Feeds | undefined;
}

/** `model` with the named outputs alone; itself where it has no other. */
function withOnly(model: Model, outputs: readonly string[]): Model {
  return model.graph.outputs.every((v) => outputs.includes(v.name)) ? model : extract(model, { outputs, keepInputs: true });
}

/** Outputs that saturate in `a`, with the value before the activation, where both graphs compute one of that name. */
function saturatingOutputs(a: Model, b: Model): Map<string, string> {
  const found = new Map<string, string>();
  for (const output of a.graph.outputs) {
    const before = preActivation(output);
    const other = before && b.graph.value(before.name);
    const same = b.graph.outputs.find((v) => v.name === output.name);
    if (!before || !same || preActivation(same)?.name !== before.name) continue;
    if (other && !before.constant && !other.constant && !before.isInput && !other.isInput) found.set(output.name, before.name);
  }
  return found;
}

/** The output asked for, or the first of the reference, that is rows of class scores in both. */
function classOutput(
  names: readonly string[],
  mine: Readonly<Record<string, Tensor>>,
  theirs: Readonly<Record<string, Tensor>>,
  { samples }: Batch,
  asked: string | undefined,
): string | undefined {
  return names.find((name) => {
    const [x, y] = [mine[name], theirs[name]];
    if (!x || !y || (asked !== undefined && name !== asked)) return false;
    return classesOf(x, samples) !== undefined && String(x.dims) === String(y.dims);
  });
}
