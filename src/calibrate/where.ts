/**
 * The spelling of a data source: `[reader:]path[#split,key=column][[slice]]`.
 *
 *   val/                      a folder or file, told by its content
 *   cifar10:test.bin          a reader forced by name
 *   mnist#train               a split of a folder that holds several
 *   faces.parquet#label=id    a column chosen by name: label, image, or an input of the model
 *   train.bin.gz[0:2000]      samples, in Python's slice notation; also [::4], [-100:], [7], [1::4,2::4,3::4]
 *   random:64                 made-up data
 */
import { ConfigError } from "../errors.js";
import { kindOf } from "./file.js";

const READERS = ["cifar10", "cifar100", "mnist", "npy", "images", "onnx", "parquet", "random"] as const;
/** A reader by name. `npy` reads .npz as well. */
export type ReaderName = (typeof READERS)[number];

export interface Where {
  readonly reader: ReaderName | undefined;
  readonly path: string;
  readonly split: string | undefined;
  /** Column names by what they are for: "label", "image" or the name of an input. Only tables (Parquet) have columns. */
  readonly columns: Readonly<Record<string, string>>;
  /** Text between the brackets; see `selectIndices`. */
  readonly slice: string | undefined;
}

/** Parses `text`. A file or folder whose name really ends in brackets or holds a # is taken literally. */
export async function parseWhere(text: string): Promise<Where> {
  const named = /^(\w+):(.*)$/s.exec(text);
  const reader = READERS.find((r) => r === named?.[1]);
  let path = reader ? (named?.[2] ?? "") : text;
  let slice: string | undefined;
  let split: string | undefined;
  const columns: Record<string, string> = {};
  if (reader === "random") return { reader, path, split, columns, slice };
  if ((await kindOf(path)) === undefined) {
    const bracket = /^(.*)\[([^[\]]*)\]$/s.exec(path);
    if (bracket) [path, slice] = [bracket[1] as string, bracket[2] as string];
  }
  if ((await kindOf(path)) === undefined) {
    const hash = /^(.*)#([^#/\\]*)$/s.exec(path);
    if (hash) {
      path = hash[1] as string;
      for (const part of (hash[2] as string).split(",").map((t) => t.trim())) {
        const equals = part.indexOf("=");
        if (equals > 0) columns[part.slice(0, equals)] = part.slice(equals + 1);
        else split = part;
      }
    }
  }
  return { reader, path, split, columns, slice };
}

/** The spelling that `parseWhere` reads as `where`. */
export function whereText({ reader, path, split, columns, slice }: Where): string {
  const after = [...(split === undefined ? [] : [split]), ...Object.entries(columns).map(([key, column]) => `${key}=${column}`)];
  return `${reader ? `${reader}:` : ""}${path}${after.length > 0 ? `#${after.join(",")}` : ""}${slice === undefined ? "" : `[${slice}]`}`;
}

/**
 * The indices that `slice` selects among `count`, as Python would: negative numbers count from the end, ranges are cut to size.
 * Several slices are joined by commas, in the order written.
 * @throws ConfigError SLICE_INVALID for anything else, a step of 0, or a single index out of range.
 */
export function selectIndices(slice: string, count: number): number[] {
  return slice.split(",").flatMap((part) => {
    const numbers = part.split(":").map((t) => t.trim());
    if (numbers.length > 3 || numbers.some((t) => !/^-?\d*$/.test(t) || t === "-")) throw badSlice(slice);
    const [a, b, c] = numbers.map((t) => (t === "" ? undefined : Number(t)));
    if (numbers.length > 1) return range(a, b, c ?? 1, count, slice);
    if (a === undefined) throw badSlice(slice);
    const index = a < 0 ? count + a : a;
    if (index < 0 || index >= count) throw badSlice(slice, `Sample ${a} does not exist among ${count}.`);
    return [index];
  });
}

/** Python's slice.indices, then range. */
function range(start: number | undefined, stop: number | undefined, step: number, count: number, slice: string): number[] {
  if (step === 0) throw badSlice(slice, "The step of a slice cannot be 0.");
  const [low, high] = step > 0 ? [0, count] : [-1, count - 1];
  const clamp = (i: number) => Math.min(Math.max(i < 0 ? i + count : i, low), high);
  const first = start === undefined ? (step > 0 ? low : high) : clamp(start);
  const last = stop === undefined ? (step > 0 ? high : low) : clamp(stop);
  const out: number[] = [];
  for (let i = first; step > 0 ? i < last : i > last; i += step) out.push(i);
  return out;
}

function badSlice(slice: string, why = "It is not a slice."): ConfigError {
  return new ConfigError("SLICE_INVALID", `Cannot select the samples [${slice}]. ${why}`, {
    hint: "Slices are Python's: [0:2000] the first 2,000, [::4] every fourth, [-100:] the last 100, [1::4,2::4,3::4] several joined.",
  });
}
