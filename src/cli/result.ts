/** What prune and apply do with a proven result: write the model, then say so. */
import { BudgetError } from "../errors.js";
import { writeModel } from "../export/write.js";
import type { PruneResult } from "../pipeline.js";
import type { RunReport } from "../report.js";
import { printPlan } from "../score/plan.js";
import type { Run } from "./command.js";
import { sha256Of, writeText } from "./files.js";
import { writeJson } from "./json.js";
import { reportText } from "./report-text.js";

/** The figures of a run that was refused for its accuracy: what --json asked for and the table, but no model. */
export async function writeRefusal(error: unknown, input: string, { flags, terminal }: Run): Promise<void> {
  if (!(error instanceof BudgetError) || error.code !== "ACCURACY_DROP") return;
  const refused = error.details as RunReport;
  const report: RunReport = { ...refused, input: { ...refused.input, path: input } };
  if (flags.json !== undefined) await writeJson(flags.json, report, terminal.out);
  if (flags.json !== "-") terminal.out.write(reportText(report, terminal.out));
}

export async function writeResult(result: PruneResult, input: string, output: string, { flags, terminal }: Run): Promise<void> {
  const { files } = await writeModel(output, result.model);
  const report: RunReport = {
    ...result.report,
    input: { ...result.report.input, path: input },
    output: { path: output, sha256: await sha256Of(output), files },
  };
  const plan = result.plans[0];
  if (flags["plan-out"] !== undefined && plan) await writeText(flags["plan-out"], printPlan(plan));
  if (flags.json !== undefined) await writeJson(flags.json, report, terminal.out);
  if (flags.json !== "-") terminal.out.write(reportText(report, terminal.out));
}
