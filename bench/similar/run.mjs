// Does the claim of the similar-channel thesis hold (L1 distances in both layers lose least)? Every combination of
// distances, with and without merging, at equal MACs, no recovery, on the held-out test split.
//
//   npm run build && node bench/similar/run.mjs --shared <folder with models/ and data/> [--out results.json]
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openSamples } from "../../dist/calibrate/samples.js";
import { readModel } from "../../dist/export/read.js";
import { findEntry } from "../../dist/passes/registry.js";
import { applyPlan } from "../../dist/passes/remove-filters.js";
import { planOnly } from "../../dist/pipeline.js";
import { openRunner } from "../../dist/runtime/provider.js";
import { sourceOf } from "../../dist/runtime/source.js";
import { evaluate } from "../../dist/verify/accuracy.js";
import { checkEquality } from "../../dist/verify/equality.js";
import { randomFeeds } from "../../dist/verify/feeds.js";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    out: { type: "string", default: "bench/similar/results.json" },
  },
});
if (!flags.shared) throw new Error("Give --shared, the folder with the models and data sets.");

const TARGET = ["l1", "l2", "l2²", "cosine", "linf"];
const NEXT = [...TARGET, "none"];
const runner = await openRunner("cpu", { threads: 2 });
const similar = await findEntry("similar");
const cells = [];
for (const [name, where] of [
  ["mnist_lenet5", "data/mnist#test"],
  ["cifar10_alexnet_slim", "data/cifar10/test.bin.gz"],
]) {
  const file = join(flags.shared, "models", `${name}.onnx`);
  const model = await readModel(file);
  const inputs = model.graph.inputs.filter((v) => v.constant === undefined).map((v) => ({ name: v.name, dtype: v.dtype, shape: v.shape }));
  const data = await openSamples(join(flags.shared, where), { inputs, preprocess: file.replace(/\.onnx$/, ".json") });
  const feeds = [randomFeeds(model, 1)];
  const accuracyOf = async (m) => {
    const session = await runner.load(sourceOf(m));
    const { top1 } = await evaluate(session, data, { batch: 100 });
    await session.release();
    return top1;
  };
  const before = await accuracyOf(model);
  const variants = [];
  for (const merge of [true, false]) {
    for (const target of TARGET) for (const next of NEXT) variants.push({ rule: "pair-distance", target, next, merge });
    variants.push({ rule: "srinivas-babu", merge });
  }
  for (const macs of [0.75, 0.5]) {
    for (const options of variants) {
      const { plan, budget } = await planOnly(
        model,
        { entry: similar, options },
        { passes: [], target: { macs }, scope: "local", align: 1 },
      );
      const removal = applyPlan(model, plan);
      const { maxRel } = await checkEquality(runner, { what: "similar", reference: removal.oracle(), candidate: removal.result, feeds });
      const after = await accuracyOf(removal.result);
      cells.push({ model: name, macs, reached: budget.reached, ...options, before, after, maxRel });
      console.log(
        `${name} ${macs} ${options.rule} ${options.target ?? ""}+${options.next ?? ""} ${options.merge ? "merged" : "plain"}: ${(100 * after).toFixed(2)} (${maxRel.toExponential(1)})`,
      );
    }
  }
}
await runner.close();
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
writeFileSync(flags.out, `${JSON.stringify({ commit, scope: "local", align: 1, cells }, undefined, 1)}\n`);

for (const name of new Set(cells.map((c) => c.model))) {
  for (const macs of [0.75, 0.5]) {
    for (const merge of [true, false]) {
      const mine = cells.filter((c) => c.model === name && c.macs === macs && c.merge === merge);
      console.log(
        `\n${name}, ${macs} of the MACs, ${merge ? "with" : "without"} merging (before: ${(100 * mine[0].before).toFixed(2)}); rows: target layer, columns: next layer`,
      );
      console.log(`| | ${NEXT.join(" | ")} |\n| --- | ${NEXT.map(() => "---").join(" | ")} |`);
      for (const target of TARGET)
        console.log(
          `| ${target} | ${NEXT.map((next) => (100 * mine.find((c) => c.target === target && c.next === next).after).toFixed(1)).join(" | ")} |`,
        );
      console.log(`srinivas-babu: ${(100 * mine.find((c) => c.rule === "srinivas-babu").after).toFixed(1)}`);
      const ranked = [...mine].sort((a, b) => b.after - a.after);
      const at = ranked.findIndex((c) => c.target === "l1" && c.next === "l1") + 1;
      console.log(
        `l1+l1 ranks ${at} of ${ranked.length}; best: ${ranked[0].rule === "srinivas-babu" ? "srinivas-babu" : `${ranked[0].target}+${ranked[0].next}`} ${(100 * ranked[0].after).toFixed(2)}`,
      );
    }
  }
}
