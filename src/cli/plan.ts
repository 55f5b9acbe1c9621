/** onnx-prune plan <in.onnx> <plan.json>: the decision without the deed. */
import { ConfigError } from "../errors.js";
import { readModel } from "../export/read.js";
import { type PassRequest, planOnly } from "../pipeline.js";
import { printPlan } from "../score/plan.js";
import { cacheFolder } from "./cache.js";
import { CALIBRATING, type Command, DECIDING, REPORTING } from "./command.js";
import { writeText } from "./files.js";
import { writeJson } from "./json.js";
import { checkOutputs } from "./outputs.js";
import { notesText } from "./report-text.js";
import { inputShapesOf, needsCalibration, passRequests, rolesOf, statisticsOf, targetOf } from "./request.js";
import { shortened, table, whole } from "./table.js";

export const planCommand: Command = {
  name: "plan",
  takes: ["<in.onnx>", "<plan.json>"],
  summary: "decides what to remove, and writes that down",
  flags: [
    ...DECIDING,
    "reconstruct",
    ...CALIBRATING,
    "data",
    "preprocess",
    "limit",
    "skip-bad",
    "input-shape",
    "ep",
    "threads",
    ...REPORTING,
  ],
  examples: [["onnx-prune plan in.onnx plan.json --pass l1 --macs 0.5", "then: onnx-prune apply in.onnx plan.json out.onnx"]],

  async run(run) {
    const {
      flags,
      signal,
      terminal: { out },
    } = run;
    const [input, output] = run.positionals as [string, string];
    const passes = await passRequests(run);
    if (passes.length > 1) {
      throw new ConfigError("PLAN_ONE_PASS", `A plan comes from one criterion, but ${passes.length} passes came.`, {
        hint: "Run cleaning passes first, as a step of its own: onnx-prune in.onnx clean.onnx --pass …",
      });
    }
    checkOutputs([{ what: "<in.onnx>", path: input }], undefined, [
      { what: "<plan.json>", path: output },
      { what: "--json", path: flags.json },
    ]);
    const model = await readModel(input);
    const inputShapes = inputShapesOf(flags, model);
    // Nothing is measured here, but a --data that is divided must be divided as a pruning run would.
    const { calibration } = needsCalibration(passes, flags) ? await rolesOf(model, run, inputShapes, true) : {};
    const statistics = await statisticsOf(flags);
    const { plan, coupling, declined, budget, notes } = await planOnly(model, passes[0] as PassRequest, {
      passes,
      calibration,
      statistics,
      target: targetOf(flags),
      signal,
      latencyCache: cacheFolder(),
      seed: flags.seed ?? 0,
      ...(flags.scope ? { scope: flags.scope } : {}),
      ...(flags.align ? { align: flags.align } : {}),
      ...(flags.untie ? { untie: flags.untie } : {}),
      ...(flags.exclude ? { exclude: flags.exclude } : {}),
      ...(flags.reconstruct ? { reconstruct: flags.reconstruct } : {}),
      ...(inputShapes ? { inputShapes } : {}),
      ...(flags.ep ? { ep: flags.ep } : {}),
      ...(flags.threads ? { threads: flags.threads } : {}),
    });
    await writeText(output, printPlan(plan));
    const groups = coupling.groups.map((g) => ({
      name: g.name,
      of: g.choices.length,
      kept: g.choices.length - (plan.remove[g.name]?.length ?? 0),
    }));
    if (flags.json !== undefined) {
      await writeJson(
        flags.json,
        {
          format: 1,
          plan: output,
          budget,
          groups,
          blocks: plan.blocks,
          merges: plan.merges.length,
          declined: declined.map((d) => ({ group: d.group.name, why: d.why })),
          notes,
        },
        out,
      );
      if (flags.json === "-") return;
    }
    out.write(`${out.style("bold", `${input} → ${output}`)}\n`);
    out.write(
      table(
        [{ title: "group" }, { title: "channels", align: "right" }, { title: "kept", align: "right" }],
        groups.map((g) => [shortened(g.name, 60), whole(g.of), whole(g.kept)]),
      ),
    );
    const reached = budget ? `  ${budget.measure}: asked ${budget.asked}, reached ${budget.reached.toFixed(4)}` : "  no budget";
    const merged = plan.merges.length > 0 ? `; ${plan.merges.length} channels are merged into others first` : "";
    const bypassed = plan.blocks.length > 0 ? `; bypassed blocks: ${plan.blocks.join(", ")}` : "";
    out.write(`${reached}${bypassed}${merged}\n`);
    out.write(notesText([...notes, ...declined.map((d) => ({ code: "DECLINED", about: d.group.name, why: d.why }))], out));
  },
};
