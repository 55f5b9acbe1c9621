/** What is in a folder: which reader it is for, and its splits (train, val, test, or whatever its files are called). */
import { basename, join, relative } from "node:path";
import { ConfigError } from "../errors.js";
import { type Listing, list } from "./file.js";
import type { ReaderName, Where } from "./where.js";

/** A folder as data. A folder without splits has one, named "". */
export interface Layout {
  readonly reader: ReaderName;
  /** Paths of the files, in order, or of the one folder of a split. */
  readonly splits: ReadonlyMap<string, readonly string[]>;
}

const SPLITS = new Map([
  ["train", "train"],
  ["training", "train"],
  ["val", "val"],
  ["valid", "val"],
  ["validation", "val"],
  ["dev", "val"],
  ["test", "test"],
  ["testing", "test"],
]);

/**
 * Told by names and content of the entries, unless `where` forces the reader.
 * @throws ConfigError when the forced reader reads files only.
 */
export async function layoutOf({ path, reader, split }: Where): Promise<Layout> {
  const entries = await list(path);
  const is = (name: ReaderName, looksLikeIt: boolean) => reader === name || (reader === undefined && looksLikeIt);
  const hasList = entries.files.includes("labels.csv");
  const named = (pattern: RegExp) => entries.files.filter((f) => pattern.test(f)).map((f) => join(path, f));

  const sets = entries.folders.filter((f) => /^test_data_set_\d+$/.test(f)).sort((a, b) => Number(a.slice(14)) - Number(b.slice(14)));
  if (is("onnx", sets.length > 0 || entries.files.includes("input_0.pb"))) {
    return { reader: "onnx", splits: new Map([["", sets.length > 0 ? sets.map((s) => join(path, s)) : [path]]]) };
  }
  const parquet = await parquetFiles(path, entries);
  if (is("parquet", parquet.length > 0)) return { reader: "parquet", splits: bySplit(path, parquet) };
  const idx = named(/images.*idx3|images.*ubyte/i);
  if (is("mnist", idx.length > 0 && !hasList)) return { reader: "mnist", splits: bySplit(path, idx) };
  const bins = named(/\.bin(\.gz)?$/i);
  if (is("cifar10", bins.length > 0 && !hasList) || reader === "cifar100") {
    return { reader: reader ?? "cifar10", splits: bySplit(path, bins) };
  }
  const arrays = named(/\.np[yz]$/i);
  if (is("npy", arrays.length > 0 && !hasList)) return { reader: "npy", splits: bySplit(path, arrays) };
  if (is("images", true)) return { reader: "images", splits: imageSplits(path, entries, split) };
  throw new ConfigError("DATA_READER", `The reader "${reader}" reads a file, but ${path} is a folder${split ? ` (split ${split})` : ""}.`, {
    at: { file: path },
    hint: "Name the file.",
  });
}

/**
 * The split `asked` for, else test, val or the only one, with a note when there was a choice.
 * @throws ConfigError DATA_SPLIT when there is no such split, or none to take by itself.
 */
export function pickSplit(path: string, asked: string | undefined, splits: readonly string[], note: (text: string) => void): string {
  const known = asked === undefined ? undefined : splits.includes(asked) ? asked : SPLITS.get(asked.toLowerCase());
  if (known !== undefined && splits.includes(known)) return known;
  const several = splits.length > 1;
  const chosen = ["test", "val"].find((s) => splits.includes(s)) ?? (several ? undefined : splits[0]);
  if (asked !== undefined || chosen === undefined) {
    const has = splits.filter((s) => s !== "");
    throw new ConfigError(
      "DATA_SPLIT",
      `${path} has ${has.length === 0 ? "no splits" : `the splits ${has.join(", ")}`}${asked ? `, not "${asked}"` : ", none of them test or val"}.`,
      {
        at: { file: path },
        hint: has.length === 0 ? "Leave out the # and what follows it." : `Write for example ${path}#${has[0]}.`,
      },
    );
  }
  if (several) note(`${path}: using the split "${chosen}" of ${splits.join(", ")}; write ${path}#<split> to choose.`);
  return chosen;
}

function bySplit(path: string, files: readonly string[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const file of files) {
    const split = splitOf(relative(path, file));
    groups.set(split, [...(groups.get(split) ?? []), file]);
  }
  return groups;
}

/** By the file's name, or by the folder it is in (train/0000.parquet). */
function splitOf(file: string): string {
  const name = basename(file);
  if (/t10k|(^|[^a-z])test/i.test(name)) return "test";
  if (/data_batch|(^|[^a-z])train/i.test(name)) return "train";
  if (/(^|[^a-z])(val|dev)/i.test(name)) return "val";
  const folders = file.split(/[/\\]/).slice(0, -1);
  const byFolder = folders.map((f) => SPLITS.get(f.toLowerCase())).find((s) => s !== undefined);
  // Numbered shards of a set of any other name belong together: extra-00000-of-00002.
  return byFolder ?? name.replace(/\..*$/, "").replace(/-\d+-of-\d+$/, "");
}

/** Of the folder itself, or one level below: data/train-00000-of-00001.parquet, train/0000.parquet. */
async function parquetFiles(path: string, entries: Listing): Promise<string[]> {
  const isParquet = (f: string) => /\.parquet$/i.test(f);
  const here = entries.files.filter(isParquet).map((f) => join(path, f));
  if (here.length > 0) return here;
  const below = entries.folders.filter((f) => f === "data" || SPLITS.has(f.toLowerCase()));
  const found = await Promise.all(
    below.map(async (f) => (await list(join(path, f))).files.filter(isParquet).map((name) => join(path, f, name))),
  );
  return found.flat();
}

/** Folders train/ and val/ are splits, not two classes; any sub-folder is one when it is asked for. */
function imageSplits(path: string, { folders }: Listing, asked: string | undefined): Map<string, readonly string[]> {
  if (asked !== undefined && folders.includes(asked)) return new Map([[asked, [join(path, asked)]]]);
  const areSplits = folders.length > 0 && folders.every((f) => SPLITS.has(f.toLowerCase()));
  if (!areSplits) return new Map([["", [path]]]);
  return new Map(folders.map((f) => [SPLITS.get(f.toLowerCase()) as string, [join(path, f)]]));
}

/** Class folders of all splits beside `folder`, so that a class has one number in all of them; undefined when it is no split. */
export async function classFolders(folder: string, path: string): Promise<string[] | undefined> {
  if (folder === path) return undefined;
  const { folders } = await list(path);
  if (!folders.every((f) => SPLITS.has(f.toLowerCase()))) return undefined;
  const inside = await Promise.all(folders.map(async (f) => (await list(join(path, f))).folders));
  return [...new Set(inside.flat())].sort();
}
