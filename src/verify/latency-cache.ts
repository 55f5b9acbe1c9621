/** Where tables of layer times are kept between runs: one file for each machine, provider, runtime and number of threads. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { cpus, homedir } from "node:os";
import { join } from "node:path";
import type { Runner } from "../runtime/runner.js";
import { LatencyTable } from "./latency-table.js";

/** The folder of tables unless told otherwise: $XDG_CACHE_HOME/onnx-prune, ~/.cache/onnx-prune without it. */
export function cacheFolder(): string {
  return join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "onnx-prune");
}

/** The table of this machine in `folder`; an empty one where there is none. Undefined: none is kept. */
export function openTable(runner: Runner, threads: number | undefined, folder: string | undefined): LatencyTable {
  const processor = cpus();
  const machine = [
    runner.provider,
    threads === undefined ? "threads as the runtime chooses" : `${threads} threads`,
    runner.runtime,
    `${processor[0]?.model ?? "unknown processor"} × ${processor.length}`,
  ].join("; ");
  let text: string | undefined;
  if (folder !== undefined) {
    try {
      text = readFileSync(fileIn(folder, machine), "utf8");
    } catch {
      // None yet.
    }
  }
  return LatencyTable.read(text, machine);
}

/** Writes the table. A folder that cannot be written keeps nothing, and no run fails for that. */
export function keepTable(table: LatencyTable, folder: string | undefined): void {
  if (folder === undefined) return;
  const path = fileIn(folder, table.machine);
  try {
    mkdirSync(folder, { recursive: true });
    // Two runs may write at once: each file is whole.
    writeFileSync(`${path}.${process.pid}`, table.print());
    renameSync(`${path}.${process.pid}`, path);
  } catch {
    // Measured again next time.
  }
}

function fileIn(folder: string, machine: string): string {
  return join(folder, `latency-${createHash("sha256").update(machine).digest("hex").slice(0, 16)}.json`);
}
