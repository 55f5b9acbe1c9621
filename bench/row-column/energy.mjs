// The problem alone, no graph: every layer's matrix of |w| by itself, rows and columns free, the share of weight that each method loses at
// equal sparsity. L1 is the special case that whole filters are ranked by their sums: rows alone leave.
//
//   npm run build && node bench/row-column/energy.mjs --shared <folder with models/> [--nets resnet20,vgg_slim,resnet56] [--sparsity 0.8,0.9,0.93]
import { join } from "node:path";
import { parseArgs } from "node:util";
import { readModel } from "../../dist/export/read.js";
import { infer } from "../../dist/graph/infer.js";
import { findLayers, matrixOf, weightsOf } from "../../dist/passes/row-column/layers.js";
import { lowerBound } from "../../dist/score/row-column/bound.js";
import { ascending, problemOf, rowSums } from "../../dist/score/row-column/problem.js";
import { METHODS, solve } from "../../dist/score/row-column/solve.js";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    nets: { type: "string", default: "resnet20,vgg_slim" },
    sparsity: { type: "string", default: "0.8,0.9,0.93" },
  },
});
if (!flags.shared) throw new Error("Give --shared, the folder with the models.");

/** What filters by L1 lose: as many of the heaviest as fit. */
function byRows(problem) {
  const sums = rowSums(problem);
  const stay = Math.floor(problem.budget / problem.n);
  const order = ascending(sums);
  return order.slice(0, problem.m - stay).reduce((s, i) => s + sums[i], 0);
}

for (const net of flags.nets.split(",")) {
  const model = await readModel(join(flags.shared, "models", `cifar10_${net}.onnx`));
  const layers = findLayers(model, infer(model), [], () => undefined).filter((l) => l.groups === 1);
  console.log(`\n${net}, ${layers.length} layers: mean share of |w| lost (best of these in how many layers); seconds in all`);
  console.log(
    `| | ${["l1 (rows)", ...METHODS, "f / bound of sa-shape"].join(" | ")} |\n| --- | ${["", ...METHODS, ""].map(() => "---").join(" | ")} |`,
  );
  for (const sparsity of flags.sparsity.split(",").map(Number)) {
    const lost = new Map(["l1", ...METHODS].map((m) => [m, []]));
    const time = new Map();
    const certificates = [];
    for (const layer of layers) {
      const a = matrixOf(layer, 0, weightsOf(layer), { unit: "element", saliency: "abs" });
      const problem = problemOf(a, layer.filters, layer.channels * layer.taps, sparsity);
      const total = a.reduce((s, x) => s + x, 0);
      lost.get("l1").push(byRows(problem) / total);
      for (const method of METHODS) {
        const start = performance.now();
        const { cost } = solve(problem, method, 0);
        time.set(method, (time.get(method) ?? 0) + performance.now() - start);
        lost.get(method).push(cost / total);
        if (method === "sa-shape") certificates.push(cost / lowerBound(problem));
      }
    }
    const mean = (list) => list.reduce((s, x) => s + x, 0) / list.length;
    const best = layers.map((_, i) => Math.min(...[...lost.values()].map((l) => l[i])));
    const cells = [...lost].map(([method, list]) => {
      const wins = list.filter((x, i) => x <= best[i] + 1e-12).length;
      const seconds = time.has(method) ? `; ${(time.get(method) / 1000).toFixed(1)} s` : "";
      return `${mean(list).toFixed(4)} (${wins}${seconds})`;
    });
    console.log(`| ${Math.round(100 * sparsity)} % | ${cells.join(" | ")} | ${mean(certificates).toFixed(3)} |`);
  }
}
