// Which residual blocks do trained networks have, does each leave as its oracle says, how much does each matter, and what do
// accuracy and speed become when those that matter least leave? Blocks are chosen on training images without labels; accuracy is that
// of the validation split, without any recovery.
//
//   npm run build && node bench/blocks/run.mjs --shared <folder with models/ and data/> [--part blocks|accuracy]
import { join } from "node:path";
import { parseArgs } from "node:util";
import { bypassOrder, measureBypass } from "../../dist/calibrate/bypass.js";
import { modelInputs } from "../../dist/calibrate/model-inputs.js";
import { openSamples } from "../../dist/calibrate/samples.js";
import { readModel } from "../../dist/export/read.js";
import { blockOracle, cost, findBlocks, random, removeBlocks } from "../../dist/graph/index.js";
import { openRunner } from "../../dist/runtime/provider.js";
import { sourceOf } from "../../dist/runtime/source.js";
import { evaluate } from "../../dist/verify/accuracy.js";
import { checkEquality } from "../../dist/verify/equality.js";
import { randomFeeds } from "../../dist/verify/feeds.js";
import { compareLatency } from "../../dist/verify/latency.js";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    part: { type: "string" },
    samples: { type: "string", default: "128" },
  },
});
if (!flags.shared) throw new Error("Give --shared, the folder with the models and data sets.");
const MOST = 9;
const RANDOM_SEEDS = [1, 2];
const METRICS = ["cosine", "kl"];
const runner = await openRunner("cpu", { threads: 1 });
if (flags.part !== "accuracy") await tellBlocks();
if (flags.part !== "blocks") await tellAccuracy();
await runner.close();

/** The blocks of each network, the proof of each, and how much each matters. */
async function tellBlocks() {
  const found = [];
  for (const [name, where] of [
    ["cifar10_resnet56", "data/cifar10/train.bin.gz"],
    ["cifar10_resnet20", "data/cifar10/train.bin.gz"],
    ["mnist_vit_tiny", "data/mnist#train"],
    ["imagenet_mobilenet_v2", "data/imagenet_sample/images"],
  ]) {
    const model = await modelNamed(name);
    const { blocks, declined } = findBlocks(model);
    const feeds = [randomFeeds(model, 1), randomFeeds(model, 2)];
    const { macs } = cost(model);
    let worst = 0;
    for (const chosen of [...blocks.map((b) => [b]), blocks]) {
      const { maxRel } = await checkEquality(runner, {
        what: name,
        reference: blockOracle(model, chosen),
        candidate: removeBlocks(model, chosen),
        feeds,
      });
      worst = Math.max(worst, maxRel);
    }
    const images = await samplesOf(model, name, where, name.startsWith("imagenet") ? 64 : Number(flags.samples));
    const changes = await measureBypass(runner, model, blocks, images, { metric: "kl" });
    found.push({
      model: name,
      macs,
      maxRel: worst,
      blocks: blocks.map((b, k) => ({ name: b.name, macs: macs - cost(removeBlocks(model, [b])).macs, kl: changes[k] })),
      declined,
    });
  }
  console.log(
    "\n| model | blocks | stay | share of MACs | relative error against the oracle, each alone and all |\n| --- | --- | --- | --- | --- |",
  );
  for (const m of found) {
    const share = m.blocks.reduce((n, b) => n + b.macs, 0) / m.macs;
    console.log(`| ${m.model} | ${m.blocks.length} | ${m.declined.length} | ${(100 * share).toFixed(1)} % | ${m.maxRel} |`);
  }
  console.log("\n| model | blocks by the change without them alone (KL in nats), least first |\n| --- | --- |");
  for (const m of found) {
    const sorted = [...m.blocks].sort((a, b) => a.kl - b.kl);
    console.log(`| ${m.model} | ${sorted.map((b) => `${short(b.name)} ${b.kl.toPrecision(2)}`).join(", ")} |`);
  }
}

/** ResNet-56 without the blocks that matter least. */
async function tellAccuracy() {
  const model = await modelNamed("cifar10_resnet56");
  const { blocks } = findBlocks(model);
  const images = await samplesOf(model, "cifar10_resnet56", "data/cifar10/train.bin.gz", Number(flags.samples));
  const held = await samplesOf(model, "cifar10_resnet56", "data/cifar10/val.bin.gz");
  const orders = {};
  for (const metric of METRICS) {
    const changes = await measureBypass(runner, model, blocks, images, { metric });
    orders[metric] = [...blocks.keys()].sort((a, b) => changes[a] - changes[b]).map((k) => blocks[k]);
  }
  orders["kl, measured anew"] = (await bypassOrder(runner, model, blocks, images, { metric: "kl", count: MOST })).map((s) => s.block);
  const chances = RANDOM_SEEDS.map((seed) => shuffled(blocks, random(seed)));

  const reference = await runner.load(sourceOf(model));
  const top1Of = async (session) => percent((await evaluate(session, held, { batch: 100 })).top1);
  // Orders often agree on which blocks the first k are.
  const known = new Map();
  const without = async (chosen) => {
    const key = blocks.map((b) => Number(chosen.includes(b))).join("");
    if (!known.has(key)) {
      const session = await runner.load(sourceOf(removeBlocks(model, chosen)));
      known.set(key, await top1Of(session));
      await session.release();
    }
    return known.get(key);
  };
  const names = Object.keys(orders);
  console.log(`\nTop-1 of ResNet-56 on ${held.count} validation images, in percent; whole: ${await top1Of(reference)}\n`);
  console.log(
    `| blocks out | MACs kept | ${names.join(" | ")} | at random | time kept (95 %) |\n| --- | --- |${" --- |".repeat(names.length + 2)}`,
  );
  const feeds = await held.batch(0, 1);
  for (let k = 1; k <= MOST; k++) {
    const cells = [];
    for (const name of names) cells.push(await without(orders[name].slice(0, k)));
    const chance = [];
    for (const order of k % 3 === 0 ? chances : []) chance.push(await without(order.slice(0, k)));
    const after = removeBlocks(model, orders["kl, measured anew"].slice(0, k));
    const session = await runner.load(sourceOf(after));
    const { ratio } = await compareLatency(reference, session, feeds, { budget: 3000 });
    await session.release();
    const kept = `${ratio.median.toFixed(3)} (${ratio.low.toFixed(3)} – ${ratio.high.toFixed(3)})`;
    console.log(`| ${k} | ${(cost(after).macs / cost(model).macs).toFixed(3)} | ${cells.join(" | ")} | ${chance.join(", ")} | ${kept} |`);
  }
  await reference.release();
}

function modelNamed(name) {
  return readModel(join(flags.shared, "models", `${name}.onnx`));
}

function samplesOf(of, name, where, limit) {
  const preprocess = join(flags.shared, "models", `${name}.json`);
  return openSamples(join(flags.shared, where), { ...modelInputs(of), preprocess, ...(limit ? { limit } : {}) });
}

function percent(x) {
  return (100 * x).toFixed(2);
}

function shuffled(items, uniform) {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

/** "/layer1/layer1.0/Add" as "layer1.0". */
function short(name) {
  return name.replace(/^.*\/([^/]+)\/Add$/, "$1").replace(/^.*\/([^/]+)\/Add_(\d+)$/, "$1.$2");
}
