// What constant maps for padded borders give beyond plain biases, and what they cost (src/recover/borders.ts).
//
//   npm run build && node bench/recovery/borders.mjs --shared <folder with models/ and data/> --net cifar10_resnet20 --pass l1 --macs 0.8
//       [--samples 1000] [--split val] [--method mean]
//
// One line: held-out distance before, after the plain correction and after maps (each, whether it is kept), layers that got one, accuracy on
// the split with and without the maps, bytes of the file and time of one run (CPU time, medians, in turns, one thread) with and without.
import { parseArgs } from "node:util";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { cloneModel } from "../../dist/graph/clone.js";
import { encode, joinChunks } from "../../dist/graph/codec.js";
import { removeDeadFrom } from "../../dist/graph/dead.js";
import { prune } from "../../dist/index.js";
import { opened } from "./open.mjs";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    net: { type: "string", default: "cifar10_resnet20" },
    pass: { type: "string", default: "l1" },
    macs: { type: "string", default: "0.8" },
    samples: { type: "string", default: "1000" },
    split: { type: "string", default: "val" },
    method: { type: "string", default: "mean" },
  },
});
const { model, data, calibration } = await opened(flags);
const { report, model: mapped } = await prune(model, {
  passes: [flags.pass],
  target: { macs: Number(flags.macs) },
  scope: "global",
  align: 1,
  ep: "cpu",
  threads: 1,
  latency: false,
  calibration,
  reconstruct: flags.method,
});
const plain = cloneModel(mapped);
const maps = plain.graph.nodes.filter(
  (n) => n.opType === "Add" && n.outputs[0] && n.inputs[0].name.startsWith(`${n.outputs[0].name}_inside`),
);
for (const add of maps) {
  plain.graph.bypass(add.outputs[0], add.inputs[0]);
  plain.graph.removeNode(add);
}
removeDeadFrom(plain.graph);
const files = [plain, mapped].map((m) => joinChunks(encode(m)));
const sessions = [];
for (const bytes of files) {
  sessions.push(await InferenceSession.create(bytes, { intraOpNumThreads: 1, extra: { session: { intra_op: { allow_spinning: "0" } } } }));
}
const top1 = async (session) => {
  let right = 0;
  for (let from = 0; from < data.count; from += 100) {
    const to = Math.min(data.count, from + 100);
    const [[name, x]] = Object.entries(await data.batch(from, to));
    const y = Object.values(await session.run({ [name]: new Tensor("float32", x.numbers(), x.dims) }))[0];
    const labels = data.labels.slice(from, to);
    const width = y.data.length / (to - from);
    for (let i = 0; i < to - from; i++) {
      const row = y.data.subarray(i * width, (i + 1) * width);
      if (row.indexOf(Math.max(...row)) === Number(labels[i])) right++;
    }
  }
  return right / data.count;
};
const [[name, one]] = Object.entries(await data.batch(0, 16));
const feeds = { [name]: new Tensor("float32", one.numbers(), one.dims) };
const times = [[], []];
for (let i = 0; i < 200; i++) {
  for (const [s, session] of sessions.entries()) {
    const from = process.cpuUsage();
    await session.run(feeds);
    const { user, system } = process.cpuUsage(from);
    times[s].push((user + system) / 1000 / 16);
  }
}
const median = (t) => +t.sort((a, b) => a - b)[t.length >> 1].toFixed(4);
const { recovery } = report.steps.find((s) => s.recovery);
console.log(
  JSON.stringify({
    net: flags.net,
    pass: flags.pass,
    macs: flags.macs,
    distance: [recovery.before, ...recovery.steps.map((s) => s.after)].map((d) => +d.toFixed(4)),
    kept: recovery.steps.map((s) => s.kept),
    maps: maps.length,
    top1: [await top1(sessions[0]), await top1(sessions[1])],
    bytes: files.map((f) => f.length),
    millisecondsPerImage: times.map(median),
  }),
);
