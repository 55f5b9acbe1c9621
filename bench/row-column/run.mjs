// Row-and-column pruning: what each method loses (energy f, per layer and in all) and what accuracy is left, without recovery and with it, at
// equal sparsity, on the held-out test split; beside it whole filters by L1 at equal parameters.
//
//   npm run build && node bench/row-column/run.mjs --shared <folder with models/ and data/> [--nets resnet20,vgg_slim]
//       [--sparsity 0.8,0.9,0.93,0.1] [--variants im,sr] [--reconstruct none,least-squares] [--samples 256] [--limit 1000] [--out results.json]
//
// Every cell is a pruning run with its full proof. A run that was stopped goes on with the cells that --out lacks.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { modelInputs } from "../../dist/calibrate/model-inputs.js";
import { openSamples } from "../../dist/calibrate/samples.js";
import { readModel } from "../../dist/export/read.js";
import { findEntry } from "../../dist/passes/registry.js";
import { prune } from "../../dist/pipeline.js";
import { openRunner } from "../../dist/runtime/provider.js";
import { sourceOf } from "../../dist/runtime/source.js";
import { evaluate } from "../../dist/verify/accuracy.js";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    nets: { type: "string", default: "resnet20,vgg_slim" },
    sparsity: { type: "string", default: "0.8,0.9,0.93,0.1" },
    variants: { type: "string" },
    reconstruct: { type: "string", default: "none" },
    samples: { type: "string", default: "256" },
    limit: { type: "string", default: "1000" },
    out: { type: "string", default: "bench/row-column/results.json" },
  },
});
if (!flags.shared) throw new Error("Give --shared, the folder with the models and data sets.");

/** Name → options of row-column; l1 stands for the criterion. */
const VARIANTS = {
  im: { method: "im" },
  sr: { method: "sr" },
  "sa-fixed": { method: "sa-fixed" },
  "sa-shape": { method: "sa-shape" },
  "sr, data": { method: "sr", saliency: "data" },
  "sr, data, global": { method: "sr", saliency: "data", scope: "global" },
  "sr, channel": { method: "sr", unit: "channel" },
  // No layer becomes several convolutions, which recovery leaves as they are.
  "sr, lowered": { method: "sr", form: "lowered" },
  "sa-shape, lowered": { method: "sa-shape", form: "lowered" },
  l1: undefined,
};

const rowColumn = await findEntry("row-column");
const l1 = await findEntry("l1");
const runner = await openRunner("cpu", { threads: 2 });
const cells = existsSync(flags.out) ? JSON.parse(readFileSync(flags.out, "utf8")).cells : [];
const keyOf = (c) => `${c.net} ${c.variant} ${c.sparsity} ${c.reconstruct ?? "none"}`;
const done = new Set(cells.map(keyOf));
/** Names hold commas. */
const chosen = flags.variants ? Object.keys(VARIANTS).filter((v) => flags.variants.split(/,(?! )/).includes(v)) : Object.keys(VARIANTS);
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();

/** Distance of the held-out outputs from the original's, and which layers were not corrected. */
function recoveryOf(report) {
  const { recovery } = report.steps.find((s) => s.recovery) ?? {};
  if (!recovery) return {};
  const layers = recovery.steps.flatMap((s) => s.layers);
  const { fitted, heldOut, metric, before, after, left } = recovery;
  return {
    recovery: {
      fitted,
      heldOut,
      metric,
      before,
      after,
      refitted: layers.filter((l) => l.changed).length,
      of: layers.length,
      left: left.length,
    },
  };
}

for (const net of flags.nets.split(",")) {
  const file = join(flags.shared, "models", `cifar10_${net}.onnx`);
  const model = await readModel(file);
  const open = (at, more) =>
    openSamples(join(flags.shared, at), { ...modelInputs(model), preprocess: file.replace(/\.onnx$/, ".json"), ...more });
  const test = await open("data/cifar10/test.bin.gz", { limit: Number(flags.limit) });
  const calibration = await open("data/cifar10/train.bin.gz", { limit: Number(flags.samples), balanced: true, seed: 0 });
  const accuracyOf = async (m) => {
    const session = await runner.load(sourceOf(m));
    try {
      return (await evaluate(session, test, { batch: 50 })).top1;
    } finally {
      await session.release();
    }
  };
  const before = await accuracyOf(model);
  for (const sparsity of flags.sparsity.split(",").map(Number)) {
    for (const [variant, reconstruct] of chosen.flatMap((v) => flags.reconstruct.split(",").map((r) => [v, r]))) {
      if (done.has(keyOf({ net, variant, sparsity, reconstruct }))) continue;
      const options = VARIANTS[variant];
      const quick = { ep: "cpu", threads: 2, latency: false, align: 1, calibration, reconstruct };
      const start = performance.now();
      const { model: small, report } = options
        ? await prune(model, { ...quick, passes: [{ entry: rowColumn, options: { ...options, sparsity } }] })
        : await prune(model, { ...quick, passes: [{ entry: l1, options: {} }], target: { params: 1 - sparsity } });
      const seconds = (performance.now() - start) / 1000;
      const layers = report.steps[0].figures ?? [];
      const mean = (key) => (layers.length > 0 ? layers.reduce((s, l) => s + l[key], 0) / layers.length : undefined);
      const { before: whole, after } = report.cost;
      cells.push({
        net,
        variant,
        sparsity,
        reconstruct,
        commit,
        lost: mean("f / T"),
        certificate: mean("f / bound"),
        parameters: after.parameters / whole.parameters,
        macs: after.macs / whole.macs,
        bytes: after.bytes / whole.bytes,
        maxRel: Math.max(...report.equality.map((e) => e.maxRel)),
        before,
        top1: await accuracyOf(small),
        seconds,
        ...recoveryOf(report),
        layers: layers.map((l) => ({ layer: l.layer, left: l.left, lost: l["f / T"], certificate: l["f / bound"], form: l.form })),
      });
      writeFileSync(flags.out, `${JSON.stringify({ commit, limit: Number(flags.limit), cells }, undefined, 1)}\n`);
      const c = cells.at(-1);
      console.log(
        `${net} ${sparsity} ${variant} (${reconstruct}): lost ${c.lost?.toFixed(4) ?? "–"} (≤ ${c.certificate?.toFixed(3) ?? "–"} × bound), parameters ${c.parameters.toFixed(3)}, top-1 ${(100 * c.top1).toFixed(2)} of ${(100 * before).toFixed(2)}, ${seconds.toFixed(1)} s, maxRel ${c.maxRel.toExponential(1)}`,
      );
    }
  }
}
await runner.close();

for (const net of flags.nets.split(",")) {
  const mine = cells.filter((c) => c.net === net);
  const levels = [...new Set(mine.map((c) => c.sparsity))].sort((a, b) => a - b);
  console.log(`\n${net} (${(100 * mine[0].before).toFixed(2)} % before): share of |w| lost, mean over layers; top-1 in %`);
  console.log(`| | ${levels.map((s) => `${Math.round(100 * s)} %`).join(" | ")} |\n| --- | ${levels.map(() => "---").join(" | ")} |`);
  for (const [variant, reconstruct] of Object.keys(VARIANTS).flatMap((v) => flags.reconstruct.split(",").map((r) => [v, r]))) {
    const row = levels.map((s) => mine.find((c) => keyOf(c) === keyOf({ net, variant, sparsity: s, reconstruct })));
    if (row.every((c) => !c)) continue;
    console.log(
      `| ${variant}, ${reconstruct} | ${row.map((c) => (c ? `${c.lost?.toFixed(4) ?? "–"}; ${(100 * c.top1).toFixed(1)}` : "")).join(" | ")} |`,
    );
  }
}
