/** onnx-prune <in.onnx> <out.onnx> --pass …: the main job. */
import { ConfigError } from "../errors.js";
import { type PassRequest, prune } from "../pipeline.js";
import { CALIBRATING, type Command, DECIDING, PROVING, REPORTING } from "./command.js";
import { checkOutputs } from "./outputs.js";
import { needsCalibration, passRequests } from "./request.js";
import { produce } from "./result.js";

export const pruneCommand: Command = {
  name: "",
  takes: ["<in.onnx>", "<out.onnx>"],
  summary: "makes an ONNX file smaller and faster, and proves that the result is right",
  flags: [...DECIDING, "steps", "reconstruct", ...CALIBRATING, ...PROVING, "plan-out", ...REPORTING],
  examples: [
    ["onnx-prune in.onnx out.onnx --pass similar --macs 0.7", "no data needed"],
    ["onnx-prune in.onnx out.onnx --pass l1 --macs 0.5 --data val/ --max-drop 1", "written only if accuracy holds"],
    [
      "onnx-prune in.onnx out.onnx --pass similar --macs 0.5 --reconstruct least-squares --data images/",
      "refits what stays, no labels needed",
    ],
    ["onnx-prune in.onnx out.onnx --pass fold-batch-norm --pass remove-identity", "clean up only"],
  ],

  async run(run) {
    const { flags } = run;
    const [input, output] = run.positionals as [string, string];
    const passes = await passRequests(run);
    const plansOf = ({ entry }: PassRequest) =>
      entry.kind === "criterion" ? (flags.steps ?? 1) : entry.pass.name === "remove-filters" ? 1 : 0;
    const plans = passes.reduce((n, p) => n + plansOf(p), 0);
    if (flags["plan-out"] !== undefined && plans !== 1) {
      throw new ConfigError(
        "PLAN_OUT_COUNT",
        `--plan-out writes one plan, but these passes make ${plans}${(flags.steps ?? 1) > 1 ? ", one in each step" : ""}.`,
        {
          hint: "--json holds all plans of a run.",
        },
      );
    }
    checkOutputs([{ what: "<in.onnx>", path: input }], output, [
      { what: "--plan-out", path: flags["plan-out"] },
      { what: "--json", path: flags.json },
    ]);
    await produce(input, output, run, (model, options) => prune(model, { ...options, passes }), needsCalibration(passes, flags));
  },
};
