/** What prune and apply share: read the model, make a proven result, write it, then say so. */
import { BudgetError } from "../errors.js";
import { readModel } from "../export/read.js";
import { writeModel } from "../export/write.js";
import type { Model } from "../graph/graph.js";
import type { PruneOptions, PruneResult } from "../pipeline.js";
import type { RunReport } from "../report.js";
import { printPlan } from "../score/plan.js";
import type { Run } from "./command.js";
import { sha256Of, writeText } from "./files.js";
import { writeJson } from "./json.js";
import { Progress } from "./progress.js";
import { reportText } from "./report-text.js";
import { runOptions } from "./request.js";

/** Makes `output` of `input` by `make`; the bar is gone before anything is printed, an error included. */
export async function produce(
  input: string,
  output: string,
  run: Run,
  make: (model: Model, options: Omit<PruneOptions, "passes">) => Promise<PruneResult>,
  calibrates = false,
): Promise<void> {
  const progress = new Progress(run.terminal.err);
  try {
    const model = await readModel(input);
    const result = await make(model, await runOptions(model, run, progress, calibrates));
    progress.clear();
    await writeResult(result, input, output, run);
  } catch (error) {
    progress.clear();
    await writeRefusal(error, input, run);
    throw error;
  }
}

/** The figures of a run that was refused for its accuracy: what --json asked for and the table, but no model. */
async function writeRefusal(error: unknown, input: string, { flags, terminal }: Run): Promise<void> {
  if (!(error instanceof BudgetError) || error.code !== "ACCURACY_DROP") return;
  const refused = error.details as RunReport;
  const report: RunReport = { ...refused, input: { ...refused.input, path: input } };
  if (flags.json !== undefined) await writeJson(flags.json, report, terminal.out);
  if (flags.json !== "-") terminal.out.write(reportText(report, terminal.out));
}

async function writeResult(result: PruneResult, input: string, output: string, { flags, terminal }: Run): Promise<void> {
  const { files, left } = await writeModel(output, result.model);
  const why = "the model that was replaced had its weights there; delete it if no other model does";
  const report: RunReport = {
    ...result.report,
    notes: [...result.report.notes, ...left.map((file) => ({ code: "OLD_DATA_LEFT", about: file, why }))],
    input: { ...result.report.input, path: input },
    output: { path: output, sha256: await sha256Of(output), files },
  };
  const plan = result.plans[0];
  if (flags["plan-out"] !== undefined && plan) await writeText(flags["plan-out"], printPlan(plan));
  if (flags.json !== undefined) await writeJson(flags.json, report, terminal.out);
  if (flags.json !== "-") terminal.out.write(reportText(report, terminal.out));
}
