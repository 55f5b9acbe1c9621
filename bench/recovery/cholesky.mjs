// Cholesky and solves in JavaScript against blocks whose products ONNX Runtime makes (src/recover/large.ts).
//
//   npm run build && node bench/recovery/cholesky.mjs [--sizes 512,1024,2048,4096] [--rows 256] [--plain-up-to 4096] [--threads 2]
//
// One line per size: seconds to factor and to solve for `rows` right sides each way, the largest relative difference, and the peak of memory.
import { parseArgs } from "node:util";
import { openRunner } from "../../dist/index.js";
import { cholesky, solveRows } from "../../dist/recover/cholesky.js";
import { choleskyLarge, solveRowsLarge } from "../../dist/recover/large.js";
import { Products } from "../../dist/recover/products.js";

const { values: flags } = parseArgs({
  options: {
    sizes: { type: "string", default: "512,1024,2048,4096" },
    rows: { type: "string", default: "256" },
    "plain-up-to": { type: "string", default: "4096" },
    threads: { type: "string", default: "2" },
  },
});
const rows = Number(flags.rows);
const runner = await openRunner("cpu", { threads: Number(flags.threads) });
const products = new Products(runner);
let state = 1;
const uniform = () => {
  state = (state * 48271) % 2147483647;
  return state / 2147483647 - 0.5;
};
const seconds = async (run) => {
  const started = performance.now();
  await run();
  return +((performance.now() - started) / 1000).toFixed(2);
};
const apart = (a, b, keep = () => true) => {
  let [difference, largest] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    if (!keep(i)) continue;
    difference = Math.max(difference, Math.abs(a[i] - b[i]));
    largest = Math.max(largest, Math.abs(a[i]));
  }
  return difference / largest;
};
await products.timesTransposed(new Float64Array(4), new Float64Array(4), 2, 2, 2);
for (const n of flags.sizes.split(",").map(Number)) {
  // XᵀX / m + 1e-3 I, X [2n, n]: conditioned like the moments of a layer.
  const x = Float64Array.from({ length: 2 * n * n }, uniform);
  const system = await products.timesTransposed(x, x, n, n, 2 * n);
  for (let i = 0; i < n; i++) system[i * n + i] += (1e-3 * 2 * n) / 12;
  const sides = Float64Array.from({ length: rows * n }, uniform);
  const figures = { n, rows };
  const isPlain = n <= Number(flags["plain-up-to"]);
  const [l, y] = [Float64Array.from(system), Float64Array.from(sides)];
  if (isPlain) {
    figures.plain = [await seconds(() => cholesky(l, n)), await seconds(() => solveRows(l, n, y, rows))];
  }
  figures.blocks = [
    await seconds(() => choleskyLarge(products, system, n)),
    await seconds(() => solveRowsLarge(products, system, n, sides, rows)),
  ];
  if (isPlain) figures.apart = [apart(l, system, (i) => i % n <= Math.floor(i / n)), apart(y, sides)].map((v) => v.toExponential(1));
  figures.peakMiB = Math.round(process.resourceUsage().maxRSS / 1024);
  console.log(JSON.stringify(figures));
}
await products.release();
await runner.close();
