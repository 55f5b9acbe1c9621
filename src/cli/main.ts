/** The process: arguments in, streams and signals, one exit code out. */
import { removeTemporaries } from "../export/replace.js";
import { parseCommandLine } from "./command-line.js";
import { reportFailure } from "./failure.js";
import { channel } from "./terminal.js";

const terminal = { out: channel(process.stdout, process.env), err: channel(process.stderr, process.env) };
const abort = new AbortController();

// 128 + the number of the signal, as shells have it.
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  process.on(signal, () => {
    abort.abort();
    if (terminal.err.isTTY) terminal.err.write("\r\u001b[K");
    removeTemporaries();
    process.exit(code);
  });
}
// A file being opened while a signal came may appear after the first sweep.
process.on("exit", removeTemporaries);
// `onnx-prune inspect … | head` closes stdout early: the reader has what it wants, and the run is no failure.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}
const fail = (error: unknown) => {
  process.exitCode = reportFailure(error, terminal.err);
};
process.on("uncaughtException", (error) => {
  fail(error);
  process.exit();
});

try {
  const parsed = await parseCommandLine(process.argv.slice(2), terminal.out.isTTY ? terminal.out.columns : 100);
  if (parsed.kind === "text") terminal.out.write(parsed.text);
  else
    await parsed.command.run({ positionals: parsed.positionals, flags: parsed.flags, typed: parsed.typed, terminal, signal: abort.signal });
} catch (error) {
  if (!abort.signal.aborted) fail(error);
}
