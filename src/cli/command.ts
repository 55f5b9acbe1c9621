/** What a command is: data that parsing, help and dispatch read. */
import type { FlagName, Values } from "./flags.js";
import type { Terminal } from "./terminal.js";

export interface Command {
  /** "" is the default: it runs when no command is named. */
  readonly name: string;
  /** What stands on the line beside flags, as help shows it; in brackets: may be left out; with … at the end: one or more. */
  readonly takes: readonly string[];
  readonly summary: string;
  readonly flags: readonly FlagName[];
  readonly examples?: readonly (readonly [line: string, does: string])[];
  /** Fills stdout through `run.terminal`; what it throws decides the exit code. */
  run(run: Run): Promise<void>;
}

/** One invocation. */
export interface Run {
  readonly positionals: readonly string[];
  readonly flags: Values;
  /** Flags of the command line itself: the others come from the configuration, or are defaults. */
  readonly typed: ReadonlySet<FlagName>;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
}

/** Flags of commands that decide what leaves. */
export const DECIDING: readonly FlagName[] = ["pass", "macs", "params", "bytes", "latency", "ratio", "scope", "align", "untie", "exclude"];
/** Flags of commands that look at activations. */
export const CALIBRATING: readonly FlagName[] = ["calibrate", "calibrate-samples", "views", "stats"];
/** Flags of commands that prove and measure a result. */
export const PROVING: readonly FlagName[] = [
  "data",
  "preprocess",
  "limit",
  "skip-bad",
  "max-drop",
  "no-latency",
  "input-shape",
  "ep",
  "device",
  "threads",
  "batch",
  "memory",
  "verify-with",
];
/** Flags that every command with a report takes. */
export const REPORTING: readonly FlagName[] = ["seed", "json", "quiet", "config"];
