/**
 * What identifies data wherever they lie: hashes of content, never of absolute paths, times or owners.
 *
 *   one file         its size and content, after gzip. Up to 64 MiB all of it, beyond that 64 blocks of 64 KiB, evenly spread
 *   image folders    of each image its path below the folder and its size: opening a million files would cost more than the run
 */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { relative, sep } from "node:path";
import { type Bytes, unreadable } from "./file.js";

const WHOLE = 64 * 2 ** 20;
const BLOCKS = 64;
const BLOCK = 64 * 2 ** 10;

/** sha256 over the parts in order, each with its length, so that no two lists look alike. */
export function digest(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) {
    const bytes = typeof part === "string" ? Buffer.from(part) : part;
    hash.update(`${typeof part === "string" ? "t" : "b"}${bytes.length}:`).update(bytes);
  }
  return hash.digest("hex");
}

/** Of files in this order. */
export async function contentFingerprint(files: readonly Bytes[]): Promise<string> {
  const parts: string[] = [];
  for (const bytes of files) parts.push(await oneFile(bytes));
  return digest(parts);
}

async function oneFile(bytes: Bytes): Promise<string> {
  const hash = createHash("sha256").update(`${bytes.size}:`);
  if (bytes.size <= WHOLE) {
    for (let at = 0; at < bytes.size; at += 2 ** 22) hash.update(await bytes.read(at, Math.min(2 ** 22, bytes.size - at)));
  } else {
    for (let k = 0; k < BLOCKS; k++) hash.update(await bytes.read(Math.floor((k * (bytes.size - BLOCK)) / (BLOCKS - 1)), BLOCK));
  }
  return hash.digest("hex");
}

/** Of files by their paths below `folder`, and sizes. A file that is missing counts as that. */
export async function listingFingerprint(folder: string, files: readonly string[]): Promise<string> {
  const parts: string[] = [];
  // In slices: tens of thousands of pending calls would only queue.
  for (let at = 0; at < files.length; at += 64) {
    const sizes = await Promise.all(files.slice(at, at + 64).map(sizeOf));
    for (const [k, size] of sizes.entries())
      parts.push(
        relative(folder, files[at + k] as string)
          .split(sep)
          .join("/"),
        String(size),
      );
  }
  return digest(parts);
}

async function sizeOf(file: string): Promise<number | "missing"> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "missing";
    throw unreadable(file, error);
  }
}
