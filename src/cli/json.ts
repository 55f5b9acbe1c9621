/** --json: results as data. */
import { writeText } from "./files.js";
import type { Channel } from "./terminal.js";

/** Writes `result` where --json says: "-" is stdout. Infinity and NaN, which JSON lacks, become strings. */
export async function writeJson(where: string, result: unknown, out: Channel): Promise<void> {
  const text = `${JSON.stringify(result, (_, v: unknown) => (typeof v === "number" && !Number.isFinite(v) ? String(v) : v), 1)}\n`;
  if (where === "-") out.write(text);
  else await writeText(where, text);
}
