/** onnx-prune apply <in.onnx> <plan.json> <out.onnx>: the deed without the decision. */
import { readModel } from "../export/read.js";
import { applyOnly } from "../pipeline.js";
import { type Command, PROVING, REPORTING } from "./command.js";
import { checkOutputs } from "./outputs.js";
import { Progress } from "./progress.js";
import { readPlan, runOptions } from "./request.js";
import { writeRefusal, writeResult } from "./result.js";

export const applyCommand: Command = {
  name: "apply",
  takes: ["<in.onnx>", "<plan.json>", "<out.onnx>"],
  summary: "removes what a plan names, without scores",
  flags: [...PROVING, ...REPORTING],
  examples: [["onnx-prune apply in.onnx plan.json out.onnx", "what `onnx-prune plan` decided"]],

  async run(run) {
    const [input, planFile, output] = run.positionals as [string, string, string];
    const inputs = [
      { what: "<in.onnx>", path: input },
      { what: "<plan.json>", path: planFile },
    ];
    checkOutputs(inputs, output, [{ what: "--json", path: run.flags.json }]);
    const plan = await readPlan(planFile);
    const progress = new Progress(run.terminal.err);
    try {
      const model = await readModel(input);
      const result = await applyOnly(model, plan, await runOptions(model, run, progress));
      progress.clear();
      await writeResult(result, input, output, run);
    } catch (error) {
      progress.clear();
      await writeRefusal(error, input, run);
      throw error;
    } finally {
      progress.clear();
    }
  },
};
