/** onnx-prune compare <a.onnx> <b.onnx>: two graphs side by side, and an exit code for continuous integration. */
import { compare } from "../compare/compare.js";
import type { CompareReport } from "../compare/report.js";
import { BudgetError, ConfigError, VerificationError } from "../errors.js";
import { readModel } from "../export/read.js";
import { type Command, PROVING, REPORTING, type Run } from "./command.js";
import { junitText } from "./compare-junit.js";
import { markdownText } from "./compare-markdown.js";
import { compareText } from "./compare-text.js";
import { writeText } from "./files.js";
import type { Values } from "./flags.js";
import { writeJson } from "./json.js";
import { checkOutputs } from "./outputs.js";
import { Progress } from "./progress.js";
import { readPlan, runOptions } from "./request.js";

export const compareCommand: Command = {
  name: "compare",
  takes: ["<a.onnx>", "<b.onnx>"],
  summary: "compares two graphs: layers and sizes, outputs, accuracy on the same data, speed; thresholds decide the exit code",
  flags: [
    ...PROVING.filter((f) => f !== "verify-with" && f !== "no-latency"),
    "confident",
    "tolerance",
    "min-cosine",
    "min-agreement",
    "max-kl",
    "max-latency-ratio",
    "max-macs",
    "max-params",
    "max-bytes",
    "no-latency",
    "bisect",
    "plan",
    "markdown",
    "junit",
    ...REPORTING,
  ],
  examples: [
    ["onnx-prune compare main.onnx branch.onnx", "meant to be equal: exit 4 where outputs differ"],
    ["onnx-prune compare main.onnx branch.onnx --bisect", "and the first value that differs"],
    [
      "onnx-prune compare main.onnx branch.onnx --data val.npz --max-drop 0.5 --markdown comment.md --junit out.xml",
      "meant to be as good: exit 3 where top-1 accuracy falls by more than half a point",
    ],
    ["onnx-prune compare main.onnx branch.onnx --min-agreement 0.98", "no labels: exit 4 where more than 2 % of the answers change"],
  ],

  async run(run) {
    const { flags, terminal } = run;
    const [fileA, fileB] = run.positionals as [string, string];
    if (flags.plan !== undefined && !flags.bisect) {
      throw new ConfigError("PLAN_NEEDS_BISECT", "--plan tells --bisect which indices were kept, but no --bisect came.", {
        hint: "Add --bisect, or prove the plan with `onnx-prune verify`.",
      });
    }
    checkOutputs(
      [
        { what: "<a.onnx>", path: fileA },
        { what: "<b.onnx>", path: fileB },
        { what: "--plan", path: flags.plan },
      ],
      undefined,
      (["markdown", "junit", "json"] as const).map((f) => ({ what: `--${f}`, path: flags[f] })),
    );
    const plan = flags.plan === undefined ? undefined : await readPlan(flags.plan);
    const progress = new Progress(terminal.err);
    let found: CompareReport;
    try {
      const a = await readModel(fileA);
      const b = await readModel(fileB);
      found = await compare(a, b, {
        ...(await runOptions(a, run, progress, false)),
        ...thresholdsOf(flags),
        bisect: flags.bisect ?? false,
        plan,
      });
    } finally {
      progress.clear();
    }
    const report: CompareReport = { ...found, a: { ...found.a, path: fileA }, b: { ...found.b, path: fileB } };
    await write(report, run);
    requireGood(report);
  },
};

function thresholdsOf(flags: Values) {
  return {
    maxDrop: flags["max-drop"],
    confident: flags.confident,
    tolerance: flags.tolerance,
    minCosine: flags["min-cosine"],
    minAgreement: flags["min-agreement"],
    maxKl: flags["max-kl"],
    maxLatencyRatio: flags["max-latency-ratio"],
    maxMacs: flags["max-macs"],
    maxParams: flags["max-params"],
    maxBytes: flags["max-bytes"],
  };
}

/** Every artefact, whatever the verdict: a build that fails needs them most. */
async function write(report: CompareReport, { flags, terminal }: Run): Promise<void> {
  if (flags.markdown !== undefined) await writeText(flags.markdown, markdownText(report));
  if (flags.junit !== undefined) await writeText(flags.junit, junitText(report));
  if (flags.json !== undefined) await writeJson(flags.json, report, terminal.out);
  if (flags.json !== "-") terminal.out.write(compareText(report, terminal.out));
}

/** @throws BudgetError (3) or VerificationError (4) with the reason of the verdict. */
function requireGood(report: CompareReport): void {
  const { exitCode, reason } = report.verdict;
  if (exitCode === 3) {
    throw new BudgetError("COMPARE_WORSE", `b is not as good as it must be: ${reason}`, {
      hint: "The checks above say what was found and what was allowed.",
      details: report,
    });
  }
  if (exitCode === 4) {
    const isMeantEqual = report.checks.some((c) => c.kind === "output" && c.status === "failed");
    throw new VerificationError("COMPARE_DIFFERENT", `b is not what it must be: ${reason}`, {
      hint: isMeantEqual
        ? "--bisect names the first value that differs. Graphs that may differ, as pruned ones do, are held to --max-drop, --min-cosine, --min-agreement or --max-kl."
        : "b cannot take the place of a as it is.",
      details: report,
    });
  }
}
