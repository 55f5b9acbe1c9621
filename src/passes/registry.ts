/** Everything that can stand after --pass: rewrites and criteria, built in or loaded from a file of the user's. */

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigError } from "../errors.js";
import { criteria } from "../score/criteria.js";
import type { Criterion } from "../score/criterion.js";
import { closest } from "../suggest.js";
import { foldBatchNorm } from "./fold-batch-norm.js";
import { foldConstants } from "./fold-constants.js";
import { foldGates } from "./fold-gates.js";
import { inlineBranches } from "./inline-branches.js";
import { inlineFunctions } from "./inline-functions.js";
import { insertGates } from "./insert-gates.js";
import { lowRank } from "./low-rank.js";
import { mergeChannels } from "./merge-channels.js";
import type { Pass } from "./pass.js";
import { removeDead } from "./remove-dead.js";
import { removeFilters } from "./remove-filters.js";
import { removeIdentity } from "./remove-identity.js";
import { rowColumn } from "./row-column.js";
import { untie } from "./untie.js";

/** A criterion plans a removal and carries it out; a pass rewrites. */
export type Entry = { readonly kind: "pass"; readonly pass: Pass } | { readonly kind: "criterion"; readonly criterion: Criterion };

/** The built-in passes: cleaning, removal, weight edits. */
export const passes: readonly Pass[] = [
  foldBatchNorm,
  foldConstants,
  inlineFunctions,
  inlineBranches,
  untie,
  removeIdentity,
  removeDead,
  removeFilters,
  mergeChannels,
  insertGates,
  foldGates,
  rowColumn,
  lowRank,
] as readonly Pass[];

export const entries: readonly Entry[] = [
  ...criteria.map((criterion): Entry => ({ kind: "criterion", criterion })),
  ...passes.map((pass): Entry => ({ kind: "pass", pass })),
];

export function nameOf(entry: Entry): string {
  return entry.kind === "pass" ? entry.pass.name : entry.criterion.name;
}

/**
 * The entry called `name`; a name with a "/" or a leading "." is a module whose default export is a pass (has `run`) or
 * a criterion (has `prepare`).
 * @throws ConfigError for an unknown name (with the nearest known one) or a module that exports neither.
 */
export async function findEntry(name: string): Promise<Entry> {
  if (name.includes("/") || name.startsWith(".")) return loadEntry(name);
  const found = entries.find((e) => nameOf(e) === name);
  if (found) return found;
  const near = closest(name, entries.map(nameOf));
  throw new ConfigError("PASS_UNKNOWN", `There is no pass called "${name}".`, {
    hint: `${near ? `Did you mean "${near}"? ` : ""}\`onnx-prune passes\` lists all; a module of your own is given by path, e.g. --pass ./mine.mjs.`,
  });
}

async function loadEntry(path: string): Promise<Entry> {
  let module: { readonly default?: unknown };
  try {
    module = (await import(pathToFileURL(resolve(path)).href)) as typeof module;
  } catch (cause) {
    throw new ConfigError("PASS_MODULE", `The module "${path}" cannot be loaded: ${(cause as Error).message}`, {
      cause,
      at: { file: path },
      hint: (cause as Error).message.includes("Cannot find package 'onnx-prune'")
        ? "Install onnx-prune in the folder of the module or one above it: its imports are looked up from where it lies."
        : "A pass module is an ES module (.mjs, or .js in a package of type module) with a default export.",
    });
  }
  const made = module.default;
  if (isNamed(made) && "run" in made && typeof made.run === "function") return { kind: "pass", pass: made as unknown as Pass };
  if (isNamed(made) && "prepare" in made && typeof made.prepare === "function")
    return { kind: "criterion", criterion: made as unknown as Criterion };
  throw new ConfigError("PASS_MODULE", `The default export of "${path}" is neither a pass nor a criterion.`, {
    at: { file: path },
    hint: "Export what definePass({ name, summary, options, effect, run }) or defineCriterion({ name, summary, source, options, needs, comparable, prepare }) returns.",
  });
}

function isNamed(x: unknown): x is { readonly name: string; readonly options: { safeParse: unknown } } {
  return typeof x === "object" && x !== null && "name" in x && typeof x.name === "string" && "options" in x;
}
