/** Where tables of layer times are kept between runs: one file for each machine, provider, runtime and number of threads. */
import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import type { Runner } from "../runtime/runner.js";
import { LatencyTable } from "../verify/latency-table.js";
import { replaceFile } from "./replace.js";

/** The table of this machine in `folder`; an empty one where there is none. Without a folder none is kept. */
export async function openTable(runner: Runner, threads: number | undefined, folder: string | undefined): Promise<LatencyTable> {
  const processor = cpus();
  const machine = [
    runner.provider,
    threads === undefined ? "threads as the runtime chooses" : `${threads} threads`,
    runner.runtime,
    `${processor[0]?.model ?? "unknown processor"} × ${processor.length}`,
  ].join("; ");
  const text = folder === undefined ? undefined : await readFile(fileIn(folder, machine), "utf8").catch(() => undefined);
  return LatencyTable.read(text, machine);
}

/** Writes the table. A folder that cannot be written keeps nothing, and no run fails for that: it is measured again next time. */
export async function keepTable(table: LatencyTable, folder: string | undefined): Promise<void> {
  if (folder === undefined) return;
  try {
    await mkdir(folder, { recursive: true });
    await replaceFile(fileIn(folder, table.machine), new TextEncoder().encode(table.print()));
  } catch {
    // Nothing depends on it.
  }
}

function fileIn(folder: string, machine: string): string {
  return join(folder, `latency-${createHash("sha256").update(machine).digest("hex").slice(0, 16)}.json`);
}
