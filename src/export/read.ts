/** Model files from disk: the model at once, its external tensors one by one and only when needed. */
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync, realpathSync, type Stats, statSync } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import { ModelError } from "../errors.js";
import { decode, type ExternalData } from "../graph/codec.js";
import type { Model } from "../graph/graph.js";

export interface ReadOptions {
  /** Compute `model.sha256` (default true); costs about a second per GiB. */
  readonly hash?: boolean;
}

/**
 * Reads an ONNX file. Its bytes stay in memory as the weights of the model; external data stays on disk until a tensor is
 * used, and must not change before then (MODEL_EXTERNAL_CHANGED).
 *
 * @throws ModelError MODEL_UNREADABLE when the file cannot be read, what decode() throws when it is not ONNX, and
 *   MODEL_EXTERNAL_ESCAPES, MODEL_EXTERNAL_MISSING or MODEL_EXTERNAL_SHORT for unusable external data.
 */
export async function readModel(path: string, options: ReadOptions = {}): Promise<Model> {
  const bytes = await readWhole(path);
  const folder = new ModelFolder(path);
  const model = within(path, () => decode(bytes, { external: (data) => folder.read(data), onExternal: (data) => folder.check(data) }));
  if (options.hash ?? true) model.sha256 = sha256(bytes);
  return model;
}

/** A model whose weights are elsewhere is small; a large one is not worth its memory. */
const LARGEST_LOOKED_INTO = 2 ** 26;

/**
 * Paths of the files in which the model at `path` keeps its weights, as far as they are below its folder; none when there
 * is no such model.
 */
export async function dataFilesOf(path: string): Promise<string[]> {
  try {
    if (statSync(path).size > LARGEST_LOOKED_INTO) return [];
    const found = new Set<string>();
    const folder = new ModelFolder(path);
    decode(await readWhole(path), {
      onExternal: (data) => {
        folder.check(data);
        found.add(resolve(dirname(path), data.location));
      },
    });
    return [...found];
  } catch {
    // What is there is no model, or names what it must not: nothing to tell.
    return [];
  }
}

/** One read() takes at most 2 GiB; smaller pieces keep the event loop alive. */
const PIECE = 2 ** 28;

async function readWhole(path: string): Promise<Uint8Array> {
  let file: FileHandle | undefined;
  try {
    // Before it is opened: a pipe without a writer would be waited for, and a device may have no end.
    const { size } = requireFile(await stat(path));
    file = await open(path, "r");
    // Not from Node's pool, which would be shared with others, and not cleared first.
    const bytes = Buffer.allocUnsafeSlow(size);
    for (let at = 0; at < size; ) {
      const { bytesRead } = await file.read(bytes, at, Math.min(PIECE, size - at), at);
      if (bytesRead === 0) return bytes.subarray(0, at);
      at += bytesRead;
    }
    return bytes;
  } catch (cause) {
    throw new ModelError("MODEL_UNREADABLE", `Cannot read model "${path}": ${reason(cause)}.`, {
      at: { file: path },
      cause,
      hint: "Check the path and its permissions.",
    });
  } finally {
    await file?.close();
  }
}

/** @throws Error for folders, pipes and devices. */
function requireFile(stats: Stats): Stats {
  if (!stats.isFile()) throw new Error(`it is a ${stats.isDirectory() ? "folder" : "device or a pipe"}, not a file`);
  return stats;
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

function sha256(bytes: Uint8Array): string {
  const hash = createHash("sha256");
  for (let at = 0; at < bytes.length; at += PIECE) hash.update(bytes.subarray(at, at + PIECE));
  return hash.digest("hex");
}

/** Adds the file to errors that do not know it. */
function within<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (e) {
    if (!(e instanceof ModelError) || e.at.file !== undefined) throw e;
    throw new ModelError(e.code, `${path}: ${e.message}`, {
      at: { ...e.at, file: path },
      cause: e,
      ...(e.hint === undefined ? {} : { hint: e.hint }),
    });
  }
}

/** The folder of a model, out of which its external data may not lead. */
class ModelFolder {
  readonly #model: string;
  readonly #folder: string;
  /** What each file was when the model was read. */
  readonly #seen = new Map<string, Stats>();

  constructor(model: string) {
    this.#model = model;
    this.#folder = dirname(resolve(model));
  }

  /** Refuses data that is not there, or not here. */
  check(data: ExternalData): void {
    let stats = this.#seen.get(data.location);
    if (!stats) {
      stats = this.#open(data, (fd) => fstatSync(fd));
      this.#seen.set(data.location, stats);
    }
    const end = data.offset + (data.length ?? 0);
    if (end > stats.size) throw this.#short(data, end, stats.size);
  }

  read(data: ExternalData): Uint8Array {
    return this.#open(data, (fd) => {
      const now = fstatSync(fd);
      const then = this.#seen.get(data.location);
      if (then && (then.ino !== now.ino || then.size !== now.size || then.mtimeMs !== now.mtimeMs)) {
        throw this.#error(
          "MODEL_EXTERNAL_CHANGED",
          data,
          "has changed since the model was read",
          "Read the model again, and leave its files alone while it is in use.",
        );
      }
      const length = data.length ?? Math.max(0, now.size - data.offset);
      const bytes = new Uint8Array(length);
      for (let at = 0; at < length; ) {
        const n = readSync(fd, bytes, at, Math.min(PIECE, length - at), data.offset + at);
        if (n === 0) throw this.#short(data, data.offset + length, data.offset + at);
        at += n;
      }
      return bytes;
    });
  }

  #open<T>(data: ExternalData, use: (fd: number) => T): T {
    const path = this.#inside(data);
    let fd: number;
    try {
      requireFile(statSync(path));
      fd = openSync(path, "r");
    } catch (cause) {
      throw this.#error(
        "MODEL_EXTERNAL_MISSING",
        data,
        `cannot be read: ${reason(cause)}`,
        "Keep the data file in the folder of the model.",
        cause,
      );
    }
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** The real path of the data. @throws ModelError MODEL_EXTERNAL_ESCAPES when it is outside the model's folder. */
  #inside(data: ExternalData): string {
    const { location } = data;
    const escapes = () =>
      this.#error(
        "MODEL_EXTERNAL_ESCAPES",
        data,
        "is outside the folder of the model",
        "A model must not reach into other folders. If you trust it, copy the data (not a link to it) beside the model and let the model name it so.",
      );
    // A backslash or a drive letter is a path on Windows only; no honest model needs either.
    if (isAbsolute(location) || /^[A-Za-z]:|\\|\0/.test(location) || !isBelow(this.#folder, resolve(this.#folder, location)))
      throw escapes();
    let real: string;
    try {
      real = realpathSync(resolve(this.#folder, location));
    } catch (cause) {
      throw this.#error(
        "MODEL_EXTERNAL_MISSING",
        data,
        `cannot be read: ${reason(cause)}`,
        "Keep the data file in the folder of the model.",
        cause,
      );
    }
    if (!isBelow(realpathSync(this.#folder), real)) throw escapes();
    return real;
  }

  #short(data: ExternalData, need: number, have: number): ModelError {
    return this.#error(
      "MODEL_EXTERNAL_SHORT",
      data,
      `should have at least ${need} bytes, but has ${have}`,
      "The data file is truncated or belongs to another model.",
    );
  }

  #error(code: string, data: ExternalData, problem: string, hint: string, cause?: unknown): ModelError {
    return new ModelError(code, `External data "${data.location}" of tensor "${data.tensor}" ${problem}.`, {
      at: { file: this.#model, value: data.tensor },
      hint,
      cause,
    });
  }
}

function isBelow(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== "" && way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}
