// Second stage of dominos: what gates do for a pruned net at equal total MACs, the gates' own counted.
//
//   npm run build && node bench/gates/run.mjs --shared <folder with models/ and data/> [--nets resnet56,vgg_slim] [--macs 0.75,0.5]
//       [--gates none,static,diagonal,se,auto] [--reconstruct none|least-squares|joint] [--split val|test] [--samples 512] [--seeds 1]
//       [--limit 1000] [--out results.json]
//
// Every cell has its proof, and is what `--pass dominos={"gates": …}` makes: removal, with --reconstruct recovery, and gates last. Statistics,
// recovery and gates see the same samples of the training split, class-balanced, without labels. Held-out loss is the mean over the maps
// with gates of the squared distance to the unpruned layers' results, as a share of these.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { modelInputs } from "../../dist/calibrate/model-inputs.js";
import { openSamples } from "../../dist/calibrate/samples.js";
import { readModel } from "../../dist/export/read.js";
import { gatesStep } from "../../dist/gates/step.js";
import { findEntry } from "../../dist/passes/registry.js";
import { applyPlan } from "../../dist/passes/remove-filters.js";
import { gather, prune } from "../../dist/pipeline.js";
import { prove } from "../../dist/verify/prove.js";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    nets: { type: "string", default: "resnet56,vgg_slim" },
    macs: { type: "string", default: "0.75,0.5" },
    gates: { type: "string", default: "none,static,diagonal,se,auto" },
    reconstruct: { type: "string", default: "none" },
    limit: { type: "string" },
    split: { type: "string", default: "val" },
    samples: { type: "string", default: "512" },
    seeds: { type: "string", default: "1" },
    options: { type: "string", default: "{}" },
    out: { type: "string", default: "bench/gates/results.json" },
  },
});
if (!flags.shared) throw new Error("Give --shared, the folder with the models and data sets.");

const entry = await findEntry("dominos");
const more = JSON.parse(flags.options);
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
const cells = existsSync(flags.out) ? JSON.parse(readFileSync(flags.out, "utf8")).cells : [];
const keyOf = (c) => JSON.stringify([c.net, c.keep, c.gates, c.seed, c.split, c.options, c.reconstruct ?? "none"]);
const done = new Set(cells.map(keyOf));

for (const net of flags.nets.split(",")) {
  const file = join(flags.shared, "models", `cifar10_${net}.onnx`);
  const model = await readModel(file);
  const open = (at, given) =>
    openSamples(join(flags.shared, at), { ...modelInputs(model), preprocess: file.replace(/\.onnx$/, ".json"), ...given });
  const data = await open(`data/cifar10/${flags.split}.bin.gz`, flags.limit ? { limit: Number(flags.limit) } : {});
  for (let seed = 0; seed < Number(flags.seeds); seed++) {
    const calibration = await open("data/cifar10/train.bin.gz", { limit: Number(flags.samples), balanced: true, seed });
    const statistics = await gather(model, [{ entry, options: more }], { ep: "cpu", threads: 2, calibration });
    for (const keep of flags.macs.split(",").map(Number)) {
      const options = { ep: "cpu", threads: 2, latency: false, align: 1, seed, calibration, data, batch: 50 };
      /** The model without its channels, recovered; made once, since gates come after. */
      let bare;
      const run = async (gates) => {
        bare ??= await prune(model, {
          ...options,
          passes: [{ entry, options: { ...more, gates: "none" } }],
          target: { macs: keep },
          reconstruct: flags.reconstruct,
          statistics,
        });
        if (gates === "none") return bare.report;
        const { model: student, plans, report } = bare;
        const started = performance.now();
        const request = { pass: "dominos", kinds: gates, removal: applyPlan(model, plans[0]), student, original: model };
        const { model: after, report: step, claims } = await gatesStep({ ...request, budget: report.steps[0].budget }, options);
        const steps = [...report.steps, { ...step, milliseconds: Math.round(performance.now() - started) }];
        const proven = await prove({ before: model, after, steps, plans, claims }, options);
        return { ...proven, equality: [...report.equality, ...proven.equality] };
      };
      for (const gates of flags.gates.split(",")) {
        const cell = { net, keep, gates, seed, split: flags.split, options: flags.options, reconstruct: flags.reconstruct };
        if (done.has(keyOf(cell))) continue;
        const report = await run(gates);
        const { cost, accuracy, steps } = report;
        const gating = steps.find((s) => s.pass.endsWith("(gates)"));
        const { recovery, milliseconds = 0 } = steps.find((s) => s.recovery) ?? {};
        cell.images = accuracy.before.samples;
        cell.multiplications = { before: cost.before.macs, after: cost.after.macs };
        cell.macs = cost.after.macs / cost.before.macs;
        cell.parameters = cost.after.parameters / cost.before.parameters;
        cell.before = accuracy.before.top1;
        cell.after = accuracy.after.top1;
        cell.maxRel = Math.max(...report.equality.map((q) => q.maxRel));
        const fitted = gating?.gates ?? [];
        cell.kinds = Object.fromEntries(["static", "diagonal", "se"].map((k) => [k, fitted.filter((g) => g.kinds.includes(k)).length]));
        const mean = (key) => fitted.reduce((sum, g) => sum + g.heldOut[key], 0) / fitted.length;
        if (fitted.length > 0) cell.loss = { before: mean("before"), after: mean("after") };
        cell.dropped = (gating?.notes ?? []).filter((n) => n.code === "GATE_DROPPED").length;
        cell.undone = (gating?.notes ?? []).some((n) => n.code === "GATES_DROPPED");
        cell.added = fitted.reduce((sum, g) => sum + g.macs, 0);
        if (gating?.outputs) cell.outputs = gating.outputs;
        cell.seconds = (gating?.milliseconds ?? 0) / 1000;
        if (recovery) cell.recovery = { before: recovery.before, after: recovery.after, seconds: milliseconds / 1000 };
        cells.push(cell);
        writeFileSync(flags.out, `${JSON.stringify({ commit, cells }, undefined, 1)}\n`);
        console.log(JSON.stringify(cell));
      }
    }
  }
}

const pc = (x) => (100 * x).toFixed(2);
console.log(
  "\n| net | MACs asked | gates | total MACs | total parameters | maps with static / diagonal / SE | held-out loss | held-out distance of outputs | top-1 | time of fits |",
);
console.log("| - | - | - | - | - | - | - | - | - | - |");
for (const c of cells.filter((x) => x.split === flags.split)) {
  const loss = c.loss ? `${c.loss.before.toFixed(3)} → ${c.loss.after.toFixed(3)}` : "–";
  const outputs = c.outputs ? `${c.outputs.before.toFixed(4)} → ${c.outputs.after.toFixed(4)}` : "–";
  const kinds = c.gates === "none" ? "–" : Object.values(c.kinds).join(" / ");
  console.log(
    `| ${c.net} | ${c.keep} | ${c.gates} | ${pc(c.macs)} % | ${pc(c.parameters)} % | ${kinds} | ${loss} | ${outputs} | ${pc(c.before)} → ${pc(c.after)} | ${c.seconds.toFixed(0)} s |`,
  );
}
