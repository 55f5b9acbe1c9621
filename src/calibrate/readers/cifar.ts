/**
 * CIFAR binary files: records of one label byte (CIFAR-100: coarse and fine) and 3x32x32 bytes, planar RGB.
 * @see https://www.cs.toronto.edu/~kriz/cifar.html
 */
import { DataError } from "../../errors.js";
import type { Bytes } from "../file.js";
import { contentFingerprint, digest } from "../fingerprint.js";
import { foldersBeside } from "../preprocess.js";
import type { Bad, PixelSource } from "../source.js";

const IMAGE = 3 * 32 * 32;
const VARIANTS = {
  cifar10: { format: "CIFAR-10 binary", labelBytes: 1, classes: 10 },
  /** Labels are the 100 fine classes. */
  cifar100: { format: "CIFAR-100 binary", labelBytes: 2, classes: 100 },
} as const;
export type CifarVariant = keyof typeof VARIANTS;

/** The variant whose record length divides the file; undefined when it is neither. The first labels break the tie. */
export async function cifarVariant(bytes: Bytes): Promise<CifarVariant | undefined> {
  for (const variant of ["cifar10", "cifar100"] as const) {
    const { labelBytes } = VARIANTS[variant];
    const record = labelBytes + IMAGE;
    if (bytes.size === 0 || bytes.size % record !== 0) continue;
    const head = await bytes.read(0, labelBytes);
    if ((head[0] as number) < (variant === "cifar10" ? 10 : 20)) return variant;
  }
  return undefined;
}

/**
 * The records of `files`, one after the other.
 * @throws DataError when a file does not end at the end of a record; with `skipBad` the piece of a record is left out, when there are whole ones.
 */
export async function openCifar(files: readonly Bytes[], variant: CifarVariant, skipBad = false): Promise<PixelSource> {
  const { format, labelBytes, classes } = VARIANTS[variant];
  const record = labelBytes + IMAGE;
  const index: { readonly bytes: Bytes; readonly at: number }[] = [];
  const labels: number[] = [];
  const bad: Bad[] = [];
  for (const bytes of files) {
    const extra = bytes.size % record;
    if (extra !== 0 || bytes.size === 0) {
      const whole = Math.floor(bytes.size / record);
      const error = new DataError(
        "DATA_TRUNCATED",
        `${bytes.file} holds ${whole} ${format} records of ${record} bytes and ${extra} bytes more.`,
        {
          at: { file: bytes.file },
          hint: "The file is cut off or is not of this format; fetch it again, or name the format (cifar10:, cifar100:, mnist:, npy:, images:, onnx:, parquet:).",
        },
      );
      if (!skipBad || whole === 0) throw error;
      bad.push({ sample: `${bytes.file} record ${whole}`, why: error.message });
    }
    await eachBlock(bytes, record, (block, first) => {
      for (let r = 0; r * record < block.length; r++) {
        index.push({ bytes, at: first + r });
        labels.push(block[r * record + labelBytes - 1] as number);
      }
    });
  }
  return {
    kind: "pixels",
    format,
    count: index.length,
    labels: Int32Array.from(labels),
    classes,
    beside: foldersBeside((files[0] as Bytes).file, "file"),
    uniform: true,
    bad,
    nameOf: (i) => `${index[i]?.bytes.file} record ${index[i]?.at}`,
    fileOf: (i) => index[i]?.bytes.file,
    fingerprint: async (indices) => digest([await contentFingerprint(files), indices.join()]),
    read: async (i) => {
      const { bytes, at } = index[i] as (typeof index)[number];
      return { channels: 3, height: 32, width: 32, planar: true, data: await bytes.read(at * record + labelBytes, IMAGE) };
    },
  };
}

/** Runs over the file in blocks of whole records, about 1 MB each, so that memory stays bounded. */
async function eachBlock(bytes: Bytes, record: number, visit: (block: Uint8Array, first: number) => void): Promise<void> {
  const step = 340;
  const total = Math.floor(bytes.size / record);
  for (let first = 0; first < total; first += step) {
    const n = Math.min(step, total - first);
    visit(await bytes.read(first * record, n * record), first);
  }
}
