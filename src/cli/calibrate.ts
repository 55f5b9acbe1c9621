/** onnx-prune calibrate <in.onnx> <stats.npz>: statistics of activations alone, whole or a shard of them. */
import { modelInputs } from "../calibrate/model-inputs.js";
import { openCalibration } from "../calibrate/roles.js";
import type { Samples } from "../calibrate/samples.js";
import { chunksOf } from "../calibrate/statistics/summary.js";
import { ConfigError } from "../errors.js";
import { readModel } from "../export/read.js";
import { CheckpointFile, writeStatisticsFile } from "../export/statistics.js";
import type { Model } from "../graph/graph.js";
import { gather } from "../pipeline.js";
import { type Command, REPORTING, type Run } from "./command.js";
import { writeJson } from "./json.js";
import { checkOutputs } from "./outputs.js";
import { Progress } from "./progress.js";
import { inputShapesOf, passRequests, whereOf } from "./request.js";
import { summaryText } from "./statistics-text.js";

export const calibrateCommand: Command = {
  name: "calibrate",
  takes: ["<in.onnx>", "<stats.npz>"],
  summary: "gathers what passes need to know of activations, to be used by --stats, or merged with other shards first",
  flags: [
    "pass",
    "untie",
    "data",
    "preprocess",
    "calibrate-samples",
    "skip-bad",
    "shard",
    "input-shape",
    "ep",
    "device",
    "threads",
    "batch",
    ...REPORTING,
  ],
  examples: [
    ["onnx-prune calibrate in.onnx stats.npz --pass dominos --pass wmi --data train/", "one run over the data for both"],
    ["onnx-prune calibrate in.onnx part3.npz --pass wmi --data train/ --shard 3/8", "then: onnx-prune merge stats.npz part*.npz"],
    ["onnx-prune in.onnx out.onnx --pass wmi --macs 0.5 --stats stats.npz", "prunes without looking at the data again"],
  ],

  async run(run) {
    const { flags, terminal, signal } = run;
    const [input, output] = run.positionals as [string, string];
    const passes = await passRequests(run, { budget: false });
    if (!flags.data) {
      throw new ConfigError("CALIBRATE_NO_DATA", "Statistics are taken from samples, but no --data came.", {
        hint: "Give training or validation samples, never those that results are reported on.",
      });
    }
    const shard = shardOf(flags.shard);
    checkOutputs([{ what: "<in.onnx>", path: input }], undefined, [
      { what: "<stats.npz>", path: output },
      { what: "--json", path: flags.json },
    ]);
    const progress = new Progress(terminal.err);
    try {
      const model = await readModel(input);
      const inputShapes = inputShapesOf(flags, model);
      const calibration = await calibrationSamples(model, run, inputShapes);
      const checkpoint = new CheckpointFile(output);
      const resume = await checkpoint.read();
      if (resume && !flags.quiet) {
        const { length } = chunksOf(resume);
        terminal.err.write(
          `${checkpoint.path} has ${length} of ${resume.identity.chunks} chunks of an earlier run; what fits is not run again.\n`,
        );
      }
      const summary = await gather(model, passes, {
        calibration,
        signal,
        checkpoint,
        seed: flags.seed ?? 0,
        ...(resume ? { resume } : {}),
        ...(shard ? { shard } : {}),
        ...(flags.untie ? { untie: flags.untie } : {}),
        ...(flags.ep ? { ep: flags.ep } : {}),
        ...(flags.device === undefined ? {} : { device: flags.device }),
        ...(flags.threads ? { threads: flags.threads } : {}),
        ...(run.typed.has("batch") && flags.batch ? { batch: flags.batch } : {}),
        ...(inputShapes ? { inputShapes } : {}),
        ...(flags.quiet ? {} : { onProgress: (event) => progress.show(event) }),
      });
      progress.clear();
      await writeStatisticsFile(output, summary);
      await checkpoint.remove();
      if (flags.json !== undefined)
        await writeJson(flags.json, { format: 1, statistics: output, ...summary.identity, done: chunksOf(summary).length }, terminal.out);
      if (flags.json !== "-") terminal.out.write(summaryText(output, summary, terminal.out));
    } finally {
      progress.clear();
    }
  },
};

/** "3/8": part 3 of 8. */
function shardOf(text: string | undefined): { index: number; of: number } | undefined {
  if (text === undefined) return undefined;
  const [part, of] = text.split("/").map(Number) as [number, number];
  if (part < 1 || part > of) throw new ConfigError("SHARD", `--shard ${text}: there is no part ${part} of ${of}; the first is 1/${of}.`);
  return { index: part - 1, of };
}

/** All samples of --data, or --calibrate-samples of them, balanced where there are labels. */
async function calibrationSamples(
  model: Model,
  { flags, terminal }: Run,
  inputShapes: Record<string, number[]> | undefined,
): Promise<Samples> {
  const { inputs, classes } = modelInputs(model, inputShapes);
  const where = whereOf("data", flags.data, inputs) as string | Record<string, string>;
  return openCalibration(where, {
    inputs,
    ...(classes === undefined ? {} : { classes }),
    preprocess: flags.preprocess,
    calibrateSamples: flags["calibrate-samples"],
    skipBad: flags["skip-bad"],
    seed: flags.seed,
    onNote: flags.quiet ? undefined : (text) => terminal.err.write(`${text}\n`),
  });
}
