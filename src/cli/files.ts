/** Text files of the command: complete or not there. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { ConfigError } from "../errors.js";
import { discard, type Pending, placeOf, settle, writePending } from "../export/replace.js";

/** @throws ConfigError OUTPUT_UNWRITABLE when the file system refuses; nothing is left behind then. */
export async function writeText(path: string, text: string): Promise<void> {
  const pending: Pending[] = [];
  try {
    pending.push(await writePending(placeOf(path), [new TextEncoder().encode(text)]));
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

/** Sha-256 of a file, in hex. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return hash.digest("hex");
}
