/** onnx-prune passes: what can stand after --pass. */
import { type Entry, entries, findEntry, nameOf } from "../passes/registry.js";
import { parseOptions } from "../passes/run-pass.js";
import { needsOf } from "../score/criterion.js";
import type { Command } from "./command.js";
import { writeJson } from "./json.js";
import { type OptionRow, optionRows } from "./options.js";
import { table } from "./table.js";

export const passesCommand: Command = {
  name: "passes",
  takes: ["[name]"],
  summary: "every pass and criterion: what it does, what it needs, its options",
  flags: ["json", "quiet"],
  examples: [
    ["onnx-prune passes", "lists all"],
    ["onnx-prune passes similar", "tells the options of one"],
  ],

  async run({ positionals: [name], flags, terminal: { out } }) {
    const chosen = name === undefined ? entries : [await findEntry(name)];
    if (flags.json !== undefined) await writeJson(flags.json, name === undefined ? chosen.map(factsOf) : factsOf(chosen[0] as Entry), out);
    else
      out.write(
        name === undefined ? `${passList()}\n\`onnx-prune passes <name>\` lists the options of one.\n` : entryText(chosen[0] as Entry),
      );
  },
};

/** Name and summary of everything, criteria first. */
export function passList(): string {
  const of = (kind: Entry["kind"]) => entries.filter((e) => e.kind === kind).map((e) => [nameOf(e), summaryOf(e)]);
  const width = Math.max(...entries.map((e) => nameOf(e).length));
  const columns = [{ title: "" }, { title: "" }];
  const padded = (rows: string[][]) => rows.map(([name, summary]) => [(name as string).padEnd(width), summary as string]);
  return `Criteria: channels are ranked by …\n${table(columns, padded(of("criterion")))}Passes: this pass will …\n${table(columns, padded(of("pass")))}`;
}

interface EntryFacts {
  readonly kind: Entry["kind"];
  readonly name: string;
  readonly summary: string;
  readonly source?: string;
  readonly needs?: readonly string[];
  readonly effect?: string;
  readonly options: readonly OptionRow[];
}

/** An entry as plain data. */
export function factsOf(entry: Entry): EntryFacts {
  if (entry.kind === "pass") {
    const { name, summary, effect, options } = entry.pass;
    return { kind: "pass", name, summary, effect, options: optionRows(options) };
  }
  const { criterion } = entry;
  const { name, summary, source, options } = criterion;
  const needs = needsOf(criterion, parseOptions(criterion, {}));
  return { kind: "criterion", name, summary, source, needs, options: optionRows(options) };
}

/** What a pass's `effect` promises. */
export const EFFECTS: Readonly<Record<string, string>> = {
  exact: "keeps the function of the model bit for bit",
  equal: "keeps the function of the model up to rounding (checked in every run)",
  weights: "changes the function of the model on purpose",
};

function summaryOf(entry: Entry): string {
  return entry.kind === "pass" ? entry.pass.summary : entry.criterion.summary;
}

function entryText(entry: Entry): string {
  const facts = factsOf(entry);
  const head =
    entry.kind === "criterion"
      ? `${facts.name}: channels are ranked by ${facts.summary}.\n`
      : `${facts.name}: this pass will ${facts.summary}.\n`;
  const about = table(
    [{ title: "" }, { title: "" }],
    [
      ...(facts.source ? [["from", facts.source]] : []),
      ...(facts.needs
        ? [
            ["needs", facts.needs.join(", ")],
            ["budget", "one of --macs, --params, --bytes, --latency, --ratio"],
          ]
        : []),
      ...(facts.effect ? [["effect", EFFECTS[facts.effect] ?? facts.effect]] : []),
    ],
  );
  if (facts.options.length === 0) return `${head}${about}It has no options.\n`;
  const columns = [{ title: "option" }, { title: "type" }, { title: "default" }, { title: "meaning" }];
  return `${head}${about}Options, as JSON after --pass ${facts.name}=\n${table(
    columns,
    facts.options.map((o) => [o.name, o.type, o.fallback, o.describe]),
  )}`;
}
