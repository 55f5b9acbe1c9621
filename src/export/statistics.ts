/** Statistics files on disk: read whole, replaced atomically. */
import { readFile, rm } from "node:fs/promises";
import { readStatistics, writeStatistics } from "../calibrate/statistics/file.js";
import type { Summary } from "../calibrate/statistics/summary.js";
import { DataError } from "../errors.js";
import { replaceFile } from "./replace.js";

/** @throws DataError STATISTICS_UNREADABLE when there is no such file, STATISTICS_FILE when it is none. */
export async function readStatisticsFile(path: string): Promise<Summary> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new DataError("STATISTICS_UNREADABLE", `Cannot read statistics "${path}": ${(cause as Error).message}.`, {
      cause,
      at: { file: path },
      hint: "Make them with `onnx-prune calibrate`.",
    });
  }
  return readStatistics(bytes, path);
}

/** @throws ConfigError OUTPUT_UNWRITABLE when the file system refuses; what was there before is whole then. */
export async function writeStatisticsFile(path: string, summary: Summary): Promise<void> {
  await replaceFile(path, writeStatistics(summary));
}

/** Where an unfinished run keeps what it has, and what it finds there. */
export class CheckpointFile {
  readonly path: string;

  /** `path` of the statistics that will be written. */
  constructor(path: string) {
    this.path = `${path}.partial`;
  }

  /** Undefined where there is none; a damaged one is none either. */
  async read(): Promise<Summary | undefined> {
    try {
      return readStatistics(await readFile(this.path), this.path);
    } catch {
      return undefined;
    }
  }
  save(summary: Summary): Promise<void> {
    return writeStatisticsFile(this.path, summary);
  }
  async remove(): Promise<void> {
    await rm(this.path, { force: true });
  }
}
