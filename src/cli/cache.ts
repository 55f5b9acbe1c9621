/** The folder of what may be measured again: nothing in it is missed. */
import { homedir } from "node:os";
import { join } from "node:path";

/** $XDG_CACHE_HOME/onnx-prune, or ~/.cache/onnx-prune. */
export function cacheFolder(): string {
  return join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "onnx-prune");
}
