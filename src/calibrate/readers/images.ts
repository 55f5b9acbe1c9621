/** Image files: one sub-folder per class, a list in labels.csv, a flat folder without labels, or a single file. */
import { dirname, join, resolve } from "node:path";
import { DataError } from "../../errors.js";
import { filesBelow, kindOf, list, readAll, readText } from "../file.js";
import { listingFingerprint } from "../fingerprint.js";
import type { OpenOptions } from "../open.js";
import { decodeImage } from "../pixels.js";
import { foldersBeside } from "../preprocess.js";
import type { Bad, PixelSource } from "../source.js";

const EXTENSION = /\.(jpe?g|png|webp|gif|tiff?|avif)$/i;

interface Entry {
  readonly file: string;
  readonly label: number | undefined;
}

/** True for a file that begins like an image that sharp decodes. */
export function isImage(head: Uint8Array): boolean {
  const text = Buffer.from(head.subarray(0, 12)).toString("latin1");
  return /^(\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|II\*\0|MM\0\*|....ftypavi)/s.test(text);
}

export function isImageName(name: string): boolean {
  return EXTENSION.test(name);
}

/** One image, without label. */
export function openImage(file: string): PixelSource {
  return source("image", [{ file, label: undefined }], dirname(file), foldersBeside(file, "file"));
}

/**
 * The images of a folder. labels.csv decides when there is one, in the folder or (for its own images) above it; else
 * each sub-folder is a class, numbered from 0 in the order of names (of `classes`, where other splits have more); else the
 * folder is flat and has no labels.
 * @throws DataError when there are no images.
 */
export async function openImageFolder(
  folder: string,
  { skipBad, note, noteUnlabelled }: Pick<OpenOptions, "skipBad" | "note" | "noteUnlabelled">,
  classes?: readonly string[],
): Promise<PixelSource> {
  const here = await list(folder);
  if (here.files.includes("labels.csv")) return openLabelsCsv(join(folder, "labels.csv"), skipBad);
  const images = here.files.filter(isImageName);
  if (images.length > 0) {
    const above = join(folder, "..", "labels.csv");
    if ((await kindOf(above)) === "file") {
      const { entries: all, bad } = await readLabels(above, skipBad);
      const entries = all.filter((e) => resolve(dirname(e.file)) === resolve(folder));
      if (entries.length > 0) {
        note(`Labels are taken from ${above}.`);
        return source("images of labels.csv", entries, folder, [folder, join(folder, "..")], bad);
      }
    }
    noteUnlabelled(`${folder} has neither class folders nor labels.csv: accuracy cannot be measured.`);
    return source(
      "image folder",
      images.map((name) => ({ file: join(folder, name), label: undefined })),
      folder,
      foldersBeside(folder, "folder"),
    );
  }
  const entries: Entry[] = [];
  let others = 0;
  for (const [label, name] of (classes ?? here.folders).entries()) {
    if (!here.folders.includes(name)) {
      note(`${folder} has no folder of class ${label}, "${name}", which another split has; the numbers of the others stay.`);
      continue;
    }
    const inside = await filesBelow(join(folder, name));
    const found = inside.filter(isImageName);
    others += inside.length - found.length;
    if (found.length === 0) note(`Class ${label} (${join(folder, name)}) has no images.`);
    for (const f of found) entries.push({ file: join(folder, name, f), label });
  }
  if (entries.length === 0) {
    throw new DataError("DATA_EMPTY", `${folder} holds no images.`, {
      at: { file: folder },
      hint: "Expected one sub-folder per class, or images with a labels.csv (jpg, png, webp, gif, tiff, avif).",
    });
  }
  if (others > 0) note(`${others} files below ${folder} are no images and are left out.`);
  return source("image folder", entries, folder, foldersBeside(folder, "folder"));
}

/**
 * The images that a labels.csv lists, by paths relative to it.
 * @throws DataError for a row without a class number (with `skipBad` it is left out).
 */
export async function openLabelsCsv(csv: string, skipBad: boolean): Promise<PixelSource> {
  const { entries, bad } = await readLabels(csv, skipBad);
  return source("images of labels.csv", entries, dirname(csv), foldersBeside(csv, "file"), bad);
}

/** Rows of comma-separated values (RFC 4180): quotes, doubled quotes, commas and line breaks inside quotes. */
export function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  // One field, quoted or plain, and what ends it.
  const field = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|\n|\r|$)/gy;
  while (field.lastIndex < text.length) {
    const at = field.lastIndex;
    const m = field.exec(text);
    if (!m) {
      const line = text.slice(0, at).split(/\r\n|\n|\r/).length;
      throw new DataError("DATA_CSV", `Line ${line} is not comma-separated values: a quote is not closed, or text follows it.`);
    }
    row.push(m[1] !== undefined ? m[1].replaceAll('""', '"') : (m[2] as string));
    if (m[3] === ",") {
      // A comma at the very end leaves one more, empty, field.
      if (field.lastIndex === text.length) row.push("");
      else continue;
    }
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  }
  return rows;
}

async function readLabels(csv: string, skipBad: boolean): Promise<{ entries: Entry[]; bad: Bad[] }> {
  let rows: string[][];
  try {
    rows = parseCsv(await readText(csv));
  } catch (error) {
    if (!(error instanceof DataError) || error.code !== "DATA_CSV") throw error;
    throw new DataError("DATA_CSV", `${csv}: ${error.message}`, { at: { file: csv }, hint: "Expected lines `file,label[,name]`." });
  }
  const isNumber = (t: string | undefined) => t !== undefined && /^\s*\d+\s*$/.test(t);
  const head = rows[0]?.map((t) => t.trim().toLowerCase()) ?? [];
  const hasHeader = head.includes("label") || (rows.length > 1 && !isNumber(head[1]) && isNumber(rows[1]?.[1]));
  const fileAt = Math.max(0, head.indexOf("file"));
  const labelAt = head.includes("label") ? head.indexOf("label") : 1;
  const bad: Bad[] = [];
  const entries = rows.slice(hasHeader ? 1 : 0).flatMap((row, k): Entry[] => {
    const file = row[fileAt]?.trim() ?? "";
    if (file === "" || !isNumber(row[labelAt])) {
      const error = new DataError(
        "DATA_LABELS",
        `${csv}, row ${k + 1 + (hasHeader ? 1 : 0)}: expected \`file,label\` with a class number, got "${row.join(",")}".`,
        {
          at: { file: csv },
          hint: "Labels are the model's class numbers, counted from 0; a class name may follow as a third field.",
        },
      );
      if (!skipBad) throw error;
      bad.push({ sample: `${csv}, row ${k + 1 + (hasHeader ? 1 : 0)}`, why: error.message });
      return [];
    }
    return [{ file: join(dirname(csv), file), label: Number(row[labelAt]) }];
  });
  if (entries.length === 0)
    throw new DataError("DATA_EMPTY", `${csv} lists no images.`, { at: { file: csv }, hint: "Expected lines `file,label[,name]`." });
  return { entries, bad };
}

/** `folder`: what the images' paths are relative to where they identify them. */
function source(
  format: string,
  entries: readonly Entry[],
  folder: string,
  beside: readonly string[],
  bad: readonly Bad[] = [],
): PixelSource {
  const labelled = entries.every((e) => e.label !== undefined);
  const nameOf = (i: number) => (entries[i] as Entry).file;
  return {
    kind: "pixels",
    format,
    count: entries.length,
    labels: labelled ? Int32Array.from(entries, (e) => e.label as number) : undefined,
    beside,
    bad,
    nameOf,
    fileOf: nameOf,
    fingerprint: (indices) => listingFingerprint(folder, indices.map(nameOf)),
    read: async (i) => decodeImage(await readAll(nameOf(i)), nameOf(i)),
  };
}
