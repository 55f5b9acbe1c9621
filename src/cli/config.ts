/** onnx-prune.config.json: flags that need not be typed. */
import { readFile } from "node:fs/promises";
import { ConfigError } from "../errors.js";
import { parseConfig, type Values } from "./flags.js";

export const CONFIG_FILE = "onnx-prune.config.json";

/**
 * The configuration at `path`, else that of the working directory, else nothing. Paths in it are relative to the working
 * directory, as on the command line.
 *
 * @throws ConfigError when the named file cannot be read, is not JSON, or holds what no flag takes.
 */
export async function readConfig(path: string | undefined): Promise<Values> {
  const file = path ?? CONFIG_FILE;
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    if (path === undefined && (cause as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new ConfigError("CONFIG_UNREADABLE", `Cannot read the configuration "${file}": ${(cause as Error).message}.`, {
      cause,
      at: { file },
    });
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ConfigError("CONFIG_JSON", `"${file}" is not JSON: ${(cause as Error).message}.`, { cause, at: { file } });
  }
  return parseConfig(json, file);
}
