// How much of a cut in multiply-accumulates is time: speed-up ÷ MAC reduction at half the MACs, both graphs timed in turns, one thread.
//
//   npm run build && node bench/latency/efficiency.mjs --shared <folder with models/> [--only <text>] [--pass l1] [--batch 1] [--seconds 30] [--out results.json]
//
// Each row is written to --out as soon as it is there; rows that are there are not measured again. --layers prints the times of the kinds of
// nodes in both graphs, by ONNX Runtime's profile.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { readModel } from "../../dist/export/read.js";
import { cost } from "../../dist/graph/cost.js";
import { infer } from "../../dist/graph/infer.js";
import { findEntry } from "../../dist/passes/registry.js";
import { prune } from "../../dist/pipeline.js";
import { openRunner } from "../../dist/runtime/provider.js";
import { sourceOf } from "../../dist/runtime/source.js";
import { randomFeeds } from "../../dist/verify/feeds.js";
import { compareLatency } from "../../dist/verify/latency.js";
import { resnet } from "../nets/resnet.mjs";
import { vgg16 } from "../nets/vgg.mjs";
import { kindsOf } from "./profile.mjs";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    only: { type: "string", default: "" },
    how: { type: "string", default: "" },
    pass: { type: "string", default: "l1" },
    batch: { type: "string", default: "1" },
    seconds: { type: "string", default: "30" },
    threads: { type: "string", default: "1" },
    cache: { type: "string" },
    out: { type: "string" },
    layers: { type: "boolean", default: false },
  },
});
if (!flags.shared) throw new Error("Give --shared, the folder with the models.");
const file = (name) => () => readModel(join(flags.shared, "models", `${name}.onnx`));
const nets = {
  "ResNet-50": () => resnet(50),
  "VGG-16": () => vgg16(),
  imagenet_mobilenet_v2: file("imagenet_mobilenet_v2"),
  cifar10_vgg_slim: file("cifar10_vgg_slim"),
};
const ways = {
  "--macs 0.5": { target: { macs: 0.5 } },
  "--macs 0.5 --scope local": { target: { macs: 0.5 }, scope: "local" },
  "--latency 0.5": { target: { latency: 0.5 } },
};
const [threads, batch] = [Number(flags.threads), Number(flags.batch)];
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
const rows = flags.out && existsSync(flags.out) ? JSON.parse(readFileSync(flags.out, "utf8")) : [];

for (const [net, make] of Object.entries(nets).filter(([n]) => n.includes(flags.only))) {
  for (const [how, asked] of Object.entries(ways).filter(([w]) => w.includes(flags.how))) {
    if (rows.some((r) => r.net === net && r.how === how && (r.pass ?? "l1") === flags.pass && r.batch === batch && r.threads === threads))
      continue;
    const model = await make();
    const shapes = Object.fromEntries(
      model.graph.inputs.filter((v) => v.shape && !v.constant).map((v) => [v.name, [batch, ...v.shape.slice(1)]]),
    );
    const started = performance.now();
    let pruned;
    try {
      pruned = await prune(model, {
        // What a net computes is no part of its time: weights alone decide.
        passes: [flags.pass === "low-rank" ? { entry: await findEntry("low-rank"), options: { saliency: "weights" } } : flags.pass],
        ...asked,
        ep: "cpu",
        threads,
        inputShapes: shapes,
        latency: false,
        latencyCache: flags.cache,
      });
    } catch (error) {
      console.log(`${net} ${how}: ${error.code} ${error.message}`);
      continue;
    }
    const seconds = (performance.now() - started) / 1000;
    const macs = (m) => cost(m, infer(m, { bind: shapes })).macs;
    const reduction = macs(model) / macs(pruned.model);
    const feeds = randomFeeds(model, 1, shapes);
    const runner = await openRunner("cpu", { threads });
    const [a, b] = [await runner.load(sourceOf(model)), await runner.load(sourceOf(pruned.model))];
    const { ratio, reference, candidate, rounds } = await compareLatency(a, b, feeds, { budget: 1000 * Number(flags.seconds) });
    await a.release();
    await b.release();
    const of = (x) => Number((1 / x / reduction).toFixed(3));
    const row = {
      net,
      how,
      ...(flags.pass === "l1" ? {} : { pass: flags.pass }),
      batch,
      threads,
      commit,
      reduction: Number(reduction.toFixed(3)),
      speedup: [ratio.median, ratio.high, ratio.low].map((x) => Number((1 / x).toFixed(3))),
      efficiency: [of(ratio.median), of(ratio.high), of(ratio.low)],
      milliseconds: [reference.median, candidate.median].map((x) => Number(x.toFixed(2))),
      rounds,
      seconds: Math.round(seconds),
      notes: pruned.report.steps.flatMap((s) => s.notes.filter((n) => n.about === "latency").map((n) => n.why)),
      kinds: { before: await kindsOf(runner, model, feeds), after: await kindsOf(runner, pruned.model, feeds) },
    };
    await runner.close();
    rows.push(row);
    if (flags.out) writeFileSync(flags.out, `${JSON.stringify(rows, undefined, 1)}\n`);
    print(row);
  }
}
print();

function print(row) {
  const range = ([m, low, high]) => `${m.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`;
  if (row) {
    console.log(
      `${row.net} ${row.how}: MACs ÷ ${row.reduction}, speed-up ${range(row.speedup)}, efficiency ${range(row.efficiency)}, ${row.seconds} s`,
    );
    if (flags.layers)
      console.table(
        Object.fromEntries(Object.keys(row.kinds.before).map((k) => [k, { before: row.kinds.before[k], after: row.kinds.after[k] }])),
      );
    return;
  }
  console.log(
    "| net | budget | MACs before ÷ after | speed-up [95 %] | speed-up ÷ MAC reduction [95 %] | batch, threads | commit |\n| --- | --- | --- | --- | --- | --- | --- |",
  );
  for (const r of rows)
    console.log(
      `| ${r.net} | \`${r.pass ? `--pass ${r.pass} ` : ""}${r.how}\` | ${r.reduction.toFixed(2)} | ${range(r.speedup)} | **${range(r.efficiency)}** | ${r.batch}, ${r.threads} | ${r.commit} |`,
    );
}
