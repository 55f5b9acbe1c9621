/** Accuracy of a classifier over samples, and how much two classifiers agree. */
import { DataError } from "../errors.js";
import type { Tensor } from "../graph/tensor.js";
import type { Session } from "../runtime/runner.js";
import { differenceOf } from "./difference.js";

/** What is asked of a set of samples; calibrate/samples.ts has it. */
export interface LabelledSamples {
  readonly count: number;
  /** Class of each sample, counted from 0 as the model counts its outputs. */
  readonly labels: Int32Array | undefined;
  /** Feeds of samples [from, to), stacked along axis 0. */
  batch(from: number, to: number): Promise<Readonly<Record<string, Tensor>>>;
}

export interface EvaluationOptions {
  /** Samples per run where the model leaves its batch open; default 32. A fixed batch is the model's own. */
  readonly batch?: number;
  /** Use the first `limit` samples only. */
  readonly limit?: number;
  /** Name of the output that classifies; default: the first that can (see classOutput). */
  readonly output?: string;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Fractions in [0, 1]; top1 and top5 are undefined without labels. */
export interface Accuracy {
  readonly n: number;
  readonly top1: number | undefined;
  readonly top5: number | undefined;
}

/** How alike two classifiers answer; needs no labels. */
export interface Agreement {
  /** Share of samples both put in the same class. */
  readonly top1: number;
  /** Mean over samples of the cosine between the two rows of scores. */
  readonly cosine: number;
  /** max|candidate - reference| / max|reference| over all scores of all samples. */
  readonly maxRel: number;
}

export interface Comparison {
  readonly reference: Accuracy;
  readonly candidate: Accuracy;
  readonly agreement: Agreement;
}

/**
 * Top-1 and top-5 accuracy. Among equal scores the lower class wins; NaN loses to everything.
 * @throws DataError if no output can classify, or a label is not one of its classes.
 */
export async function evaluate(session: Session, samples: LabelledSamples, options: EvaluationOptions = {}): Promise<Accuracy> {
  const classifier = new Classifier(session, options.output);
  const hits = new Hits(samples);
  await eachBatch(samples, options, [classifier], async (feeds, from, n) => hits.add(await classifier.scores(feeds, n), from));
  return hits.accuracy();
}

/**
 * Accuracy of both sessions over the same samples, and their agreement.
 * @throws DataError as evaluate, or if the two have different numbers of classes.
 */
export async function compareAccuracy(
  reference: Session,
  candidate: Session,
  samples: LabelledSamples,
  options: EvaluationOptions = {},
): Promise<Comparison> {
  const classifiers = [new Classifier(reference, options.output), new Classifier(candidate, options.output)] as const;
  const hits = [new Hits(samples), new Hits(samples)] as const;
  const agreement = new Agreeing();
  await eachBatch(samples, options, classifiers, async (feeds, from, n) => {
    // One after the other: sessions of one runner take turns anyway, and two runners would fight for the cores.
    const expected = await classifiers[0].scores(feeds, n);
    const got = await classifiers[1].scores(feeds, n);
    hits[0].add(expected, from);
    hits[1].add(got, from);
    agreement.add(got, expected);
  });
  return { reference: hits[0].accuracy(), candidate: hits[1].accuracy(), agreement: agreement.result() };
}

async function eachBatch(
  samples: LabelledSamples,
  options: EvaluationOptions,
  classifiers: readonly Classifier[],
  visit: (feeds: Readonly<Record<string, Tensor>>, from: number, n: number) => Promise<void>,
): Promise<void> {
  const total = Math.min(samples.count, options.limit ?? samples.count);
  if (total === 0) throw new DataError("SAMPLES_EMPTY", "There are no samples to evaluate on.");
  const size = options.batch ?? Math.max(32, ...classifiers.map((c) => c.fixedBatch ?? 1));
  for (let from = 0; from < total; from += size) {
    const to = Math.min(total, from + size);
    await visit(await samples.batch(from, to), from, to - from);
    options.onProgress?.(to, total);
  }
}

/** Scores of n samples, row after row. */
interface Scores {
  readonly values: Float32Array | Float64Array;
  readonly classes: number;
  readonly n: number;
}

/** A session seen as a function from samples to rows of scores, whatever batch it was exported for. */
class Classifier {
  /** The batch the model was exported for; undefined where it is open. */
  readonly fixedBatch: number | undefined;
  readonly #session: Session;
  #output: string | undefined;

  constructor(session: Session, output: string | undefined) {
    this.#session = session;
    this.#output = output;
    // The first input that has axes is the one with the samples; others may be a threshold, or sizes of images.
    const batch = session.inputs.find((i) => i.shape.length > 0)?.shape[0];
    this.fixedBatch = typeof batch === "number" ? batch : undefined;
  }

  async scores(feeds: Readonly<Record<string, Tensor>>, n: number): Promise<Scores> {
    const step = this.fixedBatch ?? n;
    if (step === n) return this.#rows(await this.#run(feeds), n);
    const parts: Scores[] = [];
    for (let from = 0; from < n; from += step) {
      const rows = Math.min(step, n - from);
      parts.push(this.#rows(await this.#run(slice(feeds, n, from, step)), step, rows));
    }
    return joined(parts, n);
  }

  async #run(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> {
    return this.#session.run(feeds, this.#output === undefined ? undefined : [this.#output]);
  }

  /** The first `keep` rows of the classifying output of a run of `n` samples. */
  #rows(outputs: Readonly<Record<string, Tensor>>, n: number, keep: number = n): Scores {
    this.#output ??= classOutput(this.#session, outputs, n);
    const t = outputs[this.#output] as Tensor;
    const classes = classesOf(t, n);
    if (classes === undefined) throw noOutput(this.#session, outputs, n, this.#output);
    return { values: t.numbers().subarray(0, keep * classes), classes, n: keep };
  }
}

/** Name of the first output that holds a row of at least two scores for each of `n` samples: [n, C], [n, C, 1, 1], [n, 1, 1, C]. */
function classOutput(session: Session, outputs: Readonly<Record<string, Tensor>>, n: number): string {
  // The order of the model, which is not always the order of the answer.
  for (const { name } of session.outputs) {
    const t = outputs[name];
    if (t && classesOf(t, n) !== undefined) return name;
  }
  throw noOutput(session, outputs, n, undefined);
}

/** Classes of an output that holds a row of at least two scores for each of `n` samples; undefined for any other. */
export function classesOf(t: Tensor, n: number): number | undefined {
  if (!t.dtype.includes("float") || t.dims.length < 2 || t.dims[0] !== n) return undefined;
  const wide = t.dims.slice(1).filter((d) => d !== 1);
  return wide.length === 1 ? wide[0] : undefined;
}

export function noOutput(
  session: Pick<Session, "outputs">,
  outputs: Readonly<Record<string, Tensor>>,
  n: number,
  asked: string | undefined,
): DataError {
  const have = session.outputs.map(({ name }) => `"${name}" [${outputs[name]?.dims ?? "not fetched"}]`).join(", ");
  return new DataError(
    "ACCURACY_NO_OUTPUT",
    asked === undefined
      ? `No output is a row of scores for each of ${n} samples; the model gives ${have}.`
      : `Output "${asked}" is not a row of scores for each of ${n} samples; the model gives ${have}.`,
    {
      hint: "Accuracy is for classifiers with one float output [N, classes]. Verify other models by their outputs alone.",
      ...(asked === undefined ? {} : { at: { value: asked } }),
    },
  );
}

/**
 * Samples [from, from + size) of feeds that hold `n`, the last sample repeated where they end.
 * Inputs that are not one entry per sample (a scalar threshold) stay as they are.
 */
export function slice(feeds: Readonly<Record<string, Tensor>>, n: number, from: number, size: number): Record<string, Tensor> {
  const indices = Array.from({ length: size }, (_, i) => Math.min(from + i, n - 1));
  return Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, t.dims[0] === n ? t.take(0, indices) : t]));
}

function joined(parts: readonly Scores[], n: number): Scores {
  const classes = parts[0]?.classes ?? 0;
  const values = new Float64Array(n * classes);
  let at = 0;
  for (const p of parts) {
    values.set(p.values, at);
    at += p.values.length;
  }
  return { values, classes, n };
}

/** Counts of samples whose label is among the best scores. */
class Hits {
  readonly #labels: Int32Array | undefined;
  #n = 0;
  #top1 = 0;
  #top5 = 0;

  constructor(samples: LabelledSamples) {
    this.#labels = samples.labels;
  }

  add(scores: Scores, from: number): void {
    this.#n += scores.n;
    if (!this.#labels) return;
    for (let row = 0; row < scores.n; row++) {
      const label = this.#labels[from + row] ?? -1;
      if (label < 0 || label >= scores.classes) throw badLabel(label, from + row, scores.classes);
      const rank = rankOf(label, scores.values, row * scores.classes, scores.classes);
      if (rank < 1) this.#top1++;
      if (rank < 5) this.#top5++;
    }
  }

  accuracy(): Accuracy {
    if (!this.#labels) return { n: this.#n, top1: undefined, top5: undefined };
    return { n: this.#n, top1: this.#top1 / this.#n, top5: this.#top5 / this.#n };
  }
}

/** How many classes come before `label`: those with a larger score, and those of lower index with the same. */
export function rankOf(label: number, values: ArrayLike<number>, start: number, classes: number): number {
  const own = values[start + label] as number;
  if (Number.isNaN(own)) return Number.POSITIVE_INFINITY;
  let rank = 0;
  for (let c = 0; c < classes; c++) {
    const other = values[start + c] as number;
    if (other > own || (other === own && c < label)) rank++;
  }
  return rank;
}

export function badLabel(label: number, sample: number, classes: number): DataError {
  return new DataError("LABEL_RANGE", `Sample ${sample} has label ${label}, but the model has classes 0 to ${classes - 1}.`, {
    hint: "Labels count from 0. Models with a background class have one more class than the data set.",
  });
}

class Agreeing {
  #n = 0;
  #same = 0;
  #cosine = 0;
  #maxAbs = 0;
  #maxReference = 0;

  add(got: Scores, expected: Scores): void {
    if (got.classes !== expected.classes) {
      throw new DataError("ACCURACY_CLASSES", `The models have different numbers of classes: ${expected.classes} and ${got.classes}.`);
    }
    const width = expected.classes;
    for (let row = 0; row < expected.n; row++) {
      const [start, end] = [row * width, (row + 1) * width];
      const d = differenceOf(got.values.subarray(start, end), expected.values.subarray(start, end), width);
      this.#n++;
      this.#same += d.argmax;
      this.#cosine += d.cosine;
      this.#maxAbs = Math.max(this.#maxAbs, d.maxAbs);
      this.#maxReference = Math.max(this.#maxReference, d.maxReference);
    }
  }

  result(): Agreement {
    return {
      top1: this.#same / this.#n,
      cosine: this.#cosine / this.#n,
      maxRel: this.#maxAbs === 0 ? 0 : this.#maxAbs / this.#maxReference,
    };
  }
}
