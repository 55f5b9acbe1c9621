/** The text of --help, from the same data that parsing reads. */
import type { Command } from "./command.js";
import { commands } from "./commands.js";
import { describeFlag, type FlagName, flagOf } from "./flags.js";
import { passList } from "./passes.js";
import { table } from "./table.js";

export function titleOf(command: Command): string {
  return command.name === "" ? "onnx-prune" : `onnx-prune ${command.name}`;
}

export function helpText(command: Command, columns: number): string {
  const parts = [`${[titleOf(command), ...command.takes].join(" ")} [flags]\n\n${sentence(command.summary)}\n`];
  if (command.name === "") {
    const others = commands.slice(1).map((c) => [[titleOf(c), ...c.takes].join(" "), c.summary] as const);
    parts.push(`Other commands; --help after each tells more\n${described(others, columns)}`);
  }
  if (command.examples) parts.push(`Examples\n${command.examples.map(([line, does]) => `  ${line}\n      ${does}\n`).join("")}`);
  const groups = new Map<string, FlagName[]>();
  for (const name of command.flags) groups.set(flagOf(name).group, [...(groups.get(flagOf(name).group) ?? []), name]);
  for (const [group, names] of groups)
    parts.push(
      `${group}\n${described(
        names.map((n) => [flagText(n), describeFlag(n)] as const),
        columns,
      )}`,
    );
  if (command.name === "") {
    parts.push(
      passList(),
      "Exit codes\n  0 done · 1 model or data unusable · 2 wrong usage · 3 accuracy or budget not met\n  4 equality check failed · 70 our bug\n",
    );
  }
  return parts.join("\n");
}

function flagText(name: FlagName): string {
  const { value } = flagOf(name);
  return value === undefined ? `--${name}` : `--${name} <${value}>`;
}

/** Terms and their descriptions, wrapped to `columns`. */
function described(rows: readonly (readonly [string, string])[], columns: number): string {
  const indent = 4 + Math.max(...rows.map(([term]) => term.length));
  const lines = rows.flatMap(([term, text]) => wrapped(text, Math.max(30, columns - indent)).map((line, i) => [i === 0 ? term : "", line]));
  return table([{ title: "" }, { title: "" }], lines);
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    const last = lines.at(-1) as string;
    if (last === "") lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
