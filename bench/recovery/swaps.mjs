// obs with and without exchanges (option `swaps`), at equal MACs and widths: the loss that obs reckons with, and the outputs after recovery.
//
//   npm run build && node bench/recovery/swaps.mjs --shared <folder with models/ and data/> --nets cifar10_resnet20=0.606,cifar10_vgg_slim=0.463
//       [--swaps 0,8] [--seeds 0] [--samples 2000] [--split val] [--dist ../../dist] [--out swaps.json]
//
// Resumable: cells in --out are not run again. Seeds choose the calibration samples, which come from train; statistics are gathered once for both.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    nets: { type: "string", default: "cifar10_resnet20=0.606" },
    swaps: { type: "string", default: "0,8" },
    seeds: { type: "string", default: "0" },
    samples: { type: "string", default: "2000" },
    split: { type: "string", default: "val" },
    dist: { type: "string", default: join(import.meta.dirname, "../../dist") },
    out: { type: "string", default: join(import.meta.dirname, "swaps.json") },
  },
});
const { findEntry, gather, prune } = await import(join(flags.dist, "index.js"));
const { openNodeRunner } = await import(join(flags.dist, "runtime/node.js"));
const { measureVariants } = await import(join(flags.dist, "calibrate/variants.js"));
const { opened } = await import("./open.mjs");

const cells = existsSync(flags.out) ? JSON.parse(readFileSync(flags.out, "utf8")) : {};
const entry = await findEntry("obs");
const quick = { ep: "cpu", threads: 2, align: 1, latency: false };
for (const seed of flags.seeds.split(",").map(Number)) {
  for (const [net, macs] of flags.nets.split(",").map((n) => n.split("="))) {
    const keys = flags.swaps
      .split(",")
      .map((swaps) => [`${net} macs ${macs} ${flags.split} ${flags.samples} seed ${seed} swaps ${swaps}`, swaps]);
    if (keys.every(([key]) => cells[key])) continue;
    const { model, data, calibration } = await opened({ ...flags, net, seed });
    const statistics = await gather(model, [{ entry, options: {} }], { ...quick, seed, calibration });
    for (const [key, swaps] of keys) {
      if (cells[key]) continue;
      const passes = [{ entry, options: { swaps: Number(swaps) } }];
      const target = { macs: Number(macs) };
      const made = await prune(model, { ...quick, passes, target, seed, calibration, statistics, data, reconstruct: "least-squares" });
      const { accuracy, cost, steps } = made.report;
      const runner = await openNodeRunner({ threads: 2 });
      const [kl] = await measureVariants(runner, model, [() => made.model], data, { metric: "kl", samples: data.count, batch: 100 });
      await runner.close();
      const { after } = steps.findLast((s) => s.recovery).recovery;
      cells[key] = {
        exchanges: made.plans[0].why.exchanges,
        macs: cost.after.macs / cost.before.macs,
        top1: [accuracy.before.top1, accuracy.after.top1],
        // Of the samples that report, and of those that recovery held out.
        kl,
        heldOut: after,
      };
      writeFileSync(flags.out, `${JSON.stringify(cells, null, 1)}\n`);
      console.error(key, JSON.stringify(cells[key]));
    }
  }
}
