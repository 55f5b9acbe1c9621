// Gate insertion alone: outputs of each net with gates as inserted against those without, bit for bit, at every optimisation level.
//
//   npm run build && node bench/gates/identity.mjs <model.onnx> …
import { basename } from "node:path";
import { readModel } from "../../dist/export/read.js";
import { cost } from "../../dist/graph/cost.js";
import { foldGates } from "../../dist/passes/fold-gates.js";
import { insertGates } from "../../dist/passes/insert-gates.js";
import { prepare } from "../../dist/passes/prepare.js";
import { runPass } from "../../dist/passes/run-pass.js";
import { openRunner } from "../../dist/runtime/provider.js";
import { sourceOf } from "../../dist/runtime/source.js";
import { randomFeeds } from "../../dist/verify/feeds.js";

const LEVELS = ["disabled", "basic", "extended", "all"];
const runner = await openRunner("cpu", { threads: 1 });

/** Outputs at each level. */
async function outputsOf(model, feeds) {
  const found = [];
  for (const optimization of LEVELS) {
    const session = await runner.load(sourceOf(model), { optimization });
    found.push(await session.run(feeds));
    await session.release();
  }
  return found;
}

const isSame = (a, b) => Object.keys(a).every((k) => Buffer.compare(Buffer.from(a[k].bytes), Buffer.from(b[k].bytes)) === 0);
const parted = (a, b) => LEVELS.filter((_, k) => !isSame(a[k], b[k]));

console.log(
  "| net | where | gates | places without | parameters | MACs | other bits at | folded away, other bits at |\n| - | - | - | - | - | - | - | - |",
);
for (const file of process.argv.slice(2)) {
  const { model } = prepare(await readModel(file), "none");
  const feeds = randomFeeds(model, 3);
  const want = await outputsOf(model, feeds);
  const before = cost(model);
  for (const where of ["inner", "all"]) {
    const { model: gated, changed, notes } = runPass(insertGates, model, { where });
    const after = cost(gated);
    const gates = gated.graph.nodes.filter((n) => n.name.endsWith("_gated")).length;
    const level = changed ? parted(await outputsOf(gated, feeds), want) : [];
    const { model: folded } = runPass(foldGates, gated);
    const again = changed ? parted(await outputsOf(folded, feeds), want) : [];
    const more = (key) => `+${(100 * (after[key] / before[key] - 1)).toFixed(2)} %`;
    console.log(
      `| ${basename(file, ".onnx")} | ${where} | ${gates} | ${notes.length} | ${more("parameters")} | ${more("macs")} | ${level.join(" ") || "none"} | ${again.join(" ") || "none"} |`,
    );
  }
}
await runner.close();
