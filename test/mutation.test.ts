/**
 * Faults planted in the axis rules, the algebra and the slicer are found by the graphs of the tests, and traced to their
 * place. A few of them here; all: node bench/mutation/run.mjs
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly ops: readonly string[];
}
const root = new URL("../", import.meta.url);
const { mutants } = (await import(new URL("bench/mutation/mutants.mjs", root).href)) as { mutants: readonly Mutant[] };

test("more than fifty faults, each of a text that occurs once", () => {
  expect(mutants.length).toBeGreaterThan(50);
  expect(new Set(mutants.map((m) => m.name)).size).toBe(mutants.length);
  const stale = mutants.filter((m) => readFileSync(new URL(m.file, root), "utf8").split(m.find).length !== 2);
  expect(stale.map((m) => m.name)).toEqual([]);
});

test("one fault of each kind is detected and localised", { timeout: 300_000 }, async () => {
  const some = [
    "Concat: parts in reverse",
    "Softmax: does not freeze",
    "Slice: steps are lost",
    "ReduceMean: said to be a sum",
    "LSTM: gates within units",
    "slicer: a size that is read as data shrinks",
  ];
  const script = fileURLToPath(new URL("bench/mutation/run.mjs", root));
  const { stdout } = await promisify(execFile)(process.execPath, [script, ...some.flatMap((name) => ["--only", name])]);
  expect(stdout).toContain(`${some.length} faults: ${some.length} killed, ${some.length} localised`);
});
