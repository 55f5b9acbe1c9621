/** Text files of the command: complete or not there. */
import { createHash, randomBytes } from "node:crypto";
import { createReadStream, renameSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ConfigError } from "../errors.js";
import { releaseTemporary, trackTemporary } from "../export/write.js";

/** @throws ConfigError OUTPUT_UNWRITABLE when the file system refuses; nothing is left behind then. */
export async function writeText(path: string, text: string): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  trackTemporary(temporary);
  try {
    await writeFile(temporary, text, { flag: "wx" });
    renameSync(temporary, path);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw new ConfigError("OUTPUT_UNWRITABLE", `Cannot write "${path}": ${(cause as Error).message}.`, {
      cause,
      at: { file: path },
      hint: "Check that the folder exists, is writable, and has room.",
    });
  } finally {
    releaseTemporary(temporary);
  }
}

/** Sha-256 of a file, in hex. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return hash.digest("hex");
}
