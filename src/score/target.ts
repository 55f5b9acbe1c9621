/** What a plan should reach. */
import { ConfigError } from "../errors.js";

/** Exactly one is given: the fraction to keep, in (0, 1]. `ratio` counts channels; the others what the emitted file costs. */
export interface Target {
  readonly ratio?: number;
  readonly macs?: number;
  readonly params?: number;
  readonly bytes?: number;
  /** Of the time measured on this machine. */
  readonly latency?: number;
}

/** Relative error allowed on a budget of time. */
export const LATENCY_TOLERANCE = 0.05;

export type Measure = "ratio" | "macs" | "params" | "bytes" | "latency";

/** What was asked and what was reached, both as the fraction kept. */
export interface Budget {
  readonly measure: Measure;
  readonly asked: number;
  readonly reached: number;
}

const MEASURES: readonly Measure[] = ["ratio", "macs", "params", "bytes", "latency"];

/** The one measure a target names. @throws ConfigError when none or several are given, or the fraction is out of range. */
export function measureOf(target: Target): { readonly measure: Measure; readonly keep: number } {
  const given = MEASURES.filter((m) => target[m] !== undefined);
  const measure = given[0];
  if (!measure || given.length > 1) {
    throw new ConfigError(
      "TARGET_COUNT",
      `Exactly one budget is expected, but ${given.length === 0 ? "none came" : `${given.map((g) => `--${g}`).join(" and ")} came`}.`,
      {
        hint: "Give one of --ratio, --macs, --params, --bytes, --latency: the fraction to keep, e.g. --macs 0.5.",
      },
    );
  }
  const keep = target[measure] as number;
  if (!(keep > 0 && keep <= 1)) {
    throw new ConfigError("TARGET_RANGE", `--${measure} is the fraction to keep, above 0 and at most 1, but ${keep} came.`);
  }
  return { measure, keep };
}
