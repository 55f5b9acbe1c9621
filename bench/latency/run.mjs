// What a MACs budget buys in time, with widths aligned (the default) and free: both graphs timed in turns, one thread, batch 2.
//
//   npm run build && node bench/latency/run.mjs --shared <folder with models/> [--only <text>]
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { readModel } from "../../dist/export/read.js";
import { prune } from "../../dist/pipeline.js";

const { values: flags } = parseArgs({
  options: { shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED }, only: { type: "string", default: "" } },
});
if (!flags.shared) throw new Error("Give --shared, the folder with the models.");

const names = [
  "cifar10_resnet56",
  "cifar10_vgg_slim",
  "cifar10_simplenet_slim",
  "imagenet_mobilenet_v2",
  "imagenet_squeezenet1_1",
  "mnist_vit_tiny",
];
console.log(`commit ${execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim()}, --pass l2, one thread, batch 2`);
console.log("| model | MACs kept | speed-up, widths aligned | speed-up, any width (`--align 1`) |\n| --- | --- | --- | --- |");
for (const name of names.filter((n) => n.includes(flags.only))) {
  for (const macs of name.includes("vit") ? [0.75] : [0.75, 0.5]) {
    const cells = [];
    for (const align of ["auto", 1]) {
      const model = await readModel(join(flags.shared, "models", `${name}.onnx`));
      const { report } = await prune(model, { passes: ["l2"], target: { macs }, align, ep: "cpu", threads: 1 });
      const { median, low, high } = report.latency.speedup;
      cells.push(`${median.toFixed(2)}× [${low.toFixed(2)}, ${high.toFixed(2)}]`);
    }
    console.log(`| ${name} | ${macs} | ${cells.join(" | ")} |`);
  }
}
