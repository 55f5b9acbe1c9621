/** Where a run will write, looked at before it works: a mistyped path must not cost an hour, nor a file. */
import { accessSync, constants, lstatSync, realpathSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { ConfigError, ModelError } from "../errors.js";
import { placeOf } from "../export/replace.js";

/** A file of the command line, under the name help gives it. */
export interface NamedFile {
  readonly what: string;
  readonly path: string | undefined;
}

/**
 * Files are replaced by renaming, which asks neither for their kind nor for their mode: a device would become a file, and a
 * model the report on it. So each output must be new or a file that may be written, and none may be another output or an input.
 * Only the model may take the place of the model it was made from.
 *
 * @throws ConfigError OUTPUT_CLASH for one file in two roles; MODEL_UNWRITABLE (ModelError) or OUTPUT_UNWRITABLE (ConfigError)
 *   for a path that cannot be written.
 */
export function checkOutputs(inputs: readonly NamedFile[], model: string | undefined, others: readonly NamedFile[]): void {
  const taken = inputs.flatMap(located);
  for (const output of [{ what: "the model that is written", path: model }, ...others].flatMap(located)) {
    const clash = taken.find((t) => t.real === output.real && !(output.path === model && t.what === "<in.onnx>"));
    if (clash) {
      throw new ConfigError("OUTPUT_CLASH", `${output.what} would overwrite ${clash.what}: both are "${output.path}".`, {
        at: { file: output.path },
        hint: "Give each its own file.",
      });
    }
    taken.push(output);
    // Written is what a link leads to; other paths are told of as they were typed.
    const isLink = lstatSync(output.path, { throwIfNoEntry: false })?.isSymbolicLink();
    const why = obstacle(isLink ? placeOf(output.path) : output.path);
    if (why !== undefined) throw unwritable(output.path, why, output.path === model);
  }
}

/** Where a file really is, through links; "-" is stdout. */
function located({ what, path }: NamedFile): { what: string; path: string; real: string }[] {
  if (path === undefined || path === "-") return [];
  try {
    return [{ what, path, real: realpathSync(path) }];
  } catch {
    // There is no such file yet, which is what an output should be; a missing input is told of when it is read.
    return [{ what, path, real: resolve(placeOf(path)) }];
  }
}

function obstacle(path: string): string | undefined {
  const folder = dirname(path);
  const parent = statSync(folder, { throwIfNoEntry: false });
  if (!parent) return `there is no folder "${folder}"`;
  if (!parent.isDirectory()) return `"${folder}" is not a folder`;
  const there = statSync(path, { throwIfNoEntry: false });
  if (there?.isDirectory()) return "it is a folder";
  if (there && !there.isFile()) return "it is a device or a pipe, not a file";
  if (!mayWrite(folder)) return `the folder "${folder}" may not be written to`;
  if (there && !mayWrite(path)) return "it is write-protected";
  return undefined;
}

function mayWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function unwritable(path: string, why: string, isModel: boolean): ModelError | ConfigError {
  const more = { at: { file: path }, hint: "Check the path; nothing was done yet." };
  return isModel
    ? new ModelError("MODEL_UNWRITABLE", `Cannot write model "${path}": ${why}.`, more)
    : new ConfigError("OUTPUT_UNWRITABLE", `Cannot write "${path}": ${why}.`, more);
}
