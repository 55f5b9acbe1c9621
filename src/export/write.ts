/** Model files to disk: under another name first, so that whatever happens there is the old file or the new one. */
import { randomBytes } from "node:crypto";
import { renameSync, rmSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ModelError, OnnxPruneError } from "../errors.js";
import { type Encoded, encode, encodedSize } from "../graph/codec.js";
import type { Model } from "../graph/graph.js";

export interface WriteOptions {
  /**
   * Keep weights in `<name>.data` beside the model. Default: when the model had external data, or would have 1.9 GiB or more
   * (protobuf ends at 2).
   */
  readonly external?: boolean;
  /** Tensors of fewer bytes stay in the model (default 1024). */
  readonly threshold?: number;
}

export interface Written {
  /** The files, the model first. */
  readonly files: readonly string[];
  /** Bytes of all files. */
  readonly byteLength: number;
}

const MAX_INLINE = Math.floor(1.9 * 2 ** 30);

/**
 * Writes a model, over the file it was read from if need be: both files are complete on disk under temporary names before
 * either takes its place. Where external data is replaced, a model in memory that still has tensors there must be read again.
 *
 * @throws ModelError MODEL_UNWRITABLE when the file system refuses; nothing is left behind then.
 */
export async function writeModel(path: string, model: Model, options: WriteOptions = {}): Promise<Written> {
  const external = options.external ?? (model.usesExternalData || encodedSize(model) >= MAX_INLINE);
  const location = `${basename(path)}.data`;
  const threshold = options.threshold === undefined ? {} : { threshold: options.threshold };
  const encoded = encode(model, external ? { external: { location, ...threshold } } : {});
  return writeEncoded(path, encoded);
}

async function writeEncoded(path: string, encoded: Encoded): Promise<Written> {
  const outputs: { path: string; chunks: Iterable<Uint8Array> }[] = [{ path, chunks: encoded.chunks }];
  // The data first, at every step: a model must never name data that is not there.
  const data = encoded.external;
  if (data && data.byteLength > 0) outputs.unshift({ path: join(dirname(path), data.location), chunks: data.chunks });
  const written: { temporary: string; path: string }[] = [];
  try {
    for (const output of outputs) written.push({ temporary: await writeTemporary(output.path, output.chunks), path: output.path });
    // Synchronously, so that no signal handler runs between the two.
    for (const w of written) {
      renameSync(w.temporary, w.path);
      releaseTemporary(w.temporary);
    }
  } catch (cause) {
    for (const w of written) removeTemporary(w.temporary);
    if (cause instanceof OnnxPruneError) throw cause;
    throw new ModelError("MODEL_UNWRITABLE", `Cannot write model "${path}": ${cause instanceof Error ? cause.message : String(cause)}.`, {
      at: { file: path },
      cause,
      hint: "Check that the folder exists, is writable, and has room.",
    });
  }
  return { files: outputs.map((o) => o.path).reverse(), byteLength: encoded.byteLength + (data?.byteLength ?? 0) };
}

/** Writes and syncs a file beside `path`; returns its name. Leaves nothing behind when it fails. */
async function writeTemporary(path: string, chunks: Iterable<Uint8Array>): Promise<string> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  trackTemporary(temporary);
  try {
    const file = await open(temporary, "wx");
    try {
      await writeChunks(file, chunks);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (e) {
    removeTemporary(temporary);
    throw e;
  }
  return temporary;
}

/** IOV_MAX; and enough bytes to make a call worthwhile, few enough that what is read for writing stays small. */
const MAX_BUFFERS = 1024;
const MAX_BATCH = 2 ** 26;

/** Writes all chunks to an open file without joining them. Only one batch of them is held at a time. */
export async function writeChunks(file: FileHandle, chunks: Iterable<Uint8Array>): Promise<void> {
  let batch: Uint8Array[] = [];
  let size = 0;
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += MAX_BATCH) {
      const piece = chunk.subarray(at, at + MAX_BATCH);
      if (batch.length === MAX_BUFFERS || size + piece.length > MAX_BATCH) {
        await writeBatch(file, batch, size);
        batch = [];
        size = 0;
      }
      batch.push(piece);
      size += piece.length;
    }
  }
  await writeBatch(file, batch, size);
}

async function writeBatch(file: FileHandle, buffers: Uint8Array[], size: number): Promise<void> {
  let left = size;
  let first = 0;
  while (left > 0) {
    let { bytesWritten } = await file.writev(buffers.slice(first));
    left -= bytesWritten;
    // A short write is legal: go on inside the buffer where it stopped.
    while (first < buffers.length && bytesWritten >= (buffers[first] as Uint8Array).length) {
      bytesWritten -= (buffers[first] as Uint8Array).length;
      first++;
    }
    if (bytesWritten > 0) buffers[first] = (buffers[first] as Uint8Array).subarray(bytesWritten);
  }
}

/** Files to remove should the process be stopped; the command does so on SIGINT and SIGTERM. */
const temporaries = new Set<string>();

/** Remembers a file that must not outlive this process. */
export function trackTemporary(path: string): void {
  temporaries.add(path);
}
/** Forgets a file that has become permanent. */
export function releaseTemporary(path: string): void {
  temporaries.delete(path);
}
/** Removes all files that are still temporary. Synchronous, so that signal handlers can call it. */
export function removeTemporaries(): void {
  for (const path of [...temporaries]) removeTemporary(path);
}
function removeTemporary(path: string): void {
  rmSync(path, { force: true });
  temporaries.delete(path);
}
