/** From an argument vector to a command with checked flags, or to help. */
import { existsSync } from "node:fs";
import yargs from "yargs";
import { ConfigError } from "../errors.js";
import { closest } from "../suggest.js";
import { version } from "../version.js";
import type { Command } from "./command.js";
import { commands } from "./commands.js";
import { readConfig } from "./config.js";
import { type FlagName, flagNames, isList, isSwitch, mergeFlags, parseFlags, type Values } from "./flags.js";
import { helpText, titleOf } from "./help.js";

export type Parsed =
  | { readonly kind: "text"; readonly text: string }
  | {
      readonly kind: "run";
      readonly command: Command;
      readonly positionals: readonly string[];
      readonly flags: Values;
      readonly typed: ReadonlySet<FlagName>;
    };

/**
 * Reads the command line; the configuration file fills in what it leaves open.
 * @throws ConfigError for commands and flags that do not exist (with the nearest that does), and values that do not fit.
 */
export async function parseCommandLine(words: readonly string[], columns: number): Promise<Parsed> {
  const command = commands.find((c) => c.name !== "" && c.name === words[0]) ?? (commands[0] as Command);
  const rest = command.name === "" ? words : words.slice(1);
  const argv = await parserOf(command).parse(withJsonTarget(rest));
  if (argv["help"]) return { kind: "text", text: helpText(command, columns) };
  if (argv["version"]) return { kind: "text", text: `${version}\n` };
  const positionals = [...argv._, ...((argv["--"] as string[] | undefined) ?? [])].map(String);
  refuseUnknownCommand(command, positionals);
  const given = givenFlags(argv, command);
  refuseCount(command, positionals);
  const commandLine = parseFlags(given);
  const config = command.flags.includes("config") ? await readConfig(commandLine.config) : {};
  return { kind: "run", command, positionals, flags: mergeFlags(commandLine, config, command.flags), typed: new Set(given.keys()) };
}

const PARSER = {
  "camel-case-expansion": false,
  "dot-notation": false,
  "boolean-negation": false,
  "greedy-arrays": false,
  "parse-numbers": false,
  "parse-positional-numbers": false,
  "duplicate-arguments-array": true,
  "populate--": true,
  "strip-aliased": true,
};

/** yargs splits the words; values stay text, which the schemas read: they say more when one does not fit. */
function parserOf(command: Command) {
  const parser = yargs([]).parserConfiguration(PARSER).exitProcess(false).help(false).version(false);
  parser.option("help", { alias: "h", type: "boolean" }).option("version", { type: "boolean" });
  for (const name of command.flags) {
    if (isSwitch(name)) parser.boolean(name);
    else parser.string(name);
    if (isList(name)) parser.array(name);
  }
  return parser;
}

/**
 * A bare --json means stdout. Only a name that ends in .json is taken for its file: in `inspect --json model.onnx` the model
 * is the model, not a file to overwrite.
 */
function withJsonTarget(words: readonly string[]): string[] {
  const out: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    const next = words[i + 1];
    if (word === "--") return [...out, ...words.slice(i)];
    if (word !== "--json") out.push(word);
    else if (next !== undefined && (next === "-" || next.endsWith(".json"))) {
      out.push(`--json=${next}`);
      i++;
    } else out.push("--json=-");
  }
  return out;
}

function givenFlags(argv: Readonly<Record<string, unknown>>, command: Command): Map<FlagName, string | boolean | readonly string[]> {
  const given = new Map<FlagName, string | boolean | readonly string[]>();
  for (const [name, value] of Object.entries(argv)) {
    if (name === "_" || name === "$0" || name === "--" || name === "help" || name === "version" || value === undefined) continue;
    if (!(command.flags as readonly string[]).includes(name)) throw unknownFlag(name, command);
    const flag = name as FlagName;
    if (Array.isArray(value) && !isList(flag)) {
      throw new ConfigError("FLAG_TWICE", `--${flag} came ${value.length} times, but is taken once.`);
    }
    given.set(flag, isSwitch(flag) ? value === true : isList(flag) ? (value as unknown[]).map(String) : String(value));
  }
  return given;
}

function unknownFlag(name: string, command: Command): ConfigError {
  const dashes = name.length === 1 ? "-" : "--";
  const known = (flagNames as string[]).includes(name);
  const near = closest(name, [...command.flags, "help", "version"]);
  const owners = commands.filter((c) => (c.flags as string[]).includes(name)).map((c) => titleOf(c));
  return new ConfigError("FLAG_UNKNOWN", `${titleOf(command)} has no flag ${dashes}${name}.`, {
    hint: known
      ? `It is a flag of ${owners.join(", ")}.`
      : `${near ? `Did you mean --${near}? ` : ""}\`${titleOf(command)} --help\` lists its flags.`,
  });
}

/** A first word that is neither a file nor looks like one was meant as a command. */
function refuseUnknownCommand(command: Command, positionals: readonly string[]): void {
  const [word] = positionals;
  if (command.name !== "" || word === undefined || /[./\\]/.test(word) || existsSync(word)) return;
  const names = commands.map((c) => c.name).filter((n) => n !== "");
  const near = closest(word, names);
  throw new ConfigError(
    "COMMAND_UNKNOWN",
    `There is no command "${word}"; this version has ${names.join(", ")}, and pruning when no command is named.`,
    {
      hint: near ? `Did you mean "onnx-prune ${near}"?` : "`onnx-prune --help` tells how each is used.",
    },
  );
}

function refuseCount(command: Command, positionals: readonly string[]): void {
  const least = command.takes.filter((t) => t.startsWith("<")).length;
  const most = command.takes.at(-1)?.endsWith("…") ? Number.POSITIVE_INFINITY : command.takes.length;
  if (positionals.length >= least && positionals.length <= most) return;
  const came = positionals.length === 0 ? "nothing came" : `${positionals.length} came: ${positionals.join(" ")}`;
  throw new ConfigError("USAGE", `${titleOf(command)} takes ${command.takes.join(" ")}, but ${came}.`, {
    hint: `\`${titleOf(command)} --help\` tells more.`,
  });
}
