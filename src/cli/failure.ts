/** An error as the user reads it, and the exit code it stands for. */
import { InternalError, OnnxPruneError } from "../errors.js";
import type { Channel } from "./terminal.js";

/** Writes `CODE  message`, place and hint; a stack for what is our fault. Returns the exit code. */
export function reportFailure(error: unknown, channel: Channel): number {
  if (!(error instanceof OnnxPruneError)) {
    channel.write(`${channel.style("red", "UNEXPECTED")}  ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    channel.write(
      "            This is a bug in onnx-prune. Please report it with these lines, the model (or `onnx-prune inspect --json`) and the command line.\n",
    );
    return 70;
  }
  const indent = " ".repeat(error.code.length + 2);
  channel.write(`${channel.style("red", error.code)}  ${indented(error.message, indent)}\n`);
  const place = placeOf(error);
  if (place) channel.write(`${indent}${channel.style("dim", place)}\n`);
  if (error.hint) channel.write(`${indent}${indented(error.hint, indent)}\n`);
  if (error instanceof InternalError) channel.write(`${error.stack ?? ""}\n`);
  return error.exitCode;
}

/** Where it happened, as far as the message does not say so. */
function placeOf({ at, message }: OnnxPruneError): string {
  return (["pass", "node", "value", "file"] as const)
    .filter((kind) => at[kind] !== undefined && at[kind] !== "" && !message.includes(at[kind]))
    .map((kind) => `${kind} "${at[kind]}"`)
    .join(", ");
}

function indented(text: string, indent: string): string {
  return text.replaceAll("\n", `\n${indent}`);
}
