/** Text files of the command: complete or not there. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { replaceFile } from "../export/replace.js";

/** @throws ConfigError OUTPUT_UNWRITABLE when the file system refuses; nothing is left behind then. */
export async function writeText(path: string, text: string): Promise<void> {
  await replaceFile(path, new TextEncoder().encode(text));
}

/** Sha-256 of a file, in hex. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return hash.digest("hex");
}
