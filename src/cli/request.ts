/** Flags as what the library takes: passes with options, a target, shapes, samples. */
import { readFile } from "node:fs/promises";
import { modelInputs } from "../calibrate/model-inputs.js";
import { openRoles, type Roles } from "../calibrate/roles.js";
import type { Summary } from "../calibrate/statistics/summary.js";
import { viewsOf } from "../calibrate/views.js";
import { ConfigError, PlanError } from "../errors.js";
import { readStatisticsFile } from "../export/statistics.js";
import type { Model } from "../graph/graph.js";
import { type Entry, findEntry } from "../passes/registry.js";
import { parseOptions } from "../passes/run-pass.js";
import type { PassRequest, PruneOptions } from "../pipeline.js";
import { type Criterion, needsOf } from "../score/criterion.js";
import { type PruningPlan, parsePlan } from "../score/plan.js";
import { measureOf, type Target } from "../score/target.js";
import { cacheFolder } from "./cache.js";
import type { Run } from "./command.js";
import type { Values } from "./flags.js";
import type { Progress } from "./progress.js";

/**
 * The passes of --pass, options checked; with `budget`, against the budget too.
 * @throws ConfigError for unknown passes, options that are not JSON or do not fit, and a budget that is missing or spare.
 */
export async function passRequests(
  { flags, typed }: Pick<Run, "flags" | "typed">,
  { budget = true }: { readonly budget?: boolean } = {},
): Promise<PassRequest[]> {
  if (!flags.pass || flags.pass.length === 0) {
    throw new ConfigError("PASS_NONE", "At least one --pass is expected.", {
      hint: "`onnx-prune passes` lists them; e.g. --pass l1 --macs 0.5.",
    });
  }
  const requests = await Promise.all(flags.pass.map((given) => passRequest(typeof given === "string" ? splitPass(given) : given)));
  if (!budget) return requests;
  const target = targetOf(flags);
  const isBudgeted = requests.some(({ entry, options }) => goesByBudget(entry, options));
  if (isBudgeted) measureOf(target);
  const unused = (Object.keys(target) as (keyof Target)[]).find((t) => typed.has(t));
  if (unused && !isBudgeted) {
    throw new ConfigError("TARGET_UNUSED", `--${unused} came, but no pass here looks at a budget.`, {
      hint: "Add a criterion, e.g. --pass l1, or leave the budget out.",
    });
  }
  return requests;
}

function goesByBudget(entry: Entry, options: unknown): boolean {
  if (entry.kind === "criterion") return !decidesAmount(entry.criterion, options);
  return (entry.pass.budgets?.(parseOptions(entry.pass, options)) ?? []).length > 0;
}

function decidesAmount(criterion: Criterion, options: unknown): boolean {
  return criterion.decidesAmount?.(parseOptions(criterion, options)) ?? false;
}

async function passRequest({
  name,
  options = {},
}: {
  readonly name: string;
  readonly options?: Readonly<Record<string, unknown>> | undefined;
}): Promise<PassRequest> {
  const entry = await findEntry(name);
  const read = await withPlanFile(options, entry.kind === "pass" && entry.pass.name === "remove-filters");
  parseOptions(entry.kind === "pass" ? entry.pass : entry.criterion, read);
  return { entry, options: read };
}

function splitPass(text: string): { name: string; options?: Record<string, unknown> } {
  const at = text.indexOf("=");
  if (at < 0) return { name: text };
  const [name, json] = [text.slice(0, at), text.slice(at + 1)];
  let options: unknown;
  try {
    options = JSON.parse(json);
  } catch (cause) {
    throw new ConfigError("PASS_JSON", `--pass ${name}=… takes JSON, but "${json}" is none: ${(cause as Error).message}.`, {
      cause,
      hint: `Quote it for the shell: --pass '${name}={"option": value}'.`,
    });
  }
  if (typeof options !== "object" || options === null || Array.isArray(options))
    throw new ConfigError("PASS_JSON", `--pass ${name}=… takes one JSON object, but ${json} came.`);
  return { name, options: options as Record<string, unknown> };
}

/** remove-filters takes its plan as an object; a person gives the file. */
async function withPlanFile(options: Readonly<Record<string, unknown>>, takesPlan: boolean): Promise<Readonly<Record<string, unknown>>> {
  const { plan } = options;
  return takesPlan && typeof plan === "string" ? { ...options, plan: await readPlan(plan) } : options;
}

/** @throws PlanError when the file cannot be read or is no plan. */
export async function readPlan(path: string): Promise<PruningPlan> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new PlanError("PLAN_UNREADABLE", `Cannot read the plan "${path}": ${(cause as Error).message}.`, {
      cause,
      at: { file: path },
      hint: "Make one with `onnx-prune plan`, or --plan-out of a pruning run.",
    });
  }
  return parsePlan(text, path);
}

export function targetOf({ macs, params, bytes, latency, ratio }: Values): Target {
  return {
    ...(macs === undefined ? {} : { macs }),
    ...(params === undefined ? {} : { params }),
    ...(bytes === undefined ? {} : { bytes }),
    ...(latency === undefined ? {} : { latency }),
    ...(ratio === undefined ? {} : { ratio }),
  };
}

/** {x: [1, 3, 640, 640]}. @throws ConfigError for inputs the model does not have, or another rank. */
export function inputShapesOf(flags: Values, model: Model): Record<string, number[]> | undefined {
  const texts = flags["input-shape"];
  if (!texts) return undefined;
  const inputs = model.graph.inputs.filter((v) => v.constant === undefined);
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.lastIndexOf("=");
      const name = text.slice(0, at);
      const input = inputs.find((v) => v.name === name);
      if (!input)
        throw new ConfigError(
          "INPUT_SHAPE",
          `--input-shape ${text}: the model has no input "${name}"; it has ${inputs.map((v) => v.name).join(", ") || "none"}.`,
        );
      const dims = text
        .slice(at + 1)
        .split("x")
        .map(Number);
      if (input.shape && (input.shape.length !== dims.length || input.shape.some((d, i) => typeof d === "number" && d !== dims[i]))) {
        throw new ConfigError("INPUT_SHAPE", `--input-shape ${text}: the model declares "${name}" as [${input.shape.join(", ")}].`);
      }
      return [name, dims];
    }),
  );
}

/** Whether samples must be set aside: weights are corrected by them, layers are tried on them, or a criterion or pass looks at more than weights and no statistics say it already. */
export function needsCalibration(passes: readonly PassRequest[], flags: Values): boolean {
  const { stats, calibrate, scope } = flags;
  if (scope === "sensitivity" || recovers(flags)) return true;
  const looks = ({ entry, options }: PassRequest) =>
    (entry.kind === "criterion"
      ? needsOf(entry.criterion, parseOptions(entry.criterion, options))
      : (entry.pass.needs?.(parseOptions(entry.pass, options)) ?? [])
    ).some((need) => need !== "weights");
  return (stats === undefined || calibrate !== undefined) && passes.some(looks);
}

/** Everything but the passes; opens --data and --calibrate. */
export async function runOptions(model: Model, run: Run, progress: Progress, calibrates: boolean): Promise<Omit<PruneOptions, "passes">> {
  const { flags, signal } = run;
  if (flags["max-drop"] !== undefined && !flags.data) {
    throw new ConfigError("MAX_DROP_NEEDS_DATA", `--max-drop ${flags["max-drop"]} needs labelled samples, but no --data came.`);
  }
  const inputShapes = inputShapesOf(flags, model);
  const { data, calibration } = await rolesOf(model, run, inputShapes, calibrates);
  const statistics = await statisticsOf(flags);
  return {
    target: targetOf(flags),
    seed: flags.seed ?? 0,
    latency: !flags["no-latency"],
    latencyCache: cacheFolder(),
    signal,
    data,
    calibration,
    ...(statistics ? { statistics } : {}),
    verifyWith: flags["verify-with"],
    maxDrop: flags["max-drop"],
    ...(flags.scope ? { scope: flags.scope } : {}),
    ...(flags.align ? { align: flags.align } : {}),
    ...(flags.untie ? { untie: flags.untie } : {}),
    ...(flags.exclude ? { exclude: flags.exclude } : {}),
    ...(flags.reconstruct ? { reconstruct: flags.reconstruct } : {}),
    ...(flags.steps ? { steps: flags.steps } : {}),
    ...(flags.ep ? { ep: flags.ep } : {}),
    ...(flags.device === undefined ? {} : { device: flags.device }),
    ...(flags.threads ? { threads: flags.threads } : {}),
    ...(flags.batch ? { batch: flags.batch } : {}),
    ...(flags.memory === undefined ? {} : { memory: flags.memory * 2 ** 30 }),
    ...(inputShapes ? { inputShapes } : {}),
    ...(flags.quiet ? {} : { onProgress: (event) => progress.show(event) }),
  };
}

/** What --stats holds. */
export async function statisticsOf({ stats }: Values): Promise<Summary | undefined> {
  return stats === undefined ? undefined : readStatisticsFile(stats);
}

/** Samples that verify and samples that calibrate, as --data and --calibrate say. */
export async function rolesOf(
  model: Model,
  { flags, terminal }: Run,
  inputShapes: Record<string, number[]> | undefined,
  calibrates: boolean,
): Promise<Roles> {
  if (!flags.data && !flags.calibrate) return { notes: [] };
  const { inputs, classes } = modelInputs(model, inputShapes);
  const roles = await openRoles({
    inputs,
    data: whereOf("data", flags.data, inputs),
    calibrate: whereOf("calibrate", flags.calibrate, inputs),
    calibrateSamples: flags["calibrate-samples"] ?? (recovers(flags) ? RECOVERY_SAMPLES : undefined),
    needsCalibration: calibrates,
    ...(classes === undefined ? {} : { classes }),
    preprocess: flags.preprocess,
    limit: flags.limit,
    skipBad: flags["skip-bad"],
    seed: flags.seed,
    onNote: flags.quiet ? undefined : (text) => terminal.err.write(`${text}\n`),
  });
  if (!roles.calibration) return roles;
  const views = await viewsOf(roles.calibration, { count: flags.views ?? 1, ...(flags.seed === undefined ? {} : { seed: flags.seed }) });
  return { ...roles, calibration: views };
}

/** Whether weights are to be corrected. */
const recovers = ({ reconstruct = "none" }: Values): boolean => reconstruct !== "none";

/** Samples that correct weights, where nothing is said. */
const RECOVERY_SAMPLES = 1000;

/** One where for all inputs, or `input=where` for each. */
export function whereOf(
  flag: "data" | "calibrate",
  texts: readonly string[] | undefined,
  inputs: readonly { readonly name: string }[],
): string | Record<string, string> | undefined {
  if (!texts) return undefined;
  const names = new Set([...inputs.map((i) => i.name), "labels"]);
  const named = texts.map((text) => [text.slice(0, Math.max(0, text.indexOf("="))), text] as const);
  const isNamed = named.some(([name]) => names.has(name));
  if (isNamed) return Object.fromEntries(named.map(([name, text]) => [name, text.slice(name.length + 1)]));
  if (texts.length === 1) return texts[0];
  throw new ConfigError(
    "DATA_SEVERAL",
    `--${flag} came ${texts.length} times; several are taken as input=where, one for each input: ${inputs.map((i) => i.name).join(", ")}.`,
  );
}
