/** onnx-prune tune <teacher> <student> <out> [reconstruct]: brings a pruned file nearer to the one it was made from. */
import { ConfigError } from "../errors.js";
import { readModel } from "../export/read.js";
import { tune } from "../pipeline.js";
import { type Command, PROVING, REPORTING } from "./command.js";
import { checkOutputs } from "./outputs.js";
import { readPlan } from "./request.js";
import { produce } from "./result.js";

const MODES = ["reconstruct"];

export const tuneCommand: Command = {
  name: "tune",
  takes: ["<teacher.onnx>", "<student.onnx>", "<out.onnx>", "[reconstruct]"],
  summary: "corrects the weights of a pruned model by its original, from unlabelled samples: closed form, no training",
  flags: ["reconstruct", "plan", "calibrate", "calibrate-samples", "views", ...PROVING, ...REPORTING],
  examples: [
    [
      "onnx-prune tune in.onnx pruned.onnx out.onnx --data images/ --plan plan.json",
      "a file pruned before, with the plan it was pruned by",
    ],
    ["onnx-prune tune in.onnx edited.onnx out.onnx --data images/", "one of the same extents: quantised, merged, edited by hand"],
  ],

  async run(run) {
    const { flags } = run;
    const [teacherFile, studentFile, output, mode = "reconstruct"] = run.positionals as [string, string, string, string?];
    if (!MODES.includes(mode)) {
      throw new ConfigError("TUNE_MODE", `tune knows ${MODES.join(", ")}, but "${mode}" came.`);
    }
    if (flags.data === undefined && flags.calibrate === undefined) {
      throw new ConfigError("RECONSTRUCT_NO_DATA", "Weights are corrected by what samples show, but none came.", {
        hint: "Give --calibrate samples (or --data, of which a part is then set aside); they need no labels.",
      });
    }
    const inputs = [
      { what: "<teacher.onnx>", path: teacherFile },
      { what: "<student.onnx>", path: studentFile },
      { what: "--plan", path: flags.plan },
    ];
    checkOutputs(inputs, output, [{ what: "--json", path: flags.json }]);
    const plan = flags.plan === undefined ? undefined : await readPlan(flags.plan);
    const method = flags.reconstruct === undefined || flags.reconstruct === "none" ? "least-squares" : flags.reconstruct;
    const student = await readModel(studentFile);
    const recovering = { ...run, flags: { ...flags, reconstruct: method } };
    await produce(
      teacherFile,
      output,
      recovering,
      (teacher, options) => tune(teacher, student, { ...options, plan, reconstruct: method }),
      true,
    );
  },
};
