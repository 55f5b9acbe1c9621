/** Bytes of data files, read when needed; the one place of the data readers that touches the file system. */
import { open, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { DataError } from "../errors.js";

/** Random access to the content of one file, after decompression. */
export interface Bytes {
  readonly file: string;
  readonly size: number;
  /** A copy, or a view nobody may write to. @throws DataError when the range reaches past the end. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** What `path` is; undefined when nothing is there. */
export async function kindOf(path: string): Promise<"file" | "folder" | undefined> {
  try {
    const s = await stat(path);
    return s.isDirectory() ? "folder" : "file";
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unreadable(path, error);
  }
}

/**
 * Opens `file` for random access. gzip is told by its magic number, not by the name, and decompressed once into memory;
 * anything else is read piece by piece, without keeping a handle open in between.
 * @throws DataError when the file cannot be read or its gzip stream is damaged or cut off.
 */
export async function openBytes(file: string): Promise<Bytes> {
  const size = await sizeOf(file);
  const head = await readRange(file, 0, Math.min(2, size));
  if (head[0] === 0x1f && head[1] === 0x8b) return inMemory(file, await decompress(file));
  return {
    file,
    size,
    read: (offset, length) => {
      checkRange(file, size, offset, length);
      return readRange(file, offset, length);
    },
  };
}

/** The whole content of a small file, decompressed. @throws DataError when it cannot be read. */
export async function readAll(file: string): Promise<Uint8Array> {
  const bytes = await openBytes(file);
  return bytes.read(0, bytes.size);
}

/** A UTF-8 text file without its byte order mark. @throws DataError when it cannot be read. */
export async function readText(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).replace(/^\uFEFF/, "");
  } catch (error) {
    throw unreadable(file, error);
  }
}

export interface Listing {
  /** Names, sorted by code unit as Python's `sorted` does; hidden entries left out. */
  readonly files: readonly string[];
  readonly folders: readonly string[];
}

/** The entries of one folder. @throws DataError when it cannot be read. */
export async function list(folder: string): Promise<Listing> {
  try {
    const files: string[] = [];
    const folders: string[] = [];
    for (const name of await readdir(folder)) {
      if (name.startsWith(".")) continue;
      // Links are followed: data sets are often a farm of them.
      const kind = await kindOf(`${folder}/${name}`);
      if (kind === "folder") folders.push(name);
      else if (kind === "file") files.push(name);
    }
    return { files: files.sort(), folders: folders.sort() };
  } catch (error) {
    throw error instanceof DataError ? error : unreadable(folder, error);
  }
}

/** Paths of all files below a folder, relative to it, sorted; hidden entries left out. @throws DataError when it cannot be read. */
export async function filesBelow(folder: string): Promise<string[]> {
  const { files, folders } = await list(folder);
  const below = await Promise.all(folders.map(async (f) => (await filesBelow(join(folder, f))).map((name) => join(f, name))));
  return [...files, ...below.flat()].sort();
}

/** A content already in memory, under the same interface. */
export function inMemory(file: string, content: Uint8Array): Bytes {
  return {
    file,
    size: content.length,
    read: async (offset, length) => {
      checkRange(file, content.length, offset, length);
      return content.subarray(offset, offset + length);
    },
  };
}

async function decompress(file: string): Promise<Uint8Array> {
  const packed = await readFile(file);
  try {
    return await promisify(gunzip)(packed);
  } catch (error) {
    throw new DataError("DATA_GZIP", `${file} is not a complete gzip file: ${(error as Error).message}.`, {
      at: { file },
      hint: "The download or copy was cut off or damaged; fetch the file again (`gzip -t` checks it).",
      cause: error,
    });
  }
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    throw unreadable(file, error);
  }
}

async function readRange(file: string, offset: number, length: number): Promise<Uint8Array> {
  const out = new Uint8Array(length);
  try {
    const handle = await open(file, "r");
    try {
      // A single read may be short, and one above 2 GiB is refused by Node.
      let at = 0;
      while (at < length) {
        const { bytesRead } = await handle.read(out, at, Math.min(length - at, 2 ** 30), offset + at);
        if (bytesRead === 0) throw tooShort(file, offset + at, offset, length);
        at += bytesRead;
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw error instanceof DataError ? error : unreadable(file, error);
  }
  return out;
}

function checkRange(file: string, size: number, offset: number, length: number): void {
  if (offset + length > size) throw tooShort(file, size, offset, length);
}

function tooShort(file: string, size: number, offset: number, length: number): DataError {
  return new DataError("DATA_TRUNCATED", `${file} ends after ${size} bytes, but bytes ${offset} to ${offset + length} are needed.`, {
    at: { file },
    hint: "The file is cut off; fetch or write it again.",
  });
}

/** What to say when the system refuses. */
export function unreadable(path: string, error: unknown): DataError {
  const code = (error as NodeJS.ErrnoException).code;
  const why = code === "ENOENT" ? "there is no such file or folder" : (error as Error).message;
  return new DataError("DATA_UNREADABLE", `Cannot read ${path}: ${why}.`, {
    at: { file: path },
    hint: "Check the path; relative paths start at the working directory.",
    cause: error,
  });
}
