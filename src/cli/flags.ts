/** Every flag once: its schema checks the command line and the configuration file, and makes the help. */
import { z } from "zod";
import { ConfigError } from "../errors.js";
import { RECOVERY_METHODS } from "../recover/recover.js";
import { SCOPES } from "../score/moves.js";
import { closest } from "../suggest.js";

interface Flag {
  readonly schema: z.ZodType;
  /** What stands for the value in help; absent for switches. */
  readonly value?: string;
  readonly group: "What to remove" | "What to measure" | "Where it runs" | "What comes out";
}

const fraction = z.number().gt(0).max(1);
const count = z.int().min(1);

const passEntry = z.union([z.string(), z.strictObject({ name: z.string(), options: z.record(z.string(), z.unknown()).optional() })]);

export const flags = {
  pass: {
    group: "What to remove",
    value: "name[=json]",
    schema: z.array(passEntry).describe("a pass or criterion, or a module of your own (./mine.mjs); may be repeated, runs in order"),
  },
  macs: {
    group: "What to remove",
    value: "fraction",
    schema: fraction.describe("keep this fraction of the multiply-accumulates, e.g. 0.5"),
  },
  params: { group: "What to remove", value: "fraction", schema: fraction.describe("keep this fraction of the parameters") },
  bytes: { group: "What to remove", value: "fraction", schema: fraction.describe("keep this fraction of the file's bytes") },
  latency: {
    group: "What to remove",
    value: "fraction",
    schema: fraction.describe("keep this fraction of the time, measured on this machine, provider and number of threads; met within 5 %"),
  },
  ratio: { group: "What to remove", value: "fraction", schema: fraction.describe("keep this fraction of the channels") },
  scope: {
    group: "What to remove",
    value: SCOPES.join("|"),
    schema: z
      .enum(SCOPES)
      .default("global")
      .describe(
        "one threshold over all layers; the same share in each; or where outputs change least, measured layer by layer and block by block on calibration samples",
      ),
  },
  align: {
    group: "What to remove",
    value: "n|auto",
    schema: z
      .union([count, z.literal("auto")])
      .default("auto")
      .describe("widths to multiples of n; auto suits ONNX Runtime's kernels (docs/widths.md)"),
  },
  untie: {
    group: "What to remove",
    value: "auto|all|none",
    schema: z
      .enum(["auto", "all", "none"])
      .default("auto")
      .describe("shared matrices that get a copy per reader: those kept whole only by being shared, if cheap; all; none"),
  },
  steps: {
    group: "What to remove",
    value: "n",
    schema: count.default(1).describe("meet the budget in n steps, each with its own statistics, removal and --reconstruct"),
  },
  reconstruct: {
    group: "What to remove",
    value: "how",
    schema: z
      .enum(["none", ...RECOVERY_METHODS])
      .default("none")
      .describe(
        "after removal, correct the weights that stay by what unlabelled samples show: mean, normalise, merge, least-squares (best with 1,000 samples or more), least-squares+normalise, none; `plan` does not, but --scope sensitivity reckons with it",
      ),
  },
  exclude: { group: "What to remove", value: "name", schema: z.array(z.string()).describe("a group or node left whole; may be repeated") },
  seed: { group: "What to remove", value: "n", schema: z.int().min(0).default(0).describe("seed of all that is random") },

  data: {
    group: "What to measure",
    value: "[input=]where",
    schema: z
      .array(z.string())
      .describe("held-out samples: image folder, CIFAR, MNIST idx, .npy, .npz, .pb, Parquet, random:N; one per input by name"),
  },
  calibrate: {
    group: "What to measure",
    value: "[input=]where",
    schema: z
      .array(z.string())
      .describe("samples that statistics are taken from, never those of --data; default: the train split of --data, or a part of it"),
  },
  "calibrate-samples": {
    group: "What to measure",
    value: "n",
    schema: count.describe(
      "how many samples calibrate, equally many of every class, by --seed; default 256, with --reconstruct 1000, and all for `calibrate`",
    ),
  },
  views: {
    group: "What to measure",
    value: "n",
    schema: count.describe("each calibration image is seen n times: as it is, mirrored, and moved by up to an eighth; default 1"),
  },
  preprocess: {
    group: "What to measure",
    value: "json|file",
    schema: z
      .union([z.string(), z.record(z.string(), z.unknown())])
      .describe("how pixels become inputs; default: preprocess.json beside the data"),
  },
  limit: { group: "What to measure", value: "n", schema: count.describe("measure at most n samples, a random subset by --seed") },
  "skip-bad": {
    group: "What to measure",
    schema: z.boolean().default(false).describe("leave out samples that cannot be read or do not fit, and report how many"),
  },
  stats: {
    group: "What to measure",
    value: "stats.npz",
    schema: z.string().describe("statistics that `onnx-prune calibrate` gathered, instead of measuring them now"),
  },
  shard: {
    group: "What to measure",
    value: "i/n",
    schema: z
      .string()
      .regex(/^\d+\/\d+$/, "expected i/n, e.g. 3/8")
      .describe("gather only part i of n of the samples; `onnx-prune merge` adds parts up"),
  },
  "max-drop": {
    group: "What to measure",
    value: "points",
    schema: z.number().min(0).describe("highest loss of top-1 accuracy, in percentage points; past it exit 3 and no output"),
  },
  confident: {
    group: "What to measure",
    schema: z.boolean().default(false).describe("hold the upper end of the drop's 95 % interval against --max-drop, not the estimate"),
  },
  tolerance: {
    group: "What to measure",
    value: "x|none",
    schema: z
      .union([z.number().min(0), z.literal("none")])
      .describe(
        "highest max|a - b| / max|a| of an output, else exit 4; without it and without --max-drop, --min-… or --max-kl 1e-5 (float16 5e-3)",
      ),
  },
  "min-cosine": {
    group: "What to measure",
    value: "x",
    schema: z.number().min(-1).max(1).describe("least cosine of an output of both graphs, else exit 4"),
  },
  "min-agreement": {
    group: "What to measure",
    value: "fraction",
    schema: z.number().min(0).max(1).describe("least share of samples both graphs put in the same class, else exit 4"),
  },
  "max-kl": {
    group: "What to measure",
    value: "nats",
    schema: z.number().min(0).describe("highest mean Kullback-Leibler divergence of class scores, else exit 4"),
  },
  "max-latency-ratio": {
    group: "What to measure",
    value: "x",
    schema: z.number().gt(0).describe("highest time of b / time of a, else exit 3"),
  },
  "max-macs": {
    group: "What to measure",
    value: "fraction",
    schema: z.number().gt(0).describe("highest fraction of the multiply-accumulates of a, else exit 3"),
  },
  "max-params": {
    group: "What to measure",
    value: "fraction",
    schema: z.number().gt(0).describe("highest fraction of the parameters of a, else exit 3"),
  },
  "max-bytes": {
    group: "What to measure",
    value: "fraction",
    schema: z.number().gt(0).describe("highest fraction of the bytes of a, else exit 3"),
  },
  "no-latency": { group: "What to measure", schema: z.boolean().default(false).describe("do not time both graphs") },
  "input-shape": {
    group: "What to measure",
    value: "x=1x3x64x64",
    schema: z
      .array(z.string().regex(/^.+=\d+(x\d+)*$/, "expected input=NxCxHxW, e.g. x=1x3x640x640"))
      .describe("shape of an input with symbolic extents, for checks, cost and timing; may be repeated"),
  },

  ep: {
    group: "Where it runs",
    value: "name",
    schema: z
      .enum(["auto", "cuda", "cpu", "webgpu", "wasm"])
      .default("auto")
      .describe("execution provider: auto (CUDA, then CPU), cuda, cpu, webgpu, wasm"),
  },
  device: {
    group: "Where it runs",
    value: "n",
    schema: z.int().min(0).describe("number of the CUDA device, from 0 (default 0); docs/providers.md"),
  },
  threads: { group: "Where it runs", value: "n", schema: count.describe("threads of ONNX Runtime") },
  batch: { group: "Where it runs", value: "n", schema: count.default(32).describe("samples per run when accuracy is measured") },
  memory: {
    group: "Where it runs",
    value: "GiB",
    schema: z
      .number()
      .min(0)
      .default(2)
      .describe("weights of both graphs up to which they are held in memory whole; larger ones are not timed"),
  },
  "verify-with": {
    group: "Where it runs",
    value: "wasm",
    schema: z.enum(["wasm"]).describe("a second runtime on which the result must be equal too"),
  },

  "plan-out": { group: "What comes out", value: "file", schema: z.string().describe("also write the pruning plan") },
  plan: { group: "What comes out", value: "file", schema: z.string().describe("the plan the pruned file was made with") },
  check: {
    group: "What comes out",
    value: "group|all",
    schema: z.string().describe("prove a group, or all, by taking one channel out: oracle, poison, zero invariance, minimality"),
  },
  checks: {
    group: "What to measure",
    value: "names|all",
    schema: z
      .string()
      .regex(
        /^(oracle|values|masked|poison|zero|all)(,(oracle|values|masked|poison|zero|all))*$/,
        "expected oracle, values, masked, poison, zero or all, with commas between",
      )
      .default("oracle")
      .describe("how the removal is proven: oracle, values (in between too), masked, poison, zero, or all; with commas between"),
  },
  bisect: {
    group: "What comes out",
    schema: z.boolean().default(false).describe("where a check fails, show the node at which the graphs part, and what it reads"),
  },
  reduce: {
    group: "What comes out",
    value: "file.onnx",
    schema: z.string().describe("where the plan itself fails, write the smallest model that still does, and its plan, for a bug report"),
  },
  why: { group: "What comes out", value: "node|value", schema: z.string().describe("explain every axis of one node or value") },
  types: { group: "What comes out", schema: z.boolean().default(false).describe("list the inferred type of every value") },
  json: {
    group: "What comes out",
    value: "file.json|-",
    schema: z.string().describe("the result as JSON, to a file or (default) to stdout instead of the table"),
  },
  markdown: {
    group: "What comes out",
    value: "file",
    schema: z.string().describe("the comparison as Markdown, fit for a pull-request comment"),
  },
  junit: { group: "What comes out", value: "file", schema: z.string().describe("each check as a JUnit test case, for CI") },
  quiet: { group: "What comes out", schema: z.boolean().default(false).describe("no progress and no notes on stderr") },
  config: {
    group: "What comes out",
    value: "file",
    schema: z.string().describe("configuration; default: onnx-prune.config.json of the working directory, if any"),
  },
} satisfies Record<string, Flag>;

export type FlagName = keyof typeof flags;

/** Checked values of flags, by name. Absent: not given, and without default. */
export type Values = { readonly [F in FlagName]?: z.output<(typeof flags)[F]["schema"]> | undefined };

export const flagNames = Object.keys(flags) as FlagName[];
/** Of these one is given; one on the command line replaces any in the configuration. */
const TARGETS: readonly FlagName[] = ["macs", "params", "bytes", "latency", "ratio"];

export function flagOf(name: FlagName): Flag {
  return flags[name];
}
export function isSwitch(name: FlagName): boolean {
  return flagOf(name).value === undefined;
}
export function isList(name: FlagName): boolean {
  return flagOf(name).schema instanceof z.ZodArray;
}

/** What help says about a flag: the schema's description and default. */
export function describeFlag(name: FlagName): string {
  const { description, default: fallback } = z.toJSONSchema(flagOf(name).schema, { io: "input" });
  return `${description}${fallback === undefined || fallback === false ? "" : ` (default ${String(fallback)})`}`;
}

/**
 * The texts of a command line as values. `given` has only flags the command takes.
 * @throws ConfigError FLAG_VALUE naming the flag and what it takes.
 */
export function parseFlags(given: ReadonlyMap<FlagName, string | boolean | readonly string[]>): Values {
  const out: Record<string, unknown> = {};
  for (const [name, raw] of given) out[name] = checked(name, typeof raw === "string" ? fromText(raw, name) : raw, `--${name}`);
  return out as Values;
}

/** Flag over configuration over default, for the flags a command takes. */
export function mergeFlags(commandLine: Values, config: Values, takes: readonly FlagName[]): Values {
  const asksForTarget = TARGETS.some((t) => commandLine[t] !== undefined);
  const out: Record<string, unknown> = {};
  for (const name of takes) {
    const configured = asksForTarget && TARGETS.includes(name) ? undefined : config[name];
    const value = commandLine[name] ?? configured ?? flagOf(name).schema.safeParse(undefined).data;
    if (value !== undefined) out[name] = value;
  }
  return out as Values;
}

/**
 * A configuration: an object whose keys are flags.
 * @throws ConfigError CONFIG_UNKNOWN for a key that is no flag, CONFIG_VALUE for a value the flag does not take.
 */
export function parseConfig(json: unknown, file: string): Values {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new ConfigError("CONFIG_VALUE", `"${file}" should hold one object whose keys are flags.`, {
      at: { file },
      hint: 'For example {"pass": ["l1"], "macs": 0.5}.',
    });
  }
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(json)) {
    if (key === "$schema") continue;
    if (key === "config" || !(flagNames as string[]).includes(key)) {
      const near = closest(key, flagNames);
      throw new ConfigError("CONFIG_UNKNOWN", `"${file}" has the key "${key}", which is no flag.`, {
        at: { file },
        ...(near ? { hint: `Did you mean "${near}"?` } : {}),
      });
    }
    out[key] = checked(
      key as FlagName,
      isList(key as FlagName) && !Array.isArray(value) ? [value] : value,
      `"${key}" in "${file}"`,
      "CONFIG_VALUE",
    );
  }
  return out as Values;
}

function fromText(text: string, name: FlagName): unknown {
  if (text === "") throw new ConfigError("FLAG_VALUE", `--${name} needs a value: ${flagOf(name).value}.`);
  const number = Number(text);
  return JSON.stringify(z.toJSONSchema(flagOf(name).schema, { io: "input" })).match(/"type":"(number|integer)"/) &&
    text.trim() !== "" &&
    !Number.isNaN(number)
    ? number
    : text;
}

function checked(name: FlagName, value: unknown, what: string, code = "FLAG_VALUE"): unknown {
  const parsed = flagOf(name).schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new ConfigError(code, `${what}: ${messageOf(parsed.error)}, but ${JSON.stringify(value)} came.`, {
    hint: `${name}: ${describeFlag(name)}.`,
  });
}

function messageOf(error: z.ZodError): string {
  const issue = error.issues[0];
  if (issue?.code === "invalid_union") return "no form that it takes";
  return issue?.message.replace(/^(Invalid (input|option|string)|Too (small|big)): /, "").replace(/, received .*$/, "") ?? "not accepted";
}
