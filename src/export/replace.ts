/**
 * Files that are complete or not there: written under a temporary name beside their place, synced, then renamed into it.
 *
 * A process that is killed cannot tidy up. So temporary names say whose they are, by machine, process and its start, and
 * whoever writes to the same place next removes those of processes that are gone.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { ConfigError } from "../errors.js";

/** A file that is complete on disk, under a name that is not yet its own. */
export interface Pending {
  readonly temporary: string;
  readonly path: string;
}

/** The file that `path` stands for: a link stays, and what it leads to is replaced, or made. */
export function placeOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    try {
      return resolve(dirname(path), readlinkSync(path));
    } catch {
      return path;
    }
  }
}

/**
 * Writes and syncs a file that is to take the place of `path`, which is no link. Leaves nothing behind when it fails.
 * @throws what the file system says.
 */
export async function writePending(path: string, chunks: Iterable<Uint8Array>): Promise<Pending> {
  removeAbandoned(path);
  const temporary = join(dirname(path), `${prefixOf(path)}${OWNER}-${++written}.tmp`);
  trackTemporary(temporary);
  try {
    const file = await open(temporary, "wx");
    try {
      await writeChunks(file, chunks);
      await file.sync();
    } finally {
      await file.close();
    }
    const old = statSync(path, { throwIfNoEntry: false });
    if (old) chmodSync(temporary, old.mode & 0o777);
  } catch (e) {
    removeTemporary(temporary);
    throw e;
  }
  return { temporary, path };
}

/** Puts files in their places in the order given, without letting a signal handler run in between. */
export function settle(files: readonly Pending[]): void {
  for (const { temporary, path } of files) {
    renameSync(temporary, path);
    temporaries.delete(temporary);
  }
  for (const folder of new Set(files.map((f) => dirname(f.path)))) syncFolder(folder);
}

/** Drops files that were not put in their places. */
export function discard(files: readonly Pending[]): void {
  for (const { temporary } of files) removeTemporary(temporary);
}

/**
 * Puts one file in place of what `path` stands for.
 * @throws ConfigError OUTPUT_UNWRITABLE when the file system refuses; nothing is left behind then, and the old file is whole.
 */
export async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const pending: Pending[] = [];
  try {
    pending.push(await writePending(placeOf(path), [bytes]));
    settle(pending);
  } catch (cause) {
    discard(pending);
    throw new ConfigError("OUTPUT_UNWRITABLE", `Cannot write "${path}": ${(cause as Error).message}.`, {
      cause,
      at: { file: path },
      hint: "Check that the folder exists, is writable, and has room.",
    });
  }
}

/** A rename is on disk when its folder is; where folders cannot be opened (Windows), the system sees to it. */
function syncFolder(folder: string): void {
  try {
    const fd = openSync(folder, "r");
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // The files are in their places all the same.
  }
}

let written = 0;

const prefixOf = (path: string): string => `.${basename(path)}.onnx-prune-`;
/** Processes of another machine that shares the folder cannot be seen from here: their files are left alone. */
const MACHINE = createHash("sha256").update(hostname()).digest("hex").slice(0, 8);
const OWNER = `${MACHINE}-${process.pid}-${startOf(process.pid) ?? 0}`;

/** Removes temporary files for `path` whose process has ended. */
function removeAbandoned(path: string): void {
  const prefix = prefixOf(path);
  for (const name of readdirSync(dirname(path))) {
    const [, machine, pid, start] =
      (name.startsWith(prefix) && /^([0-9a-f]{8})-(\d+)-(\d+)-\d+\.tmp$/.exec(name.slice(prefix.length))) || [];
    if (machine === MACHINE && !isRunning(Number(pid), Number(start))) rmSync(join(dirname(path), name), { force: true });
  }
}

function isRunning(pid: number, start: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (e) {
    // EPERM: it runs, as another user.
    if ((e as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  // Numbers of processes are used again; a process that started at another time is another one.
  const now = startOf(pid);
  return now === undefined || start === 0 || now === start;
}

/** When a process started, in ticks since the machine did (proc(5), field 22); undefined where that cannot be told. */
function startOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is a name in parentheses, which may hold anything.
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
  } catch {
    return undefined;
  }
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
/** Removes all files that are still temporary. Synchronous, so that signal handlers can call it. */
export function removeTemporaries(): void {
  for (const path of [...temporaries]) removeTemporary(path);
}
function removeTemporary(path: string): void {
  rmSync(path, { force: true });
  temporaries.delete(path);
}
