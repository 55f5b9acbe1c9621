// Accuracy at equal time: each pass with the same --latency, weights corrected, top-1 on the test split. Wants a quiet machine.
//
//   npm run build && node bench/latency/equal-time.mjs --shared <folder with models/ and data/> [--nets cifar10_resnet56,…] [--passes low-rank,obs]
//       [--keep 0.6] [--threads 1] [--method least-squares] [--samples 1000] [--out results.json]
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { prune } from "../../dist/index.js";
import { opened } from "../recovery/open.mjs";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    nets: { type: "string", default: "cifar10_vgg_slim,cifar10_simplenet_slim,cifar10_resnet20,cifar10_resnet56" },
    passes: { type: "string", default: "low-rank,obs" },
    keep: { type: "string", default: "0.6" },
    threads: { type: "string", default: "1" },
    method: { type: "string", default: "least-squares" },
    samples: { type: "string", default: "1000" },
    seed: { type: "string", default: "0" },
    split: { type: "string", default: "test" },
    out: { type: "string" },
  },
});
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
const pc = (x) => (100 * x).toFixed(1);
const rows = [];
for (const net of flags.nets.split(",")) {
  const { model, data, calibration } = await opened({ ...flags, net });
  for (const pass of flags.passes.split(",")) {
    const common = { net, pass, keep: Number(flags.keep), threads: Number(flags.threads), method: flags.method, commit };
    try {
      const { report } = await prune(model, {
        passes: [pass],
        target: { latency: Number(flags.keep) },
        seed: Number(flags.seed),
        ep: "cpu",
        threads: Number(flags.threads),
        calibration,
        data,
        reconstruct: flags.method,
      });
      const { accuracy, cost, latency } = report;
      const { median, low, high } = latency.speedup;
      rows.push({
        ...common,
        time: [1 / median, 1 / high, 1 / low],
        macs: cost.after.macs / cost.before.macs,
        top1: [accuracy.before.top1, accuracy.after.top1],
      });
    } catch (error) {
      rows.push({ ...common, error: `${error.code} ${error.message}` });
    }
    if (flags.out) writeFileSync(flags.out, `${JSON.stringify(rows, undefined, 1)}\n`);
    console.log(JSON.stringify(rows.at(-1)));
  }
}
console.log("| net | pass | time kept, measured on the file [95 %] | MACs kept | top-1 before → after |\n| --- | --- | --- | --- | --- |");
for (const { net, pass, time, macs, top1, error } of rows) {
  console.log(
    error
      ? `| ${net} | ${pass} | ${error} | | |`
      : `| ${net} | ${pass} | ${time[0].toFixed(2)} [${time[1].toFixed(2)}, ${time[2].toFixed(2)}] | ${macs.toFixed(2)} | ${pc(top1[0])} → ${pc(top1[1])} |`,
  );
}
