/** onnx-prune verify <original> <pruned> --plan <plan.json>: proves a pruned file again, from nothing but the files. */
import { ConfigError, VerificationError } from "../errors.js";
import { readModel } from "../export/read.js";
import { applyPlan } from "../passes/remove-filters.js";
import type { Equality, RunReport } from "../report.js";
import { openRunner } from "../runtime/provider.js";
import type { Feeds } from "../runtime/runner.js";
import { checkBranches } from "../verify/branches.js";
import { checkEquality } from "../verify/equality.js";
import { randomFeeds } from "../verify/feeds.js";
import { checkInterface, checkLoads } from "../verify/verify.js";
import type { Command } from "./command.js";
import { writeJson } from "./json.js";
import { inputShapesOf, readPlan } from "./request.js";
import { table, tiny } from "./table.js";

/** Random inputs that are compared. */
const RUNS = 3;

export const verifyCommand: Command = {
  name: "verify",
  takes: ["<original.onnx>", "<pruned.onnx>"],
  summary: "proves that a pruned file is its original without the slices of a plan",
  flags: ["plan", "ep", "threads", "verify-with", "seed", "input-shape", "json", "quiet", "config"],
  examples: [["onnx-prune verify in.onnx out.onnx --plan plan.json", "exit 4 when it is not"]],

  async run({ positionals, flags, signal, terminal: { out, err } }) {
    const [originalFile, prunedFile] = positionals as [string, string];
    if (flags.plan === undefined) {
      throw new ConfigError("VERIFY_NEEDS_PLAN", "verify needs --plan: the plan the pruned file was made with.", {
        hint: "--plan-out of a pruning run writes it; `onnx-prune plan` makes one beforehand.",
      });
    }
    const plan = await readPlan(flags.plan);
    const original = await readModel(originalFile);
    const pruned = await readModel(prunedFile);
    const removal = applyPlan(original, plan);
    checkInterface(original, pruned);
    const inputShapes = inputShapesOf(flags, original);
    const feeds = Array.from({ length: RUNS }, (_, i) => randomFeeds(original, (flags.seed ?? 0) + i + 1, inputShapes));
    const what = `${prunedFile} against ${plan.merges.length > 0 ? "the merged original" : originalFile} with the removed slices made ineffective`;
    const request = { what, reference: removal.oracle(), candidate: pruned, feeds, original: removal.source, removal };
    const threads = flags.threads === undefined ? {} : { threads: flags.threads };
    const equality: Equality[] = [];
    let loads: RunReport["loads"] = [];
    for (const ep of [flags.ep ?? "auto", ...(flags["verify-with"] ? [flags["verify-with"]] : [])] as const) {
      signal.throwIfAborted();
      const runner = await openRunner(ep, { ...threads, ...(flags.quiet ? {} : { onNote: (text) => err.write(`${text}\n`) }) });
      try {
        equality.push(await checkEquality(runner, request), ...(await checkBranches(runner, request)).results);
        if (loads.length === 0) loads = await checkLoads(runner, pruned, feeds[0] as Feeds, original);
      } finally {
        await runner.close();
      }
    }
    if (flags.json !== undefined) await writeJson(flags.json, { format: 1, equality, loads }, out);
    if (flags.json !== "-") {
      const verdict = (ok: boolean) => (ok ? out.style("green", "ok  ") : out.style("red", "FAIL"));
      out.write(
        table(
          [{ title: "" }, { title: "" }],
          [
            ...equality.map((e) => [
              verdict(e.ok),
              `${e.what}: relative error ${tiny(e.maxRel)}, at most ${tiny(e.tolerance)} allowed (${e.runs} inputs, ${e.on}; the removal itself moves outputs by ${tiny(e.drift ?? 0)})`,
            ]),
            [verdict(loads.every((l) => l.ok)), `it loads and runs at optimisation ${loads.map((l) => l.level).join(", ")}`],
          ],
        ),
      );
    }
    requireProof(equality, loads, prunedFile);
  },
};

/** Here it is the file that is on trial, not our own rewriting: the blame is put accordingly. */
function requireProof(equality: readonly Equality[], loads: RunReport["loads"], file: string): void {
  const bad = equality.find((e) => !e.ok);
  if (bad) {
    const first = bad.firstDifference;
    const where = first ? ` The first value that differs is "${first.value}" (relative error ${tiny(first.maxRel)}).` : "";
    throw new VerificationError(
      "VERIFY_NOT_EQUAL",
      `${bad.what}: relative error ${tiny(bad.maxRel)} is above ${tiny(bad.tolerance)} on ${bad.on}.${where}`,
      {
        hint: "The file is not what this plan makes of this original: was it changed since, tuned, or made with another plan or seed?",
        at: { file, ...(first ? { value: first.value } : {}) },
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
