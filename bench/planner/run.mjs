// Accuracy at equal MACs with widths by one threshold over scores (global) and by measured sensitivity, with and without recovery.
//
//   npm run build && node bench/planner/run.mjs --shared <folder with models/ and data/> --nets cifar10_resnet20 --out results.json
//       [--passes l1,output-l1,obs] [--macs 0.5] [--reconstruct none,least-squares] [--samples 1000] [--split val] [--variants global,…]
//
// Variants: `global`; `sensitivity` (blocks and channels, corrected as recovery will correct); `sensitivity:key=value,…` with options of
// SensitivityOptions (samples, correct, shape, blocks, levels as 0.25/0.5/0.75). Calibration samples come from train, without labels for recovery and
// sensitivity; choices are made on val, test is for reporting. Resumable: cells in --out are not run again; `--table` prints them.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { encode, joinChunks, modelInputs, openRunner, openSamples, prune, readModel } from "../../dist/index.js";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    nets: { type: "string", default: "cifar10_resnet20" },
    passes: { type: "string", default: "l1,output-l1,obs" },
    macs: { type: "string", default: "0.5" },
    reconstruct: { type: "string", default: "none,least-squares" },
    variants: { type: "string", default: "global,sensitivity" },
    samples: { type: "string", default: "1000" },
    split: { type: "string", default: "val" },
    seed: { type: "string", default: "0" },
    align: { type: "string", default: "1" },
    out: { type: "string" },
    table: { type: "boolean", default: false },
  },
});
const cells = flags.out && existsSync(flags.out) ? JSON.parse(readFileSync(flags.out, "utf8")) : [];
if (flags.table) table();
else await measure();

async function measure() {
  if (!flags.shared) throw new Error("Give --shared, the folder with the models and data sets.");
  for (const net of flags.nets.split(",")) {
    const file = join(flags.shared, "models", `${net}.onnx`);
    const model = await readModel(file);
    const open = (where, more = {}) =>
      openSamples(join(flags.shared, where), { ...modelInputs(model), preprocess: file.replace(/\.onnx$/, ".json"), ...more });
    const data = await open(`data/cifar10/${flags.split}.bin.gz`);
    const whole = { net, split: flags.split, whole: true };
    if (!cells.some((c) => c.whole && c.net === net && c.split === flags.split)) cells.push({ ...whole, after: await top1(model, data) });
    const calibration = await open("data/cifar10/train.bin.gz", { limit: Number(flags.samples), balanced: true, seed: Number(flags.seed) });
    for (const macs of flags.macs.split(",").map(Number))
      for (const reconstruct of flags.reconstruct.split(","))
        for (const pass of flags.passes.split(","))
          for (const variant of flags.variants.split(";").flatMap((v) => (v.includes(":") ? v : v.split(",")))) {
            const about = {
              net,
              split: flags.split,
              macs,
              reconstruct,
              pass,
              variant,
              samples: Number(flags.samples),
              align: flags.align,
              seed: Number(flags.seed),
            };
            const known = (c) => Object.entries(about).every(([k, v]) => c[k] === v);
            if (cells.some(known)) continue;
            const cell = { ...about, ...(await run(model, data, calibration, about)) };
            cells.push(cell);
            console.log(JSON.stringify(cell));
            if (flags.out) writeFileSync(flags.out, `${JSON.stringify(cells, undefined, 1)}\n`);
          }
  }
}

async function run(model, data, calibration, { macs, reconstruct, pass, variant, align, seed }) {
  const [scope, text] = variant.split(":");
  const sensitivity = Object.fromEntries(
    (text ?? "")
      .split(",")
      .filter(Boolean)
      .map((pair) => {
        const [key, value] = pair.split("=");
        return [key, key === "levels" ? value.split("/").map(Number) : key === "correct" || key === "shape" ? value : JSON.parse(value)];
      }),
  );
  const started = performance.now();
  let measured = 0;
  let from;
  try {
    const {
      model: pruned,
      plans,
      report,
    } = await prune(model, {
      passes: [pass],
      target: { macs },
      scope,
      sensitivity,
      align: align === "auto" ? "auto" : Number(align),
      seed,
      ep: "cpu",
      threads: 2,
      latency: false,
      calibration,
      // How widths are divided is what is asked here; that removal is right bench/accuracy proves cell by cell.
      check: "none",
      reconstruct,
      onProgress: ({ phase }) => {
        if (phase !== "sensitivity") return;
        from ??= performance.now();
        measured = performance.now() - from;
      },
    });
    const { cost, steps } = report;
    return {
      kept: +(cost.after.macs / cost.before.macs).toFixed(4),
      after: await top1(pruned, data),
      blocks: plans[0].blocks,
      widths: steps[0].groups.map((g) => `${g.kept}/${g.of}`).join(" "),
      seconds: { all: Math.round((performance.now() - started) / 1000), sensitivity: Math.round(measured / 1000) },
    };
  } catch (error) {
    return { error: `${error.code}: ${error.message}`, stack: error.code ? undefined : error.stack };
  }
}

async function top1(model, data) {
  const runner = await openRunner("cpu", { threads: 2 });
  try {
    const session = await runner.load({ bytes: joinChunks(encode(model)) });
    let right = 0;
    for (let from = 0; from < data.count; from += 100) {
      const to = Math.min(data.count, from + 100);
      const [scores] = Object.values(await session.run(await data.batch(from, to)));
      const numbers = scores.numbers();
      const classes = numbers.length / (to - from);
      for (let i = 0; i < to - from; i++) {
        let best = 0;
        for (let c = 1; c < classes; c++) if (numbers[i * classes + c] > numbers[i * classes + best]) best = c;
        if (best === data.labels[from + i]) right++;
      }
    }
    return right / data.count;
  } finally {
    await runner.close();
  }
}

/** One row per net, budget, recovery and criterion; one column per variant. */
function table() {
  const pruned = cells.filter((c) => !c.whole);
  const variants = [...new Set(pruned.map((c) => c.variant))];
  const rows = new Map();
  for (const c of pruned) {
    const key = [c.net, c.split, c.macs, c.reconstruct, c.pass].join(" | ");
    rows.set(key, { ...rows.get(key), [c.variant]: c });
  }
  for (const { net, split, after } of cells.filter((c) => c.whole)) console.log(`${net} unpruned on ${split}: ${(100 * after).toFixed(2)}`);
  console.log(`| net | split | MACs kept | recovery | criterion | ${variants.join(" | ")} | blocks that left |`);
  console.log(`| ${["---", "---", "---", "---", "---", ...variants.map(() => "---"), "---"].join(" | ")} |`);
  for (const [key, of] of rows) {
    const figures = variants.map((v) => (of[v] ? (of[v].error ? "–" : (100 * of[v].after).toFixed(2)) : ""));
    const blocks = variants.map((v) => of[v]?.blocks?.length ?? "–").join(" / ");
    console.log(`| ${key} | ${figures.join(" | ")} | ${blocks} |`);
  }
}
