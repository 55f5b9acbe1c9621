// What a channel costs: time of four 3×3 convolutions with Relu, width C → C, against C = 64, one thread, ONNX Runtime on CPU.
// Each width is timed in turns with the reference, so that a busy machine slows both alike.
//
//   npm run build && node bench/widths/run.mjs [--side 28] [--widths 4,8,12,...]
import { parseArgs } from "node:util";
import { int, ints } from "../../dist/graph/attribute.js";
import { Graph, Model, Value } from "../../dist/graph/graph.js";
import { random } from "../../dist/graph/random.js";
import { Tensor } from "../../dist/graph/tensor.js";
import { openRunner } from "../../dist/runtime/provider.js";
import { sourceOf } from "../../dist/runtime/source.js";
import { randomFeeds } from "../../dist/verify/feeds.js";
import { compareLatency } from "../../dist/verify/latency.js";

const { values: flags } = parseArgs({
  options: {
    side: { type: "string", default: "28" },
    widths: { type: "string", default: "2,4,6,8,10,12,13,14,15,16,17,18,20,24,28,31,32,40,48,52,56,60,62,63,64" },
    reference: { type: "string", default: "64" },
  },
});
const side = Number(flags.side);
const runner = await openRunner("cpu", { threads: 1 });
const feeds = randomFeeds(chain(4), 1);
const reference = await runner.load(sourceOf(chain(Number(flags.reference))));
console.log(`| C | time against C = ${flags.reference} | 95 % | MACs against it |\n| --- | --- | --- | --- |`);
for (const width of flags.widths.split(",").map(Number)) {
  const session = await runner.load(sourceOf(chain(width)));
  const { ratio } = await compareLatency(reference, session, feeds, { budget: 1500 });
  console.log(
    `| ${width} | ${ratio.median.toFixed(2)} | ${ratio.low.toFixed(2)} – ${ratio.high.toFixed(2)} | ${((width / Number(flags.reference)) ** 2).toFixed(2)} |`,
  );
  await session.release();
}
await runner.close();

/** Conv 3 → C, then four Conv C → C, all 3×3 with Relu, and a mean over space so that little leaves the graph. */
function chain(C) {
  const graph = new Graph("chain");
  const model = new Model(graph);
  model.opsets.set("", 13);
  model.irVersion = 7;
  const uniform = random(`widths/${C}`);
  const floats = (name, dims) =>
    graph.addInitializer(
      name,
      Tensor.floats(
        dims,
        Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => uniform() - 0.5),
      ),
    );
  let x = graph.addInput(new Value("x", { kind: "tensor", dtype: "float32", shape: [1, 3, side, side] }));
  for (let k = 0; k < 5; k++) {
    const from = k === 0 ? 3 : C;
    const y = graph.insertNode("Conv", [x, floats(`w${k}`, [C, from, 3, 3]), floats(`b${k}`, [C])], {
      outputs: [`c${k}`],
      attributes: { pads: ints([1, 1, 1, 1]), group: int(1) },
    }).outputs[0];
    x = graph.insertNode("Relu", [y], { outputs: [`r${k}`] }).outputs[0];
  }
  const y = graph.insertNode("GlobalAveragePool", [x], { outputs: ["y"] }).outputs[0];
  y.type = { kind: "tensor", dtype: "float32", shape: [1, C, 1, 1] };
  graph.addOutput(y);
  return model;
}
