// Criteria × recoveries at equal MACs: accuracy on the test split, nothing fine-tuned, no labels in recovery.
//
//   npm run build && node bench/recovery/table.mjs --shared <folder with models/ and data/> --net cifar10_resnet20 --macs 0.606
//       [--ratio 0.5 instead of --macs] [--steps 1] [--passes l1,output-l1,dominos,wmi,obs,similar] [--methods none,mean,…] [--samples 1000] [--split test] [--out results.json]
//
// Resumable: cells in --out are not run again. Calibration samples come from train. `dominos` without its gates: recovery alone is compared.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { findEntry, prune } from "../../dist/index.js";
import { opened } from "./open.mjs";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    net: { type: "string", default: "cifar10_resnet20" },
    macs: { type: "string", default: "0.606" },
    ratio: { type: "string" },
    steps: { type: "string", default: "1" },
    passes: { type: "string", default: "l1,output-l1,dominos,wmi,obs,similar" },
    methods: { type: "string", default: "none,mean,normalise,merge,least-squares,least-squares+normalise,joint" },
    samples: { type: "string", default: "1000" },
    split: { type: "string", default: "test" },
    scope: { type: "string", default: "global" },
    seed: { type: "string", default: "0" },
    out: { type: "string", default: join(import.meta.dirname, "results.json") },
  },
});
const target = flags.ratio === undefined ? { macs: Number(flags.macs) } : { ratio: Number(flags.ratio) };
const OPTIONS = { dominos: { gates: "none" } };

const { model, data, calibration } = await opened(flags);
const cells = existsSync(flags.out) ? JSON.parse(readFileSync(flags.out, "utf8")) : {};
const budget = Object.entries(target)[0].join(" ");
const steps = flags.steps === "1" ? [] : [`${flags.steps} steps`];
const keyOf = (pass, method) => [flags.net, budget, flags.split, flags.samples, flags.seed, flags.scope, ...steps, pass, method].join(" ");
const passes = flags.passes.split(",");
const methods = flags.methods.split(",");
for (const pass of passes) {
  for (const reconstruct of methods) {
    const key = keyOf(pass, reconstruct);
    if (cells[key]) continue;
    const started = process.cpuUsage();
    try {
      const { report } = await prune(model, {
        passes: [{ entry: await findEntry(pass), options: OPTIONS[pass] ?? {} }],
        target,
        steps: Number(flags.steps),
        scope: flags.scope,
        align: 1,
        seed: Number(flags.seed),
        ep: "cpu",
        threads: 2,
        latency: false,
        calibration,
        data,
        reconstruct,
      });
      const { user, system } = process.cpuUsage(started);
      const { accuracy, cost, steps: done } = report;
      const last = done.findLast((s) => s.recovery)?.recovery;
      cells[key] = {
        before: accuracy.before.top1,
        after: accuracy.after.top1,
        macs: cost.after.macs / cost.before.macs,
        // Distance of the held-out outputs, before and after the last recovery.
        ...(last ? { heldOut: [last.before, last.after] } : {}),
        cpuSeconds: Math.round((user + system) / 1e6),
      };
    } catch (error) {
      cells[key] = { error: error.code ?? String(error) };
    }
    writeFileSync(flags.out, `${JSON.stringify(cells, null, 1)}\n`);
    console.error(key, JSON.stringify(cells[key]));
  }
}
const percent = (c) => (c === undefined ? "" : c.error ? c.error : (100 * c.after).toFixed(1));
console.log(`| ${flags.net}, ${budget} | ${methods.join(" | ")} |\n| --- |${methods.map(() => " --- |").join("")}`);
for (const pass of passes) console.log(`| ${pass} | ${methods.map((m) => percent(cells[keyOf(pass, m)])).join(" | ")} |`);
