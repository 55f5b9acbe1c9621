// Accuracy of CIFAR-10 networks pruned by one criterion, without and with each recovery, at equal MACs.
//
//   npm run build && node bench/recovery/run.mjs --shared <folder with models/ and data/> --net cifar10_resnet56 --pass similar --macs 0.5
//       [--samples 2000] [--split val] [--methods none,mean,normalise,merge,least-squares] [--scope global] [--align 1] [--seed 0]
//
// Calibration samples come from train, without labels for recovery; choices are made on val, test is for reporting.
import { join } from "node:path";
import { parseArgs } from "node:util";
import { modelInputs, openSamples, prune, readModel } from "../../dist/index.js";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    net: { type: "string", default: "cifar10_resnet56" },
    pass: { type: "string", default: "similar" },
    macs: { type: "string", default: "0.5" },
    samples: { type: "string", default: "2000" },
    split: { type: "string", default: "val" },
    methods: { type: "string", default: "none,mean,normalise,merge,least-squares" },
    scope: { type: "string", default: "global" },
    align: { type: "string", default: "1" },
    seed: { type: "string", default: "0" },
  },
});
if (!flags.shared) throw new Error("Give --shared, the folder with the models and data sets.");
const file = join(flags.shared, "models", `${flags.net}.onnx`);
const model = await readModel(file);
const open = (where, more = {}) =>
  openSamples(join(flags.shared, where), { ...modelInputs(model), preprocess: file.replace(/\.onnx$/, ".json"), ...more });
const data = await open(`data/cifar10/${flags.split}.bin.gz`);
const calibration = await open("data/cifar10/train.bin.gz", { limit: Number(flags.samples), balanced: true, seed: Number(flags.seed) });
for (const reconstruct of flags.methods.split(",")) {
  const { report } = await prune(model, {
    passes: [flags.pass],
    target: { macs: Number(flags.macs) },
    scope: flags.scope,
    align: flags.align === "auto" ? "auto" : Number(flags.align),
    seed: Number(flags.seed),
    ep: "cpu",
    threads: 2,
    latency: false,
    calibration,
    data,
    reconstruct,
  });
  const { accuracy, cost, steps } = report;
  const recovery = steps.find((s) => s.recovery);
  const figures = {
    reconstruct,
    macs: +(cost.before.macs / cost.after.macs).toFixed(3),
    top1: [accuracy.before.top1, accuracy.after.top1],
    heldOut: recovery && [recovery.recovery.before, recovery.recovery.after],
    seconds: recovery && recovery.milliseconds / 1000,
  };
  console.log(JSON.stringify(figures));
}
