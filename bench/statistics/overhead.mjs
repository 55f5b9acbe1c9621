// What gathering statistics costs: CPU time of an instrumented run against bare inference, per batch, in turns.
//
//   npm run build && node bench/statistics/overhead.mjs [--nets 18,50] [--batch 8] [--threads 1] [--rounds 15]
//
// Taps: what each convolution's output becomes (after Relu, or after Add and Relu), so every convolution is seen. CPU time is
// the process's, all threads, the float64 sums in JavaScript included; a round runs each variant once, in turning order.
import { execFileSync } from "node:child_process";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { accumulatorOf } from "../../dist/calibrate/statistics/accumulators.js";
import { instrument, tapped } from "../../dist/calibrate/statistics/instrument.js";
import { infer } from "../../dist/graph/infer.js";
import { normal, random } from "../../dist/graph/random.js";
import { Tensor } from "../../dist/graph/tensor.js";
import { openNodeRunner } from "../../dist/runtime/node.js";
import { sourceOf } from "../../dist/runtime/source.js";
import { resnet } from "../nets/resnet.mjs";

const { values: flags } = parseArgs({
  options: {
    nets: { type: "string", default: "18,50" },
    batch: { type: "string", default: "8" },
    threads: { type: "string", default: "1" },
    rounds: { type: "string", default: "15" },
  },
});
const batch = Number(flags.batch);
const uniform = random(1);
const image = Tensor.floats(
  [batch, 3, 224, 224],
  Float32Array.from({ length: batch * 3 * 224 * 224 }, () => normal(uniform)),
);

const KINDS = {
  mean: [{ kind: "moments", variable: "gap", byClass: false }],
  "mean + second moment": [{ kind: "moments", variable: "pixels", byClass: false }],
  Gram: [{ kind: "gram" }],
  "Gram, pooled to 7 × 7": [{ kind: "gram", pool: 7 }],
  "mean |x|": [{ kind: "absolute" }],
  "share active": [{ kind: "active" }],
};

const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
console.log(`${commit}, batch ${batch}, ${flags.threads} thread(s), ${cpus()[0].model}`);
for (const depth of flags.nets.split(",").map(Number)) {
  const model = resnet(depth);
  const types = infer(model);
  const values = [...new Set(model.graph.nodes.filter((n) => n.opType === "Conv").map((n) => seen(n.outputs[0])))];
  const runner = await openNodeRunner({ threads: Number(flags.threads) });
  const bare = await runner.load(sourceOf(model));
  const variants = [{ name: "bare", run: () => bare.run({ input: image }) }];
  for (const [name, kinds] of Object.entries(KINDS)) {
    const taps = values.map((value) => {
      const tap = tapped(model, types, { value: value.name, axis: 1 }, "N");
      const frame = { channels: tap.channels, classes: 0, tap, nonNegative: true };
      const made = kinds.map((k) => accumulatorOf({ ...k, value: value.name, axis: 1 }, frame));
      return { tap, made, sums: made.map((m) => m.zero()), reductions: made.flatMap((m) => m.reductions) };
    });
    const { model: copy, outputs } = instrument(model, taps);
    const session = await runner.load(sourceOf(copy));
    const run = async () => {
      const out = await session.run({ input: image });
      taps.forEach(({ tap, made, sums }, t) => {
        const raw = (r) => out[outputs[t].get(r)];
        const positions = tap.extents[2] * tap.extents[3];
        const view = { first: 0, n: batch, labels: undefined, positions, raw, row: (r) => Float64Array.from(raw(r).numbers()) };
        made.forEach((m, i) => {
          m.add(sums[i], view);
        });
      });
    };
    variants.push({ name, run });
  }
  for (const v of variants) for (let i = 0; i < 2; i++) await v.run();
  const times = variants.map(() => []);
  for (let round = 0; round < Number(flags.rounds); round++) {
    const order = [...variants.keys()];
    if (round % 2 === 1) order.reverse();
    for (const i of order) {
      const start = process.cpuUsage();
      await variants[i].run();
      const { user, system } = process.cpuUsage(start);
      times[i][round] = (user + system) / 1000;
    }
  }
  await runner.close();
  const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
  console.log(`\nResNet-${depth}: ${values.length} taps, bare ${(median(times[0]) / batch).toFixed(1)} ms of CPU per image\n`);
  console.log("| statistic | CPU time / bare inference (median of rounds) | least – greatest |");
  console.log("| --- | --- | --- |");
  variants.forEach(({ name }, i) => {
    if (i === 0) return;
    const ratios = times[i].map((t, r) => t / times[0][r]);
    console.log(`| ${name} | ${median(ratios).toFixed(3)} | ${Math.min(...ratios).toFixed(2)} – ${Math.max(...ratios).toFixed(2)} |`);
  });
}

/** A convolution's output as the next one reads it. */
function seen(value) {
  const [use] = value.uses();
  return value.useCount === 1 && ["Relu", "Add"].includes(use.node.opType) ? seen(use.node.outputs[0]) : value;
}
