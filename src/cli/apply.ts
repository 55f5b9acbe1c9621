/** onnx-prune apply <in.onnx> <plan.json> <out.onnx>: the deed without the decision. */
import { applyOnly } from "../pipeline.js";
import { type Command, PROVING, REPORTING } from "./command.js";
import { checkOutputs } from "./outputs.js";
import { needsCalibration, readPlan } from "./request.js";
import { produce } from "./result.js";

export const applyCommand: Command = {
  name: "apply",
  takes: ["<in.onnx>", "<plan.json>", "<out.onnx>"],
  summary: "removes what a plan names, without scores",
  flags: ["reconstruct", "calibrate", "calibrate-samples", "views", ...PROVING, ...REPORTING],
  examples: [["onnx-prune apply in.onnx plan.json out.onnx", "what `onnx-prune plan` decided"]],

  async run(run) {
    const [input, planFile, output] = run.positionals as [string, string, string];
    const inputs = [
      { what: "<in.onnx>", path: input },
      { what: "<plan.json>", path: planFile },
    ];
    checkOutputs(inputs, output, [{ what: "--json", path: run.flags.json }]);
    const plan = await readPlan(planFile);
    await produce(input, output, run, (model, options) => applyOnly(model, plan, options), needsCalibration([], run.flags));
  },
};
