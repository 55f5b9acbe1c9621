/**
 * Parquet tables with an image or tensor column, as Hugging Face data sets have them: one file or the shards of a split.
 * @see https://huggingface.co/docs/datasets/about_dataset_features
 */
import { dirname } from "node:path";
import { DataError } from "../../errors.js";
import { bitsOf, type DType, isFloat } from "../../graph/dtype.js";
import { Tensor } from "../../graph/tensor.js";
import { openBytes } from "../file.js";
import { contentFingerprint, digest } from "../fingerprint.js";
import type { OpenOptions } from "../open.js";
import { decodeImage } from "../pixels.js";
import { foldersBeside } from "../preprocess.js";
import type { Bad, InputShape, Source } from "../source.js";
import { type Binding, bindColumns, type Column } from "./parquet-columns.js";
import { cachedRows, lastAtMost, openParquetFile, type ParquetFile, type Row } from "./parquet-file.js";

type Options = Pick<OpenOptions, "inputs" | "skipBad" | "note" | "noteUnlabelled">;

/**
 * The rows of `files`, one after the other, in the order of the files.
 *
 * In memory are the labels, and some blocks of rows (parquet-file.ts). Columns are those of the first file, see `bindColumns`;
 * `chosen` overrides. Text labels are numbered by the names of a ClassLabel, else in the order of names.
 * @throws DataError naming file, row group and row.
 */
export async function openParquet(
  files: readonly string[],
  chosen: Readonly<Record<string, string>>,
  { inputs, skipBad, note, noteUnlabelled }: Options,
): Promise<Source> {
  const { opened, bad } = await openAll(files, skipBad);
  const first = opened[0] as ParquetFile;
  noteMissingShards(files, note);
  const binding = bindColumns(first, inputs, chosen, { note, noteUnlabelled });
  const starts: number[] = [];
  let count = 0;
  for (const { rows } of opened) {
    starts.push(count);
    count += rows;
  }
  const at = (i: number) => {
    const k = lastAtMost(starts, i, (start) => start);
    return { file: opened[k] as ParquetFile, row: i - (starts[k] as number) };
  };
  const nameOf = (i: number) => at(i).file.nameOf(at(i).row);
  const { labels, classes } = await readLabels(opened, binding, { skipBad, note, noteUnlabelled });
  const columns = [...new Set([...binding.inputs.values()].map((c) => c.name))];
  for (const file of opened) checkSameColumns(first, file, columns);
  const rowOf = cachedRows(columns);
  const common = {
    format: "Parquet",
    count,
    labels,
    ...(classes === undefined ? {} : { classes }),
    beside: [...foldersBeside(first.file, "file"), ...(/[/\\]data$/.test(dirname(first.file)) ? [dirname(dirname(first.file))] : [])],
    bad,
    nameOf,
    fileOf: (i: number) => at(i).file.file,
    fingerprint: async (indices: readonly number[]) => {
      const used = columns.concat(binding.label?.name ?? []).join("\n");
      return digest([await contentFingerprint(opened.map((f) => f.bytes)), used, indices.join()]);
    },
  };
  const [image, ...others] = [...binding.inputs].filter(([, c]) => c.kind === "image");
  if (image && (others.length > 0 || inputs.length > 1)) {
    throw new DataError(
      "DATA_INPUTS",
      `${first.file}: "${image[1].name}" is a column of images, and the model has ${inputs.length} inputs.`,
      {
        at: { file: first.file },
        hint: `Give one source per input by name: ${inputs.map((i) => `${i.name}=<where>`).join(" ")}; they may be the same file.`,
      },
    );
  }
  if (image) {
    const [, column] = image;
    return {
      ...common,
      kind: "pixels",
      read: async (i) => decodeImage(imageBytes((await rowOf(at(i).file, at(i).row))[column.name], nameOf(i)), nameOf(i)),
    };
  }
  return {
    ...common,
    kind: "tensors",
    read: async (i) => {
      const row = await rowOf(at(i).file, at(i).row);
      return Object.fromEntries(
        inputs.map((input) => [input.name, tensorOf(row, binding.inputs.get(input.name) as Column, input, nameOf(i))]),
      );
    },
  };
}

async function openAll(files: readonly string[], skipBad: boolean): Promise<{ opened: ParquetFile[]; bad: Bad[] }> {
  const opened: ParquetFile[] = [];
  const bad: Bad[] = [];
  let error: DataError | undefined;
  for (const file of files) {
    try {
      opened.push(await openParquetFile(await openBytes(file)));
    } catch (cause) {
      if (!(cause instanceof DataError) || !skipBad) throw cause;
      error ??= cause;
      bad.push({ sample: `all of ${file}`, why: cause.message });
    }
  }
  if (opened.length === 0 && error) throw error;
  return { opened, bad };
}

/** Hugging Face numbers shards: train-00000-of-00002.parquet. */
function noteMissingShards(files: readonly string[], note: (text: string) => void): void {
  const shards = files.flatMap((f) => /^(.*)-(\d+)-of-(\d+)\.parquet$/i.exec(f) ?? []);
  const total = Number(shards[3] ?? files.length);
  if (shards.length > 0 && files.length < total) note(`${shards[1]}: ${files.length} of the ${total} files of this split are read.`);
}

function checkSameColumns(first: ParquetFile, file: ParquetFile, columns: readonly string[]): void {
  const missing = columns.find((name) => !file.columns.some((c) => c.element.name === name));
  if (missing === undefined) return;
  throw new DataError("DATA_COLUMNS", `${file.file} has no column "${missing}", which ${first.file} has.`, {
    at: { file: file.file },
    hint: "The files of a split must have the same columns; name one file, or keep only the shards that belong together.",
  });
}

/**
 * Class numbers of all rows, read one row group at a time; -1 where a row has none. With `skipBad` those of a row group that
 * cannot be read are -1 too.
 */
async function readLabels(
  files: readonly ParquetFile[],
  { label, classNames }: Binding,
  { skipBad, note, noteUnlabelled }: Pick<Options, "skipBad" | "note" | "noteUnlabelled">,
): Promise<{ labels: Int32Array | undefined; classes: number | undefined }> {
  if (!label) return { labels: undefined, classes: undefined };
  const values: unknown[] = [];
  for (const file of files) {
    checkSameColumns(files[0] as ParquetFile, file, [label.name]);
    for (const group of file.groups) {
      try {
        for (const row of await file.read(group, [label.name])) values.push(row[label.name]);
      } catch (error) {
        if (!(error instanceof DataError) || !skipBad) throw error;
        for (let i = group.from; i < group.to; i++) values.push(undefined);
      }
    }
  }
  const known = values.filter((v) => v !== undefined && v !== null);
  let order: readonly string[] | undefined = classNames;
  if (label.kind === "text" && !order) {
    order = [...new Set(known.map(String))].sort();
    const shown = `${order.slice(0, 3).join(", ")}${order.length > 3 ? ", …" : ""}`;
    note(`Labels in "${label.name}" are text: its ${order.length} names are numbered from 0 in their order (${shown}).`);
  }
  const numbers = new Map(order?.map((name, k) => [name, k]));
  const files0 = (files[0] as ParquetFile).file;
  const labels = Int32Array.from(values, (v) => {
    if (v === undefined || v === null) return -1;
    const number = label.kind === "text" ? numbers.get(String(v)) : Number(v);
    if (number !== undefined && Number.isInteger(number) && Math.abs(number) < 2 ** 31) return number;
    throw new DataError(
      "DATA_LABELS",
      `A label in "${label.name}" of ${files0} is ${String(v)}, expected a class number or one of its names.`,
      {
        at: { file: files0 },
        hint: "Labels are class numbers counted from 0, or names that the schema lists.",
      },
    );
  });
  if (labels.length > 0 && labels.every((l) => l === -1)) {
    noteUnlabelled(`No row of "${label.name}" has a label: accuracy cannot be measured.`);
    return { labels: undefined, classes: undefined };
  }
  return { labels, classes: order?.length };
}

function imageBytes(cell: unknown, name: string): Uint8Array {
  const bytes = cell instanceof Uint8Array ? cell : (cell as { bytes?: unknown } | null | undefined)?.bytes;
  if (bytes instanceof Uint8Array) return bytes;
  const path = (cell as { path?: unknown } | null | undefined)?.path;
  throw new DataError("DATA_NULL", `${name} has no image${typeof path === "string" ? `, only the path ${path}` : ""}.`, {
    at: { file: name },
    hint: "Images must be in the table (embed_external_files of datasets does that); --skip-bad (skipBad) leaves out rows without one.",
  });
}

/**
 * One cell as [1, …]. A flat list is taken as the input's shape in row-major order when it has as many elements: lists are how
 * Parquet holds tensors.
 */
function tensorOf(row: Row, column: Column, input: InputShape, name: string): Tensor {
  if (column.kind !== "numbers") throw new DataError("DATA_COLUMNS", `${name}: "${column.name}" holds no numbers.`);
  const dims: number[] = [];
  const flat: unknown[] = [];
  collect(row[column.name], 0);
  const want = input.shape.slice(1);
  const size = want.every((d) => typeof d === "number") ? want.reduce((a: number, b) => a * (b as number), 1) : undefined;
  const isFlat = dims.length <= 1 && want.length !== dims.length && size === flat.length;
  const shape = input.shape.length === 0 && dims.length === 0 ? [] : [1, ...(isFlat ? (want as number[]) : dims)];
  return numbersOf(column.dtype, shape, flat);

  function collect(cell: unknown, depth: number): void {
    if (cell === null || cell === undefined) {
      throw new DataError("DATA_NULL", `${name}: "${column.name}" is null, or holds a null.`, {
        at: { file: name, value: input.name },
        hint: "A tensor needs all its numbers; --skip-bad (skipBad) leaves such rows out.",
      });
    }
    if (!Array.isArray(cell) && !ArrayBuffer.isView(cell)) {
      flat.push(cell);
      return;
    }
    const list = cell as ArrayLike<unknown>;
    if (dims[depth] === undefined && flat.length === 0) dims[depth] = list.length;
    if (dims[depth] !== list.length) {
      throw new DataError(
        "DATA_SHAPE",
        `${name}: lists in "${column.name}" have ${dims[depth]} and ${list.length} elements, which is no tensor.`,
        {
          at: { file: name, value: input.name },
          hint: "All lists of one level must be of the same length.",
        },
      );
    }
    for (let k = 0; k < list.length; k++) collect(list[k], depth + 1);
  }
}

function numbersOf(dtype: DType, dims: readonly number[], flat: readonly unknown[]): Tensor {
  if (!isFloat(dtype) && bitsOf(dtype) === 64) {
    const wide = BigInt64Array.from(flat, (v) => BigInt.asIntN(64, BigInt(v as bigint | number)));
    return Tensor.ofBytes(dtype, dims, new Uint8Array(wide.buffer));
  }
  return Tensor.fromNumbers(dtype, dims, Float64Array.from(flat, Number));
}
