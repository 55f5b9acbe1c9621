/** Samples for a model: where they come from, which are taken, and batches of them as the model's input tensors. */
import { ConfigError, DataError } from "../errors.js";
import type { Note } from "../graph/note.js";
import type { Tensor } from "../graph/tensor.js";
import { digest } from "./fingerprint.js";
import { stack } from "./fit.js";
import { openPopulation, type Population } from "./population.js";
import type { PreprocessOptions } from "./preprocess.js";
import { balanced, checkCount, shuffled, subset } from "./select.js";
import type { Bad, InputShape } from "./source.js";

export type { PreprocessOptions } from "./preprocess.js";
export type { Bad, InputShape } from "./source.js";

export interface SampleOptions {
  /** The inputs of the model that must be fed, in its order. */
  readonly inputs: readonly InputShape[];
  /**
   * Options, their JSON text, or a path to preprocess.json or a model card. Replaces a preprocess.json beside the data wholly.
   * Arrays (.npy, .npz, .pb, lists of Parquet) are preprocessed only when this is given and the model has one input.
   */
  readonly preprocess?: string | PreprocessOptions | undefined;
  /** Take at most so many: a random subset by `seed`, in the order of the source, so that class-sorted folders stay represented. */
  readonly limit?: number | undefined;
  /** Take equally many samples of every class, at most `limit` in all, else as many as the smallest class has. Needs labels. */
  readonly balanced?: boolean | undefined;
  /** Put what is taken in random order by `seed`, so that batches mix classes. Default: the order of the source. */
  readonly shuffle?: boolean | undefined;
  /** Seed of `limit`, `balanced`, `shuffle` and of random data: with the same source and options, the same samples. Default 0. */
  readonly seed?: number | undefined;
  /**
   * Leave out samples that cannot be used, and list them in `bad`. What is taken is decoded once when opening, a few samples at
   * a time, so that count, labels and fingerprint hold from the start; formats in which any bytes are an image (CIFAR, idx) are not.
   */
  readonly skipBad?: boolean | undefined;
  /** Extents of symbolic axes, for random data. */
  readonly symbols?: Readonly<Record<string, number>> | undefined;
  /** Number of classes of the model: labels must lie below it. */
  readonly classes?: number | undefined;
  readonly onNote?: ((text: string) => void) | undefined;
}

/** A selection of samples. Nothing but an index (and the content of gzip and zip files) is held in memory. */
export interface Samples {
  readonly count: number;
  /** Class numbers; undefined when the source has none. */
  readonly labels: Int32Array | undefined;
  /** What was opened, for reports. */
  readonly source: string;
  /** Samples, or files of the source, that were left out (only with `skipBad`). */
  readonly bad: readonly Bad[];
  /** What a reader of results should know of the selection: how it was divided, which classes are short, what was left out. */
  readonly notes: readonly Note[];
  /**
   * 64 hexadecimal digits that are equal for equal samples on any machine: a hash of the files' content (fingerprint.ts says of how
   * much), the selection and its order, the labels, the preprocessing, and names, dtypes and shapes of the inputs. Paths of
   * folders, file times and whether a file was gzipped do not count.
   */
  readonly fingerprint: string;
  /**
   * Samples [from, to) stacked along axis 0, by input name, in the dtype of the model's inputs. Inputs of rank 0 are not stacked.
   * @throws DataError naming the sample that cannot be read, does not fit the model, or cannot be stacked with the others.
   */
  batch(from: number, to: number): Promise<Readonly<Record<string, Tensor>>>;
}

/**
 * Opens the data at `where`: a path, `random:N`, or one source per input by name (plus, as `labels`, a .npy of class numbers).
 *
 * `[reader:]path[#split,key=column][[slice]]`: the reader is told by content unless forced (cifar10:, cifar100:, mnist:, npy:,
 * images:, onnx:, parquet:), `#train` picks a split of a folder, `#label=fine` a column of a table, `[0:2000]` or `[::4]` picks
 * samples as Python does. The first sample is prepared here, so that data that do not fit the model are refused at once.
 *
 * @throws DataError when the data cannot be read or do not fit; ConfigError for a wrong `where`, slice or preprocessing.
 */
export async function openSamples(where: string | Readonly<Record<string, string>>, options: SampleOptions): Promise<Samples> {
  const population = await openPopulation(where, options, onceEach(options.onNote));
  const all = Array.from({ length: population.count }, (_, k) => k);
  return samplesOf(population, choose(population, all, options), options);
}

/** A sink that says each text once. */
export function onceEach(onNote: ((text: string) => void) | undefined): (text: string) => void {
  const said = new Set<string>();
  return (text) => {
    if (!said.has(text)) onNote?.(text);
    said.add(text);
  };
}

export interface Chosen {
  readonly taken: readonly number[];
  readonly notes: readonly Note[];
  /** With skipBad: samples that could not be chosen by class, because their labels cannot be used. */
  readonly bad: readonly Bad[];
}

type Choice = Pick<SampleOptions, "limit" | "balanced" | "shuffle" | "seed" | "skipBad">;

/**
 * Which of `positions` are taken, and in what order.
 * @throws ConfigError DATA_BALANCED when classes are to be balanced and there are no labels.
 */
export function choose(
  population: Population,
  positions: readonly number[],
  { limit, balanced: even = false, shuffle = false, seed = 0, skipBad = false }: Choice,
  most?: (has: number) => number,
): Chosen {
  const notes: Note[] = [];
  let bad: readonly Bad[] = [];
  if (limit !== undefined) checkCount(limit);
  let taken: readonly number[];
  if (even) {
    const { labels, text } = population;
    if (labels === undefined) {
      throw new ConfigError("DATA_BALANCED", `Classes of ${text} cannot be balanced: it has no labels.`, {
        hint: "Give labels (docs/data.md says where each reader finds them), or take samples without balance.",
      });
    }
    const faults = skipBad ? new Map(positions.flatMap((k) => faultAt(population, k))) : new Map<number, Bad>();
    bad = [...faults.values()];
    const usable = positions.filter((k) => !faults.has(k));
    const found = balanced(usable, labels, limit, seed, most);
    if (found.short.length > 0) {
      const list = found.short.slice(0, 5).map(({ label, has }) => `class ${label} only ${has}`);
      if (found.short.length > list.length) list.push(`${found.short.length - list.length} more classes`);
      notes.push({
        code: "CLASSES_SHORT",
        about: text,
        why: `classes are uneven: ${found.perClass} samples are taken of each, but some can give fewer: ${list.join(", ")}`,
      });
    }
    taken = found.taken;
  } else taken = limit === undefined ? positions : subset(positions, limit, seed);
  return { taken: shuffle ? shuffled(taken, seed) : taken, notes, bad };
}

function faultAt(population: Population, k: number): [number, Bad][] {
  const fault = population.labelFault(k);
  return fault ? [[k, { sample: population.nameOf(k), why: fault.message }]] : [];
}

/**
 * What was chosen of `population`, checked: the first sample, or with skipBad all, are prepared.
 * @throws DataError when one cannot be used, or with skipBad when none can.
 */
export async function samplesOf(
  population: Population,
  chosen: Chosen,
  { inputs, skipBad = false, onNote }: Pick<SampleOptions, "inputs" | "skipBad" | "onNote">,
): Promise<Samples> {
  const { parts, labels, text, format } = population;
  const { good: taken, bad: found } = await (skipBad ? withoutBad : checked)(population, chosen.taken);
  const bad = [...chosen.bad, ...found];
  const notes = [...chosen.notes];
  if (bad.length > 0) {
    const why = `${bad.length} of ${taken.length + bad.length} samples cannot be used and are left out; the first: ${bad[0]?.why}`;
    notes.push({ code: "SAMPLES_BAD", about: text, why });
  }
  for (const { why } of notes) onNote?.(why);
  const classes = labels && Int32Array.from(taken, (k) => labels[k] as number);
  return {
    count: taken.length,
    labels: classes,
    source: `${text} (${format}, ${taken.length} samples${bad.length > 0 ? `, ${bad.length} bad ones left out` : ""})`,
    bad,
    notes,
    fingerprint: await fingerprintOf(population, taken, classes),
    batch: async (from, to) => {
      if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to > taken.length || from >= to) {
        throw new ConfigError("SAMPLES_RANGE", `Samples ${from} to ${to} were asked for, but there are ${taken.length}.`);
      }
      const range = taken.slice(from, to);
      if (range.length > 1) refuseWhole(parts);
      const rows = await prepareAll(population, range);
      const names = range.map(population.nameOf);
      const stacked = inputs.map((input) => {
        const tensors = rows.map((r) => r[input.name] as Tensor);
        return [input.name, stack(tensors, input, names)] as const;
      });
      return Object.fromEntries(stacked);
    },
  };
}

/** Labels of all, and the first sample, which tells whether data and model fit at all. */
async function checked(population: Population, positions: readonly number[]): Promise<{ good: readonly number[]; bad: readonly Bad[] }> {
  for (const k of positions) {
    const fault = population.labelFault(k);
    if (fault) throw fault;
  }
  await population.prepare(positions[0] as number);
  return { good: positions, bad: [] };
}

async function withoutBad(population: Population, positions: readonly number[]): Promise<{ good: number[]; bad: Bad[] }> {
  const { parts, nameOf } = population;
  const errors: (DataError | undefined)[] = positions.map((k) => population.labelFault(k));
  const firstGood = errors.indexOf(undefined);
  if (firstGood >= 0 && parts.every((p) => p.source.uniform)) await population.prepare(positions[firstGood] as number);
  else {
    const places = inFileOrder(population, positions).filter((place) => errors[place] === undefined);
    await inParallel(places, async (place) => {
      try {
        await population.prepare(positions[place] as number);
      } catch (error) {
        if (!(error instanceof DataError)) throw error;
        errors[place] = error;
      }
    });
  }
  const good = positions.filter((_, place) => errors[place] === undefined);
  if (good.length === 0) throw errors[0] as DataError;
  const bad = errors.flatMap((e, place) => (e ? [{ sample: nameOf(positions[place] as number), why: e.message }] : []));
  return { good, bad: [...population.bad, ...bad] };
}

function refuseWhole(parts: Population["parts"]): void {
  const part = parts.find((p) => p.source.kind === "tensors" && p.source.whole);
  if (part === undefined) return;
  throw new DataError(
    "DATA_STACK",
    `The inputs in ${part.source.nameOf(0)} have different extents along axis 0, so samples cannot be stacked.`,
    { hint: "Use a batch of 1." },
  );
}

async function fingerprintOf(population: Population, taken: readonly number[], labels: Int32Array | undefined): Promise<string> {
  const list: (string | Uint8Array)[] = ["onnx-prune samples 1", labels ? labels.join() : "no labels"];
  for (const { source, inputs, indices, preprocess } of population.parts) {
    list.push(source.format, JSON.stringify(inputs), canonical(preprocess));
    list.push(await source.fingerprint(taken.map((k) => indices[k] as number)));
  }
  return digest(list);
}

/** Keys in order, so that how a JSON was written does not count; a comment does not either. */
function canonical(preprocess: object | undefined): string {
  if (!preprocess) return "as stored";
  const entries = Object.entries(preprocess).filter(([key, value]) => key !== "comment" && value !== undefined);
  return JSON.stringify(Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1))));
}

/** The samples `range` in its order. They are read in the order of the source, which reads each block of a file once. */
async function prepareAll(population: Population, range: readonly number[]): Promise<Readonly<Record<string, Tensor>>[]> {
  const out: Readonly<Record<string, Tensor>>[] = new Array(range.length);
  await inParallel(inFileOrder(population, range), async (place) => {
    out[place] = await population.prepare(range[place] as number);
  });
  return out;
}

/** Places in `range`, such that its samples come as they lie in the (first) source. */
function inFileOrder({ parts }: Population, range: readonly number[]): number[] {
  const indices = parts[0]?.indices ?? [];
  return range.map((_, place) => place).sort((a, b) => (indices[range[a] as number] ?? 0) - (indices[range[b] as number] ?? 0) || a - b);
}

/** Few at a time, so that memory holds few decoded images. */
async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < items.length; i = next++) await work(items[i] as T);
  };
  await Promise.all(Array.from({ length: Math.min(8, items.length) }, worker));
}
