/** onnx-prune verify <original> <pruned> --plan <plan.json>: proves a pruned file again, from nothing but the files. */
import { ConfigError, VerificationError } from "../errors.js";
import { readModel } from "../export/read.js";
import { writeModel } from "../export/write.js";
import type { Model } from "../graph/graph.js";
import { applyPlan, type Removal } from "../passes/remove-filters.js";
import type { Equality, RunReport } from "../report.js";
import { openRunner } from "../runtime/provider.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { type PruningPlan, printPlan } from "../score/plan.js";
import { differenceText } from "../verify/bisect.js";
import { checkBranches } from "../verify/branches.js";
import { CHECKS, type CheckName, type CheckResult, checkRemoval } from "../verify/checks.js";
import { checkEquality } from "../verify/equality.js";
import { randomFeeds } from "../verify/feeds.js";
import { reduceRemoval } from "../verify/reduce-removal.js";
import { checkInterface, checkLoads } from "../verify/verify.js";
import type { Command, Run } from "./command.js";
import { sha256Of, writeText } from "./files.js";
import { writeJson } from "./json.js";
import { Progress } from "./progress.js";
import { inputShapesOf, readPlan } from "./request.js";
import { table, tiny } from "./table.js";

/** Random inputs that are compared. */
const RUNS = 3;

export const verifyCommand: Command = {
  name: "verify",
  takes: ["<original.onnx>", "[pruned.onnx]"],
  summary: "proves that a pruned file, or a plan alone, gives the original without the slices of the plan",
  flags: ["plan", "checks", "bisect", "reduce", "ep", "device", "threads", "verify-with", "seed", "input-shape", "json", "quiet", "config"],
  examples: [
    ["onnx-prune verify in.onnx out.onnx --plan plan.json", "exit 4 when it is not"],
    ["onnx-prune verify in.onnx out.onnx --plan plan.json --checks all --bisect", "in every way, and where it differs"],
    ["onnx-prune verify in.onnx --plan plan.json --reduce small.onnx", "a plan that fails: the smallest model for a bug report"],
  ],

  async run({ positionals, flags, signal, terminal: { out, err } }) {
    const [originalFile, file] = positionals as [string, string | undefined];
    const prunedFile = file ?? `what "${flags.plan}" makes`;
    if (flags.plan === undefined) {
      throw new ConfigError("VERIFY_NEEDS_PLAN", "verify needs --plan: the plan the pruned file was made with.", {
        hint: "--plan-out of a pruning run writes it; `onnx-prune plan` makes one beforehand.",
      });
    }
    const plan = await readPlan(flags.plan);
    const original = await readModel(originalFile);
    const inputShapes = inputShapesOf(flags, original);
    if (flags.reduce !== undefined) await reduced(flags.reduce, original, plan, inputShapes, { flags, signal, terminal: { out, err } });
    const removal = applyPlan(original, plan);
    const pruned = file === undefined ? removal.result : await readModel(file);
    checkInterface(original, pruned);
    const feeds = Array.from({ length: RUNS }, (_, i) => randomFeeds(original, (flags.seed ?? 0) + i + 1, inputShapes));
    const names = { pruned: prunedFile, original: sourceName(plan, originalFile) };
    const request = { removal, candidate: pruned, feeds, names };
    const checks: CheckResult[] = [];
    let loads: RunReport["loads"] = [];
    for (const ep of [flags.ep ?? "auto", ...(flags["verify-with"] ? [flags["verify-with"]] : [])] as const) {
      signal.throwIfAborted();
      // The second opinion of --verify-with has no device to choose.
      const device = ep === flags["verify-with"] ? undefined : flags.device;
      const runner = await openRunner(ep, {
        threads: flags.threads,
        device,
        ...(flags.quiet ? {} : { onNote: (text) => err.write(`${text}\n`) }),
      });
      try {
        for (const check of checksOf(flags.checks)) {
          signal.throwIfAborted();
          checks.push(await checkRemoval(runner, check, request));
        }
        if (checksOf(flags.checks).includes("oracle")) {
          const what = `${names.pruned} against ${names.original} with the removed slices made ineffective`;
          const both = { what, reference: removal.oracle(), candidate: pruned, feeds, original: removal.source, removal };
          for (const equality of (await checkBranches(runner, both)).results) checks.push({ check: "oracle", equality });
          for (const equality of await provenBlocks(runner, removal, feeds, originalFile)) checks.push({ check: "oracle", equality });
        }
        if (loads.length === 0) loads = await checkLoads(runner, pruned, feeds[0] as Feeds, original);
      } finally {
        await runner.close();
      }
    }
    const equality = checks.flatMap((c) => c.equality ?? []);
    if (flags.json !== undefined) await writeJson(flags.json, { format: 1, checks, equality, loads }, out);
    if (flags.json !== "-") {
      const verdict = (ok: boolean) => (ok ? out.style("green", "ok  ") : out.style("red", "FAIL"));
      out.write(
        table(
          [{ title: "" }, { title: "" }],
          [
            ...checks.map((c) =>
              c.equality ? [verdict(c.equality.ok), equalityText(c.equality)] : ["–", `${c.check}: not checked: ${c.skipped}`],
            ),
            [verdict(loads.every((l) => l.ok)), `it loads and runs at optimisation ${loads.map((l) => l.level).join(", ")}`],
          ],
        ),
      );
      if (flags.bisect) out.write(bisectTexts(checks));
    }
    requireProof(equality, loads, prunedFile);
  },
};

/** The blocks of the plan: what the slices were taken from must be the original in which their branches give nothing. */
async function provenBlocks(runner: Runner, { bypass }: Removal, feeds: readonly Feeds[], original: string): Promise<Equality[]> {
  if (!bypass) return [];
  const what = `${original} without the blocks against ${original} in which their branches give nothing`;
  const request = { what, reference: bypass.oracle(), candidate: bypass.model, feeds, original: bypass.before };
  return [await checkEquality(runner, request), ...(await checkBranches(runner, request)).results];
}

/** Writes the smallest model, and beside it the plan, with which the first check that fails still does; says so where none does. */
async function reduced(
  path: string,
  model: Model,
  plan: PruningPlan,
  inputShapes: Readonly<Record<string, readonly number[]>> | undefined,
  { flags, signal, terminal }: Pick<Run, "flags" | "signal" | "terminal">,
): Promise<void> {
  const progress = new Progress(terminal.err);
  const runner = await openRunner(flags.ep ?? "auto", { threads: flags.threads, device: flags.device });
  try {
    for (const check of checksOf(flags.checks)) {
      const found = await reduceRemoval(runner, model, plan, check, {
        signal,
        seed: flags.seed ?? 0,
        ...(inputShapes ? { inputShapes } : {}),
        ...(flags.quiet
          ? {}
          : {
              onProgress: (nodes: number) =>
                progress.show({ phase: "reduce", done: model.graph.nodes.length - nodes, total: model.graph.nodes.length }),
            }),
      });
      if (!found) continue;
      progress.clear();
      const { files } = await writeModel(path, found.model);
      const planFile = `${path.replace(/\.onnx$/, "")}.plan.json`;
      await writeText(planFile, printPlan({ ...found.plan, model: await sha256Of(path) }));
      const [before, after] = [model, found.model].map((m) => m.graph.nodes.length);
      terminal.err.write(
        `${check}: reduced from ${before} to ${after} nodes in ${found.tried} tries: ${[...files, planFile].join(", ")}\n`,
      );
      return;
    }
    terminal.err.write("Nothing to reduce: applied afresh, the plan passes. What differs is the file.\n");
  } finally {
    progress.clear();
    await runner.close();
  }
}

/** In the order of CHECKS, whatever the order on the line. */
function checksOf(text = "oracle"): CheckName[] {
  const asked = new Set(text.split(","));
  return CHECKS.filter((c) => asked.has("all") || asked.has(c));
}

function equalityText(e: Equality): string {
  const inputs = `${e.runs} ${e.runs === 1 ? "input" : "inputs"}, ${e.on}`;
  const moved = e.drift === undefined ? "" : `; the removal itself moves outputs by ${tiny(e.drift)}`;
  return `${e.what}: relative error ${tiny(e.maxRel)}, at most ${tiny(e.tolerance)} allowed (${inputs}${moved})`;
}

function bisectTexts(checks: readonly CheckResult[]): string {
  const failed = checks.flatMap(({ check, equality }) => (equality?.ok === false ? [bisectText(check, equality)] : []));
  return failed.length > 0 ? failed.join("") : "No value differs.\n";
}

/** Where two graphs part, line by line. */
function bisectText(check: CheckName, { firstDifference: d }: Equality): string {
  if (!d) return `${check}: no value that both graphs have differs\n`;
  const constant = (i: (typeof d.inputs)[number]) => (i.constant ? "constant " : "");
  const error = (x: number | undefined) => (x === undefined ? "not compared" : x === 0 ? "equal" : `relative error ${tiny(x)}`);
  return `${check}: the first value that differs is "${d.value}"\n${table(
    [{ title: "" }, { title: "" }],
    [
      ["made by", `${d.op} "${d.node}"`],
      ["error", `relative ${tiny(d.maxRel)}, absolute ${tiny(d.maxAbs)}`],
      ...(d.worst ? [["largest", `at [${d.worst.at.join(", ")}]: ${d.worst.got}, where ${d.worst.want} is expected`]] : []),
      ["axes", d.axes.map((a) => (a.extent === a.compared ? `${a.extent}` : `${a.compared} of ${a.extent}`)).join(" × ")],
      ...d.inputs.map((i) => ["reads", `${constant(i)}${i.value}: ${error(i.maxRel)}`]),
      ...(d.skipped.length > 0 ? [["skipped", `only in the original: ${d.skipped.join(", ")}`]] : []),
    ],
  )}`;
}

/** What the slices are taken from. */
function sourceName({ merges, blocks }: PruningPlan, file: string): string {
  const name = merges.length > 0 ? "the merged original" : file;
  return blocks.length > 0 ? `${name} without the blocks` : name;
}

/** Here it is the file that is on trial, not our own rewriting: the blame is put accordingly. */
function requireProof(equality: readonly Equality[], loads: RunReport["loads"], file: string): void {
  const bad = equality.find((e) => !e.ok);
  if (bad) {
    const first = bad.firstDifference;
    const where = first ? ` ${differenceText(first)}` : "";
    throw new VerificationError(
      "VERIFY_NOT_EQUAL",
      `${bad.what}: relative error ${tiny(bad.maxRel)} is above ${tiny(bad.tolerance)} on ${bad.on}.${where}`,
      {
        hint: "The file is not what this plan makes of this original: was it changed since, tuned, or made with another plan or seed?",
        at: { file, ...(first ? { node: first.node, value: first.value } : {}) },
      },
    );
  }
  const level = loads.find((l) => !l.ok);
  if (level)
    throw new VerificationError(
      "VERIFY_OPTIMISED",
      `"${file}" gives other results at optimisation ${level.level} than unoptimised: relative error ${tiny(level.maxRel)}.`,
      { at: { file } },
    );
}
