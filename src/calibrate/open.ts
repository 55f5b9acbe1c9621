/** From a `where` to its reader: told by content (magic numbers, sizes, folder layout), never by a model's or file's name alone. */
import { basename, join } from "node:path";
import { ConfigError, DataError } from "../errors.js";
import { kindOf, type Listing, list, openBytes } from "./file.js";
import { foldersBeside } from "./preprocess.js";
import { type CifarVariant, cifarVariant, openCifar } from "./readers/cifar.js";
import { isIdx, openIdx } from "./readers/idx.js";
import { isImage, openImage, openImageFolder, openLabelsCsv } from "./readers/images.js";
import { isNpy, isZip, labelsOf, openNpy, openNpz, type RowArray } from "./readers/npy.js";
import { openRandom } from "./readers/random.js";
import { openTestData } from "./readers/test-data.js";
import type { InputShape, Source, TensorSource } from "./source.js";
import type { ReaderName, Where } from "./where.js";

export interface OpenOptions {
  /** The inputs this source has to fill. */
  readonly inputs: readonly InputShape[];
  readonly seed: number;
  readonly symbols: Readonly<Record<string, number>>;
  readonly note: (text: string) => void;
}

/** Opens what `where` names. @throws DataError when nothing is there or it is of no known format. */
export async function openSource(where: Where, options: OpenOptions): Promise<Source> {
  if (where.reader === "random") return openRandom(where.path, options.inputs, options);
  const kind = await kindOf(where.path);
  if (kind === undefined) {
    throw new DataError("DATA_UNREADABLE", `There is no file or folder ${where.path}.`, {
      at: { file: where.path },
      hint: "Check the path; relative paths start at the working directory. For made-up data write random:64.",
    });
  }
  if (kind === "folder") return openFolder(where, options);
  if (where.split !== undefined) {
    throw new ConfigError("DATA_SPLIT", `${where.path} is a file and has no split "${where.split}".`, {
      at: { file: where.path },
      hint: "To select samples of a file write file[0:1000].",
    });
  }
  return openOneFile(where.path, where.reader, options);
}

async function openOneFile(file: string, reader: ReaderName | undefined, options: OpenOptions): Promise<Source> {
  if (reader === "onnx" || (reader === undefined && file.endsWith(".pb")))
    return openTestData([{ name: file, files: [file] }], options.inputs);
  if (reader === "images" || reader === undefined) {
    if (file.endsWith(".csv")) return openLabelsCsv(file);
    if (reader === "images") return openImage(file);
  }
  const bytes = await openBytes(file);
  const head = await bytes.read(0, Math.min(16, bytes.size));
  if (reader === "npy" || (reader === undefined && (isNpy(head) || isZip(head)))) {
    return isZip(head) ? openArchive(file, options) : openArray(file, options);
  }
  if (reader === undefined && isImage(head)) return openImage(file);
  // A CIFAR record may begin 00 00 08 03 too (label 0, three dark pixels); an idx file must also have the length it declares.
  const variant = reader === undefined ? await cifarVariant(bytes) : undefined;
  if (reader === "mnist" || (reader === undefined && isIdx(head) && variant === undefined)) return openIdx(bytes, options.note);
  if (reader === "cifar10" || reader === "cifar100") return openCifar([bytes], reader);
  if (variant !== undefined) return openCifar([bytes], variant);
  if (/\.bin(\.gz)?$/.test(file)) return openCifar([bytes], "cifar10");
  throw unknownFormat(file);
}

async function openFolder(where: Where, options: OpenOptions): Promise<Source> {
  const { path, reader, split } = where;
  const entries = await list(path);
  const isReader = (name: ReaderName, looksLikeIt: boolean) => reader === name || (reader === undefined && looksLikeIt);

  const sets = entries.folders.filter((f) => /^test_data_set_\d+$/.test(f)).sort((a, b) => Number(a.slice(14)) - Number(b.slice(14)));
  if (isReader("onnx", sets.length > 0 || entries.files.includes("input_0.pb"))) {
    return openTestData(await testSets(path, sets), options.inputs);
  }
  const idx = entries.files.filter((f) => /images.*idx3|images.*ubyte/i.test(f));
  const hasList = entries.files.includes("labels.csv");
  if (isReader("mnist", idx.length > 0 && !hasList)) {
    const files = chooseSplit(where, idx, options.note);
    return openIdx(await openBytes(files[0] as string), options.note);
  }
  const bins = entries.files.filter((f) => /\.bin(\.gz)?$/i.test(f));
  if (isReader("cifar10", bins.length > 0 && !hasList) || reader === "cifar100") {
    const opened = await Promise.all(chooseSplit(where, bins, options.note).map(openBytes));
    const first = opened[0];
    const variant: CifarVariant = reader === "cifar100" ? reader : ((first && (await cifarVariant(first))) ?? "cifar10");
    return openCifar(opened, variant);
  }
  if (isReader("images", true)) return openImageFolder(imageFolder(where, entries, options.note), options.note);
  throw new ConfigError("DATA_READER", `The reader "${reader}" reads a file, but ${path} is a folder${split ? ` (split ${split})` : ""}.`, {
    at: { file: path },
    hint: "Name the file.",
  });
}

/** The files of the asked split, or of the test split (then val, then the only one), with a note when there was a choice. */
function chooseSplit({ path, split }: Where, names: readonly string[], note: (text: string) => void): string[] {
  const groups = new Map<string, string[]>();
  for (const name of names) groups.set(splitOf(name), [...(groups.get(splitOf(name)) ?? []), join(path, name)]);
  const chosen = pickSplit(path, split, [...groups.keys()], note);
  return groups.get(chosen) as string[];
}

function pickSplit(path: string, split: string | undefined, splits: readonly string[], note: (text: string) => void): string {
  if (split !== undefined && splits.includes(split)) return split;
  const several = splits.length > 1;
  const chosen = ["test", "val"].find((s) => splits.includes(s)) ?? (several ? undefined : splits[0]);
  if (split !== undefined || chosen === undefined) {
    throw new ConfigError(
      "DATA_SPLIT",
      `${path} has ${splits.length === 0 ? "no splits" : `the splits ${splits.join(", ")}`}${split ? `, not "${split}"` : ", none of them test or val"}.`,
      {
        at: { file: path },
        hint: splits.length === 0 ? "Leave out the # and what follows it." : `Write for example ${path}#${splits[0]}.`,
      },
    );
  }
  if (several) note(`${path}: using the split "${chosen}" of ${splits.join(", ")}; write ${path}#<split> to choose.`);
  return chosen;
}

function splitOf(name: string): string {
  if (/t10k|(^|[^a-z])test/i.test(name)) return "test";
  if (/data_batch|(^|[^a-z])train/i.test(name)) return "train";
  if (/(^|[^a-z])val/i.test(name)) return "val";
  return basename(name).replace(/\..*$/, "");
}

const SPLIT_FOLDERS = new Map([
  ["train", "train"],
  ["val", "val"],
  ["valid", "val"],
  ["validation", "val"],
  ["test", "test"],
]);

/** Folders train/ and val/ are splits, not two classes. */
function imageFolder({ path, split }: Where, entries: Listing, note: (text: string) => void): string {
  const areSplits = entries.folders.length > 0 && entries.folders.every((f) => SPLIT_FOLDERS.has(f.toLowerCase()));
  if (split !== undefined && entries.folders.includes(split)) return join(path, split);
  if (!areSplits && split === undefined) return path;
  const names = areSplits ? entries.folders : [];
  const chosen = pickSplit(
    path,
    split,
    names.map((f) => SPLIT_FOLDERS.get(f.toLowerCase()) as string),
    note,
  );
  return join(path, names.find((f) => SPLIT_FOLDERS.get(f.toLowerCase()) === chosen) as string);
}

async function testSets(path: string, sets: readonly string[]): Promise<{ name: string; files: string[] }[]> {
  const folders = sets.length > 0 ? sets.map((s) => join(path, s)) : [path];
  return Promise.all(
    folders.map(async (folder) => {
      const inputs = (await list(folder)).files.filter((f) => /^input_\d+\.pb$/.test(f));
      inputs.sort((a, b) => Number(a.slice(6, -3)) - Number(b.slice(6, -3)));
      return { name: folder, files: inputs.map((f) => join(folder, f)) };
    }),
  );
}

async function openArray(file: string, { inputs, note }: OpenOptions): Promise<TensorSource> {
  const array = await openNpy(await openBytes(file));
  const input = onlyInput(inputs, file);
  note(`${file} has no labels; an .npz with the key "labels", or a source named labels, has.`);
  return arrays(file, "npy", new Map([[input.name, array]]), inputs, undefined);
}

async function openArchive(file: string, { inputs, note }: OpenOptions): Promise<TensorSource> {
  const names = inputs.map((i) => i.name);
  const { arrays: found, keys } = await openNpz(await openBytes(file), () => true);
  const labelKey = ["labels", "y"].find((k) => found.has(k) && !names.includes(k));
  const labels = labelKey === undefined ? undefined : await labelsOf(found.get(labelKey) as RowArray);
  const bound = new Map<string, RowArray>();
  for (const name of names) {
    const others = keys.filter((k) => k !== labelKey);
    const key = found.has(name) ? name : names.length === 1 && others.length === 1 ? others[0] : undefined;
    if (key === undefined) {
      throw new DataError("DATA_KEYS", `${file} has no array "${name}" for that input of the model; it has ${keys.join(", ") || "none"}.`, {
        at: { file, value: name },
        hint: `Save with the inputs' names: np.savez(path, ${names.map((n) => `**{"${n}": …}`).join(", ")}, labels=…).`,
      });
    }
    if (key !== name) note(`${file}: the array "${key}" is fed to the input "${name}".`);
    bound.set(name, found.get(key) as RowArray);
  }
  if (labelKey === undefined) note(`${file} has no array "labels" or "y": accuracy cannot be measured.`);
  return arrays(file, "npz", bound, inputs, labels);
}

/** Class numbers in a .npy, for the source named "labels". */
export async function openLabels(file: string): Promise<Int32Array> {
  return labelsOf(await openNpy(await openBytes(file)));
}

/** Samples are the rows along axis 0, of which all arrays have the same number; inputs of rank 0 are the same for all. */
function arrays(
  file: string,
  format: string,
  bound: ReadonlyMap<string, RowArray>,
  inputs: readonly InputShape[],
  labels: Int32Array | undefined,
): TensorSource {
  const scalars = new Set(inputs.filter((i) => i.shape.length === 0).map((i) => i.name));
  const counted = [...bound].filter(([name]) => !scalars.has(name));
  const count = counted[0]?.[1].dims[0] ?? 1;
  const uneven = counted.find(([, a]) => (a.dims[0] ?? 1) !== count);
  if (uneven || (labels !== undefined && labels.length !== count)) {
    const [name, n] = uneven ? [uneven[0], uneven[1].dims[0] ?? 1] : ["labels", labels?.length];
    throw new DataError("DATA_COUNT", `${file}: "${counted[0]?.[0]}" has ${count} samples along axis 0, but "${name}" has ${n}.`, {
      at: { file },
      hint: "Axis 0 counts the samples in every array.",
    });
  }
  return {
    kind: "tensors",
    format,
    count,
    labels,
    beside: foldersBeside(file, "file"),
    nameOf: (i) => `${file} sample ${i}`,
    read: async (i) => {
      const entries = [...bound].map(async ([name, array]) => [name, await array.row(i)] as const);
      return Object.fromEntries(await Promise.all(entries));
    },
  };
}

function onlyInput(inputs: readonly InputShape[], file: string): InputShape {
  const [input] = inputs;
  if (input !== undefined && inputs.length === 1) return input;
  throw new DataError(
    "DATA_INPUTS",
    `${file} fills one input, but the model has ${inputs.length}: ${inputs.map((i) => i.name).join(", ")}.`,
    {
      at: { file },
      hint: "Give one source per input by name, or an .npz with one array per input.",
    },
  );
}

function unknownFormat(file: string): DataError {
  return new DataError("DATA_FORMAT", `${file} is of no format that is known here.`, {
    at: { file },
    hint: "Known: image files and folders, CIFAR .bin, MNIST idx, .npy, .npz, ONNX test data (.pb); .gz too. Force one with cifar10:, cifar100:, mnist:, npy:, images: or onnx: before the path.",
  });
}
