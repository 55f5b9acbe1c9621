/** Samples for a model: where they come from, which are taken, and batches of them as the model's input tensors. */
import { ConfigError, DataError } from "../errors.js";
import { random } from "../graph/random.js";
import type { Tensor } from "../graph/tensor.js";
import { castTo, checkedShape, fitImage, pixelsOf, stack } from "./fit.js";
import { openLabels, openSource } from "./open.js";
import { applyPreprocess, findPreprocess, type PreprocessOptions, readPreprocess } from "./preprocess.js";
import type { InputShape, Source } from "./source.js";
import { parseWhere, selectIndices } from "./where.js";

export type { PreprocessOptions } from "./preprocess.js";
export type { InputShape } from "./source.js";

export interface SampleOptions {
  /** The inputs of the model that must be fed, in its order. */
  readonly inputs: readonly InputShape[];
  /**
   * Options, their JSON text, or a path to preprocess.json or a model card. Replaces a preprocess.json beside the data wholly.
   * Arrays (.npy, .npz, .pb) are preprocessed only when this is given and the model has one input.
   */
  readonly preprocess?: string | PreprocessOptions | undefined;
  /** Take at most so many: a random subset by `seed`, in the order of the source, so that class-sorted folders stay represented. */
  readonly limit?: number | undefined;
  /** Seed of `limit` and of random data. Default 0. */
  readonly seed?: number | undefined;
  /** Leave out samples that cannot be used. All are decoded once when opening, so that count and labels hold from the start. */
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
  /** Samples that were left out (only with `skipBad`). */
  readonly bad: readonly { readonly sample: string; readonly why: string }[];
  /**
   * Samples [from, to) stacked along axis 0, by input name, in the dtype of the model's inputs. Inputs of rank 0 are not stacked.
   * @throws DataError naming the sample that cannot be read, does not fit the model, or cannot be stacked with the others.
   */
  batch(from: number, to: number): Promise<Readonly<Record<string, Tensor>>>;
}

/** A source bound to inputs of the model. */
interface Part {
  readonly source: Source;
  readonly inputs: readonly InputShape[];
  /** Sample k of the selection is sample `indices[k]` of the source. */
  readonly indices: readonly number[];
  prepare(i: number): Promise<Readonly<Record<string, Tensor>>>;
}

/**
 * Opens the data at `where`: a path, `random:N`, or one source per input by name (plus, as `labels`, a .npy of class numbers).
 *
 * `[reader:]path[#split][[slice]]`: the reader is told by content unless forced (cifar10:, cifar100:, mnist:, npy:,
 * images:, onnx:), `#train` picks a split of a folder, `[0:2000]` or `[::4]` picks samples as Python does.
 * The first sample is prepared here, so that data that do not fit the model are refused at once.
 *
 * @throws DataError when the data cannot be read or do not fit; ConfigError for a wrong `where`, slice or preprocessing.
 */
export async function openSamples(where: string | Readonly<Record<string, string>>, options: SampleOptions): Promise<Samples> {
  const notes = new Set<string>();
  const note = (text: string) => {
    if (!notes.has(text)) options.onNote?.(text);
    notes.add(text);
  };
  const named = typeof where === "string" ? undefined : checkNames(where, options.inputs);
  const parts: Part[] = [];
  if (typeof where === "string") parts.push(await openPart(where, options.inputs, options, note));
  else for (const input of options.inputs) parts.push(await openPart(where[input.name] as string, [input], options, note));

  const total = sameCount(parts);
  const labels = named?.labels === undefined ? labelsOfParts(parts) : await labelsAt(named.labels, total);
  let taken = limited(total, options.limit, options.seed ?? 0);
  const nameOf = (k: number) => parts.map((p) => p.source.nameOf(p.indices[k] as number)).join(" and ");
  const prepare = async (k: number): Promise<Readonly<Record<string, Tensor>>> => {
    const pieces = await Promise.all(parts.map((p) => p.prepare(p.indices[k] as number)));
    return Object.assign({}, ...pieces) as Record<string, Tensor>;
  };
  const classes = Math.min(options.classes ?? Infinity, ...parts.map((p) => p.source.classes ?? Infinity));
  const checkLabel = (k: number): void => {
    if (labels) checkClass(labels[k] as number, classes, nameOf(k));
  };

  if (taken.length === 0) throw empty(where);
  const bad: { sample: string; why: string }[] = [];
  if (options.skipBad) {
    const verdicts = await inParallel(taken, async (k) => {
      try {
        checkLabel(k);
        await prepare(k);
        return undefined;
      } catch (error) {
        if (error instanceof DataError) return error;
        throw error;
      }
    });
    const good = taken.filter((_, j) => verdicts[j] === undefined);
    for (const [j, error] of verdicts.entries()) if (error) bad.push({ sample: nameOf(taken[j] as number), why: error.message });
    if (good.length === 0) throw verdicts[0] as DataError;
    if (bad.length > 0) note(`${bad.length} of ${taken.length} samples cannot be used and are left out; the first: ${bad[0]?.why}`);
    taken = good;
  } else {
    for (const k of taken) checkLabel(k);
    await prepare(taken[0] as number);
  }

  return {
    count: taken.length,
    labels: labels && Int32Array.from(taken, (k) => labels[k] as number),
    source: `${
      typeof where === "string"
        ? where
        : Object.entries(where)
            .map(([k, v]) => `${k}=${v}`)
            .join(" ")
    } (${[...new Set(parts.map((p) => p.source.format))].join(", ")}, ${taken.length} samples)`,
    bad,
    batch: async (from, to) => {
      if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to > taken.length || from >= to) {
        throw new ConfigError("SAMPLES_RANGE", `Samples ${from} to ${to} were asked for, but there are ${taken.length}.`);
      }
      const range = taken.slice(from, to);
      if (range.length > 1) refuseWhole(parts);
      const rows = await inParallel(range, prepare);
      return Object.fromEntries(
        options.inputs.map((input) => [
          input.name,
          stack(
            rows.map((r) => r[input.name] as Tensor),
            input,
            range.map(nameOf),
          ),
        ]),
      );
    },
  };
}

async function openPart(text: string, inputs: readonly InputShape[], options: SampleOptions, note: (text: string) => void): Promise<Part> {
  const where = await parseWhere(text);
  const source = await openSource(where, { inputs, seed: options.seed ?? 0, symbols: options.symbols ?? {}, note });
  const indices = where.slice === undefined ? Array.from({ length: source.count }, (_, i) => i) : selectIndices(where.slice, source.count);
  const convert = await conversion(source, inputs, options, note);
  const prepare = (i: number) => inSample(source.nameOf(i), () => convert(i));
  return { source, inputs, indices, prepare };
}

/** How sample `i` of `source` becomes tensors that fit `inputs`, each with a leading axis. */
async function conversion(
  source: Source,
  inputs: readonly InputShape[],
  options: SampleOptions,
  note: (text: string) => void,
): Promise<Part["prepare"]> {
  const explicit = options.preprocess === undefined ? undefined : await readPreprocess(options.preprocess);
  const [input] = inputs;
  if (input === undefined) throw new DataError("DATA_INPUTS", "The model has no inputs to feed.");
  if (source.kind === "pixels") {
    if (inputs.length > 1) {
      throw new DataError(
        "DATA_INPUTS",
        `Images fill one input, but the model has ${inputs.length}: ${inputs.map((i) => i.name).join(", ")}.`,
        {
          hint: "Give one source per input by name.",
        },
      );
    }
    const preprocess = explicit ?? (await preprocessBeside(source, input, note));
    return async (i) => ({ [input.name]: fitImage(applyPreprocess(await source.read(i), preprocess, input.dtype), input) });
  }
  if (explicit && options.inputs.length === 1 && source.format !== "random") {
    return async (i) => {
      const stored = pixelsOf((await source.read(i))[input.name] as Tensor);
      return { [input.name]: fitImage(applyPreprocess(stored, explicit, input.dtype), input) };
    };
  }
  const beside = source.format === "random" ? undefined : await findPreprocess(source.beside);
  if (beside && !explicit) note(`${beside.file} is not applied to ${source.format} data; pass it as --preprocess if it should be.`);
  return async (i) => {
    const tensors = await source.read(i);
    return Object.fromEntries(inputs.map((input) => [input.name, checkedShape(castTo(tensors[input.name] as Tensor, input, note), input)]));
  };
}

async function preprocessBeside(
  source: Source,
  input: InputShape,
  note: (text: string) => void,
): Promise<Awaited<ReturnType<typeof readPreprocess>>> {
  const found = await findPreprocess(source.beside);
  if (found) {
    note(`Preprocessing is taken from ${found.file}.`);
    return found.options;
  }
  if (input.dtype === "uint8") {
    note(`No preprocessing is given: input "${input.name}" (uint8) is fed the stored pixels.`);
    return {};
  }
  throw new DataError(
    "PREPROCESS_MISSING",
    `Nothing says how the pixels of ${source.nameOf(0)} become the ${input.dtype} input "${input.name}": a wrong guess would spoil every number.`,
    {
      at: { value: input.name },
      hint: `Pass --preprocess with what the model was trained with, e.g. '{"scale": ${1 / 255}, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}' ('{}' for raw 0..255), or put it beside the data as preprocess.json.`,
    },
  );
}

/** Every input has a source and every source an input; `labels` is free when no input has that name. */
function checkNames(where: Readonly<Record<string, string>>, inputs: readonly InputShape[]): { labels: string | undefined } {
  const names = inputs.map((i) => i.name);
  const missing = names.filter((n) => where[n] === undefined);
  const unknown = Object.keys(where).filter((n) => !names.includes(n) && n !== "labels");
  if (missing.length > 0 || unknown.length > 0) {
    throw new ConfigError(
      "DATA_INPUTS",
      `The model takes ${names.join(", ")}; ${missing.length > 0 ? `no data for ${missing.join(", ")}` : `it has no input ${unknown.join(", ")}`}.`,
      {
        hint: "Give one source per input, by its exact name, and optionally labels.",
      },
    );
  }
  const { labels } = where;
  return { labels: names.includes("labels") ? undefined : labels };
}

function sameCount(parts: readonly Part[]): number {
  const counts = parts.map((p) => p.indices.length);
  const total = counts[0] as number;
  const odd = counts.findIndex((n) => n !== total);
  if (odd < 0) return total;
  throw new DataError(
    "DATA_COUNT",
    `Input "${parts[0]?.inputs[0]?.name}" has ${total} samples, but "${parts[odd]?.inputs[0]?.name}" has ${counts[odd]}.`,
    {
      hint: "All sources must have the same number of samples, in the same order; a slice such as [0:100] cuts one to size.",
    },
  );
}

function labelsOfParts(parts: readonly Part[]): Int32Array | undefined {
  const all = parts.flatMap(({ source, indices }) =>
    source.labels ? [Int32Array.from(indices, (i) => source.labels?.[i] as number)] : [],
  );
  const [first, ...others] = all;
  if (first && others.some((l) => l.some((v, i) => v !== first[i]))) {
    throw new DataError("DATA_LABELS", "The sources of two inputs have different labels.", {
      hint: "Give them in the same order, or labels as a source of its own.",
    });
  }
  return first;
}

async function labelsAt(text: string, total: number): Promise<Int32Array> {
  const { path, slice } = await parseWhere(text);
  const all = await openLabels(path);
  const labels = slice === undefined ? all : Int32Array.from(selectIndices(slice, all.length), (i) => all[i] as number);
  if (labels.length === total) return labels;
  throw new DataError("DATA_COUNT", `${text} has ${labels.length} labels, but there are ${total} samples.`, {
    at: { file: path },
    hint: "One label per sample.",
  });
}

/** A uniform subset of `limit` positions, ascending (selection sampling: Knuth, TAOCP 2, algorithm 3.4.2 S). */
function limited(total: number, limit: number | undefined, seed: number): number[] {
  if (limit !== undefined && (!Number.isInteger(limit) || limit < 1)) {
    throw new ConfigError("SAMPLES_LIMIT", `The number of samples to take must be a positive integer, got ${limit}.`);
  }
  const out: number[] = [];
  const wanted = Math.min(limit ?? total, total);
  const uniform = random(`limit/${seed}`);
  for (let k = 0; k < total && out.length < wanted; k++) {
    if (wanted === total || uniform() * (total - k) < wanted - out.length) out.push(k);
  }
  return out;
}

function checkClass(label: number, classes: number, name: string): void {
  if (label >= 0 && label < classes) return;
  throw new DataError(
    "DATA_LABELS",
    `${name} has label ${label}, expected ${Number.isFinite(classes) ? `0..${classes - 1}` : "0 or more"}.`,
    {
      hint: "Labels are the model's class numbers, counted from 0. Is this the data set of this model? skipBad leaves such samples out.",
    },
  );
}

function refuseWhole(parts: readonly Part[]): void {
  const part = parts.find((p) => p.source.kind === "tensors" && p.source.whole);
  if (part === undefined) return;
  throw new DataError(
    "DATA_STACK",
    `The inputs in ${part.source.nameOf(0)} have different extents along axis 0, so samples cannot be stacked.`,
    { hint: "Use a batch of 1." },
  );
}

/** Puts the sample's name before messages that lack it. */
async function inSample<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof DataError) || error.message.includes(name)) throw error;
    throw new DataError(error.code, `${name}: ${error.message}`, {
      ...(error.hint ? { hint: error.hint } : {}),
      at: { ...error.at, file: name },
      cause: error,
    });
  }
}

/** Results in order; few at a time, so that memory holds few decoded images. */
async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const out: R[] = new Array(items.length);
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < items.length; i = next++) out[i] = await work(items[i] as T);
  };
  await Promise.all(Array.from({ length: Math.min(8, items.length) }, worker));
  return out;
}

function empty(where: string | Readonly<Record<string, string>>): DataError {
  return new DataError("DATA_EMPTY", `${typeof where === "string" ? where : JSON.stringify(where)} selects no samples.`, {
    hint: "Check the slice and that the source is not empty.",
  });
}
