// Time and memory of refitting one wide layer by rows (src/recover/rows.ts), as classifiers after flattening have them.
//
//   npm run build && node bench/recovery/wide.mjs [--inputs 9216] [--outputs 4096] [--samples 1000] [--threads 2]
//
// What the layer reads lies near 200 directions, as activations do; the target is another layer's output. Prints one line: seconds, the
// layer's held-out error before and after, MiB of its weights in the file, and the peak of memory, base included.
import { parseArgs } from "node:util";
import { infer } from "../../dist/graph/infer.js";
import { parse } from "../../dist/graph/parse.js";
import { Tensor } from "../../dist/graph/tensor.js";
import { openRunner } from "../../dist/index.js";
import { Products } from "../../dist/recover/products.js";
import { refitByRows } from "../../dist/recover/rows.js";
import { layersOf } from "../../dist/score/layers.js";

const { values: flags } = parseArgs({
  options: {
    inputs: { type: "string", default: "9216" },
    outputs: { type: "string", default: "4096" },
    samples: { type: "string", default: "1000" },
    threads: { type: "string", default: "2" },
  },
});
const [K, O, N] = [flags.inputs, flags.outputs, flags.samples].map(Number);
const DIRECTIONS = 200;
const SIZE = 40;
let state = 1;
const uniform = () => {
  state = (state * 48271) % 2147483647;
  return state / 2147483647 - 0.5;
};
const numbers = (n) => Float32Array.from({ length: n }, uniform);
const model = parse(
  `<ir_version: 8, opset_import: ["" : 13]> g (float[N, ${K}] x) => (float[N, ${O}] y) <float[2, 2] w = {1, 2, 3, 4}, float[${O}] b = {...}> { y = Gemm (x, w, b) }`,
);
model.graph.setConstant(
  model.graph.value("w"),
  Tensor.floats(
    [K, O],
    numbers(K * O).map((w) => w / Math.sqrt(K)),
  ),
);
const [layer] = layersOf(model, infer(model)).layers;
const runner = await openRunner("cpu", { threads: Number(flags.threads) });
const products = new Products(runner);
const [mix, teach] = [numbers(DIRECTIONS * K), numbers(DIRECTIONS * O)];
const product = (a, b, n) => {
  const out = new Float32Array(SIZE * n);
  for (let r = 0; r < SIZE; r++)
    for (let d = 0; d < DIRECTIONS; d++) for (let k = 0; k < n; k++) out[r * n + k] += a[r * DIRECTIONS + d] * b[d * n + k];
  return out;
};
const count = Math.floor(N / SIZE);
const held = (b) => b % 5 === 2;
const batches = {
  count,
  size: () => SIZE,
  isHeldOut: held,
  fitting: SIZE * Array.from({ length: count }, (_, b) => b).filter((b) => !held(b)).length,
};
const read = async () => {
  const z = numbers(SIZE * DIRECTIONS);
  const x = product(z, mix, K).map((v) => Math.max(0, v));
  return { x: Tensor.floats([SIZE, K], x), target: Tensor.floats([SIZE, O], product(z, teach, O)), other: undefined };
};
const started = performance.now();
const { before, after } = await refitByRows(products, layer, undefined, read, batches, [1, 0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-5, 1e-10]);
const seconds = (performance.now() - started) / 1000;
const figures = {
  inputs: K,
  outputs: O,
  samples: count * SIZE,
  seconds: +seconds.toFixed(1),
  before: +before.toFixed(3),
  after: +after.toFixed(4),
  weightMiB: Math.round((4 * K * O) / 2 ** 20),
  peakMiB: Math.round(process.resourceUsage().maxRSS / 1024),
};
console.log(JSON.stringify(figures));
await products.release();
await runner.close();
