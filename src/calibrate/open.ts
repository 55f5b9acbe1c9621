/** From a `where` to its reader: told by content (magic numbers, sizes, folder layout), never by a model's or file's name alone. */
import { join } from "node:path";
import { ConfigError, DataError } from "../errors.js";
import { type Bytes, kindOf, list, openBytes } from "./file.js";
import { contentFingerprint, digest } from "./fingerprint.js";
import { foldersBeside } from "./preprocess.js";
import { type CifarVariant, cifarVariant, openCifar } from "./readers/cifar.js";
import { isIdx, openIdx } from "./readers/idx.js";
import { isImage, openImage, openImageFolder, openLabelsCsv } from "./readers/images.js";
import { isNpy, isZip, labelsOf, openNpy, openNpz, type RowArray } from "./readers/npy.js";
import type { openParquet as OpenParquet } from "./readers/parquet.js";
import { openRandom } from "./readers/random.js";
import { openTestData } from "./readers/test-data.js";
import type { InputShape, Source, TensorSource } from "./source.js";
import { classFolders, layoutOf, pickSplit } from "./splits.js";
import type { ReaderName, Where } from "./where.js";

export interface OpenOptions {
  /** The inputs this source has to fill. */
  readonly inputs: readonly InputShape[];
  readonly seed: number;
  readonly symbols: Readonly<Record<string, number>>;
  /** Leave out what cannot be opened, where the rest can. */
  readonly skipBad: boolean;
  readonly note: (text: string) => void;
  /** Told that a source has no labels; silent where they come from a source of their own. */
  readonly noteUnlabelled: (text: string) => void;
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
  return openOneFile(where.path, where, options);
}

async function openOneFile(file: string, where: Where, options: OpenOptions): Promise<Source> {
  const { reader } = where;
  const bytes = await openBytes(file);
  const head = await bytes.read(0, Math.min(16, bytes.size));
  if (reader === "parquet" || (reader === undefined && isParquet(head))) return openParquet([file], where.columns, options);
  refuseColumns(where);
  if (reader === "onnx" || (reader === undefined && file.endsWith(".pb"))) return openTestData([{ name: file, files: [file] }], options);
  if (reader === "images" || reader === undefined) {
    if (file.endsWith(".csv")) return openLabelsCsv(file, options.skipBad);
    if (reader === "images") return openImage(file);
  }
  if (reader === "npy" || (reader === undefined && (isNpy(head) || isZip(head)))) {
    return isZip(head) ? openArchive(file, options) : openArray(file, options);
  }
  if (reader === undefined && isImage(head)) return openImage(file);
  // A CIFAR record may begin 00 00 08 03 too (label 0, three dark pixels); an idx file must also have the length it declares.
  const variant = reader === undefined ? await cifarVariant(bytes) : undefined;
  if (reader === "mnist" || (reader === undefined && isIdx(head) && variant === undefined)) return openIdx(bytes, options);
  if (reader === "cifar10" || reader === "cifar100") return openCifar([bytes], reader, options.skipBad);
  if (variant !== undefined) return openCifar([bytes], variant, options.skipBad);
  if (/\.bin(\.gz)?$/.test(file)) return openCifar([bytes], "cifar10", options.skipBad);
  throw unknownFormat(file);
}

async function openFolder(where: Where, options: OpenOptions): Promise<Source> {
  const { path, split } = where;
  const layout = await layoutOf(where);
  const chosen = pickSplit(path, split, [...layout.splits.keys()], options.note);
  const files = layout.splits.get(chosen) as readonly string[];
  const source = await openSplit(where, layout.reader, chosen, files, options);
  return layout.splits.size > 1 ? { ...source, split: chosen } : source;
}

async function openSplit(where: Where, kind: ReaderName, split: string, files: readonly string[], options: OpenOptions): Promise<Source> {
  const { path, reader } = where;
  if (kind === "parquet") return openParquet(files, where.columns, options);
  refuseColumns(where);
  switch (kind) {
    case "onnx":
      return openTestData(await testSets(files), options);
    case "mnist":
      return openIdx(await openBytes(files[0] as string), options);
    case "npy":
      if (files.length === 1) return openOneFile(files[0] as string, where, options);
      throw new ConfigError("DATA_SPLIT", `${path} holds ${files.length} arrays of the split "${split}": ${files.join(", ")}.`, {
        at: { file: path },
        hint: "Name one file, or give one source per input by name.",
      });
    case "cifar10":
    case "cifar100": {
      const opened = await Promise.all(files.map(openBytes));
      const first = opened[0];
      const variant: CifarVariant = reader === "cifar100" ? reader : ((first && (await cifarVariant(first))) ?? "cifar10");
      return openCifar(opened, variant, options.skipBad);
    }
    default: {
      const folder = files[0] as string;
      return openImageFolder(folder, options, await classFolders(folder, path));
    }
  }
}

function isParquet(head: Uint8Array): boolean {
  return Buffer.from(head.subarray(0, 4)).toString("latin1") === "PAR1";
}

/** Its decoders take a while to start, which runs without Parquet need not wait for. */
async function openParquet(...options: Parameters<typeof OpenParquet>): Promise<Source> {
  return (await import("./readers/parquet.js")).openParquet(...options);
}

function refuseColumns({ path, columns }: Where): void {
  const [name] = Object.keys(columns);
  if (name === undefined) return;
  throw new ConfigError("DATA_COLUMNS", `${path} is no table: there is no column to take as "${name}".`, {
    at: { file: path },
    hint: "Columns are chosen in Parquet files only; leave out what stands after the #.",
  });
}

async function testSets(folders: readonly string[]): Promise<{ name: string; files: string[] }[]> {
  return Promise.all(
    folders.map(async (folder) => {
      const inputs = (await list(folder)).files.filter((f) => /^input_\d+\.pb$/.test(f));
      inputs.sort((a, b) => Number(a.slice(6, -3)) - Number(b.slice(6, -3)));
      return { name: folder, files: inputs.map((f) => join(folder, f)) };
    }),
  );
}

async function openArray(file: string, { inputs, skipBad, noteUnlabelled }: OpenOptions): Promise<TensorSource> {
  const bytes = await openBytes(file);
  const array = await openNpy(bytes, skipBad);
  const input = onlyInput(inputs, file);
  noteUnlabelled(`${file} has no labels; an .npz with the key "labels", or a source named labels, has.`);
  return arrays(bytes, "npy", new Map([[input.name, array]]), inputs, undefined);
}

async function openArchive(file: string, { inputs, note, noteUnlabelled }: OpenOptions): Promise<TensorSource> {
  const names = inputs.map((i) => i.name);
  const bytes = await openBytes(file);
  const { arrays: found, keys } = await openNpz(bytes, () => true);
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
  if (labelKey === undefined) noteUnlabelled(`${file} has no array "labels" or "y": accuracy cannot be measured.`);
  return arrays(bytes, "npz", bound, inputs, labels);
}

/** Class numbers in a .npy, for the source named "labels". */
export async function openLabels(file: string): Promise<Int32Array> {
  return labelsOf(await openNpy(await openBytes(file)));
}

/** Samples are the rows along axis 0, of which all arrays have the same number; inputs of rank 0 are the same for all. */
function arrays(
  bytes: Bytes,
  format: string,
  bound: ReadonlyMap<string, RowArray>,
  inputs: readonly InputShape[],
  labels: Int32Array | undefined,
): TensorSource {
  const { file } = bytes;
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
  const cut = [...bound.values()].find((a) => a.cut)?.cut;
  const bad = Array.from({ length: cut?.rows ?? 0 }, (_, k) => ({ sample: `${file} sample ${count + k}`, why: cut?.why ?? "" }));
  return {
    kind: "tensors",
    format,
    count,
    bad,
    labels,
    beside: foldersBeside(file, "file"),
    nameOf: (i) => `${file} sample ${i}`,
    fileOf: () => file,
    fingerprint: async (indices) => digest([await contentFingerprint([bytes]), indices.join()]),
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
    hint: "Known: image files and folders, CIFAR .bin, MNIST idx, .npy, .npz, ONNX test data (.pb), Parquet; .gz too. Force one with cifar10:, cifar100:, mnist:, npy:, images:, onnx: or parquet: before the path.",
  });
}
