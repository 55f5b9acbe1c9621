/** All samples that a `where` names, bound to the inputs of a model: what is selected from. */
import { realpath } from "node:fs/promises";
import { ConfigError, DataError } from "../errors.js";
import type { Tensor } from "../graph/tensor.js";
import { openLabels } from "./open.js";
import { openPart, type Part } from "./part.js";
import type { SampleOptions } from "./samples.js";
import type { Bad, InputShape } from "./source.js";
import { parseWhere, selectIndices } from "./where.js";

/** Samples 0 … count − 1, before any limit, balance or order. */
export interface Population {
  readonly parts: readonly Part[];
  readonly count: number;
  /** -1 where a sample has none. */
  readonly labels: Int32Array | undefined;
  /** The `where` as one line. */
  readonly text: string;
  /** "CIFAR-10 binary", or several joined. */
  readonly format: string;
  /** Parts of the sources that could not be opened at all (only with skipBad). */
  readonly bad: readonly Bad[];
  nameOf(k: number): string;
  /** Equal exactly when two samples are the same records of the same files, however their paths are spelled. */
  keyOf(k: number): Promise<string>;
  /** What is wrong with the label of sample k; undefined when it has none or all is well. */
  labelFault(k: number): DataError | undefined;
  /** @throws DataError naming the sample. */
  prepare(k: number): Promise<Readonly<Record<string, Tensor>>>;
}

export type WhereOf = string | Readonly<Record<string, string>>;

/** @throws DataError when the data cannot be opened, do not cover the inputs, or select nothing; ConfigError for a wrong `where`. */
export async function openPopulation(where: WhereOf, options: SampleOptions, note: (text: string) => void): Promise<Population> {
  const named = typeof where === "string" ? undefined : checkNames(where, options.inputs);
  const parts: Part[] = [];
  // With one source per input, labels may come with any of them: that one has none says nothing.
  const tell = { note, noteUnlabelled: named && (named.labels !== undefined || options.inputs.length > 1) ? () => undefined : note };
  if (typeof where === "string") parts.push(await openPart(where, options.inputs, options, tell));
  else for (const input of options.inputs) parts.push(await openPart(where[input.name] as string, [input], options, tell));

  const count = sameCount(parts);
  if (count === 0) {
    throw new DataError("DATA_EMPTY", `${textOf(where)} selects no samples.`, {
      hint: "Check the slice and that the source is not empty.",
    });
  }
  const labels = named?.labels === undefined ? labelsOfParts(parts) : await labelsAt(named.labels, count);
  if (named && !labels) note(`${textOf(where)} has no labels: accuracy cannot be measured. Give them as labels=<file.npy>.`);
  const nameOf = (k: number) => parts.map((p) => p.source.nameOf(p.indices[k] as number)).join(" and ");
  const classes = Math.min(options.classes ?? Infinity, ...parts.map((p) => p.source.classes ?? Infinity));
  const real = new Map<string, Promise<string>>();
  return {
    parts,
    count,
    labels,
    text: named ? textOf(where) : (parts[0] as Part).text,
    format: [...new Set(parts.map((p) => p.source.format))].join(", "),
    bad: parts.flatMap((p) => p.source.bad ?? []),
    nameOf,
    keyOf: async (k) => {
      const keys = await Promise.all(parts.map((p) => keyIn(p, p.indices[k] as number, options.seed ?? 0, real)));
      return keys.join("\n");
    },
    labelFault: (k) => (labels ? faultOf(labels[k] as number, classes, () => nameOf(k)) : undefined),
    prepare: async (k) => {
      const pieces = await Promise.all(parts.map((p) => p.prepare(p.indices[k] as number)));
      return Object.assign({}, ...pieces) as Record<string, Tensor>;
    },
  };
}

async function keyIn({ source }: Part, i: number, seed: number, real: Map<string, Promise<string>>): Promise<string> {
  const file = source.fileOf(i);
  if (file === undefined) return `${source.nameOf(i)} of seed ${seed}`;
  const path = real.get(file) ?? realpath(file).catch(() => file);
  real.set(file, path);
  return `${await path}${source.nameOf(i).slice(file.length)}`;
}

function textOf(where: WhereOf): string {
  if (typeof where === "string") return where;
  return Object.entries(where)
    .map(([k, v]) => `${k}=${v}`)
    .join(" ");
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

function faultOf(label: number, classes: number, name: () => string): DataError | undefined {
  if (label >= 0 && label < classes) return undefined;
  const expected = Number.isFinite(classes) ? `0..${classes - 1}` : "0 or more";
  const what = label === -1 ? `has no label (or -1), expected ${expected}` : `has label ${label}, expected ${expected}`;
  return new DataError("DATA_LABELS", `${name()} ${what}.`, {
    hint: "Labels are the model's class numbers, counted from 0. Is this the data set of this model? --skip-bad (skipBad) leaves such samples out.",
  });
}
