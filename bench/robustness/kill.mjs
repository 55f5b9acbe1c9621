// Kills real runs of the command at random moments: the old output or the new one must be there, whole, with its data.
//
//   npm run build && node bench/robustness/kill.mjs [--rounds 100] [--seed 1]
//
// Every run writes over the output of one before, 16 MB of external data, with another random plan. After each kill the
// output must be one that some complete run gives, and after a last, complete run nothing else may be left in the folder.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { readModel } from "../../dist/export/read.js";
import { writeModel } from "../../dist/export/write.js";
import { Graph, Model, Value } from "../../dist/graph/graph.js";
import { Tensor } from "../../dist/graph/tensor.js";
import { randomOf } from "./mutants.mjs";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "100" }, seed: { type: "string", default: "1" } } });
const random = randomOf(Number(values.seed));
const folder = mkdtempSync(join(tmpdir(), "onnx-prune-kill-"));
const command = fileURLToPath(new URL("../../bin/onnx-prune.js", import.meta.url));
try {
  const input = join(folder, "in.onnx");
  const { files } = await writeModel(input, model(), { external: true });
  const output = join(folder, "out.onnx");
  const args = (seed) => [
    command,
    input,
    output,
    "--pass",
    "random",
    "--ratio",
    "0.5",
    "--no-latency",
    "--ep",
    "cpu",
    "--quiet",
    "--seed",
    String(seed),
  ];
  const whole = new Map();
  let took = 0;
  for (const seed of [0, 1]) {
    const started = performance.now();
    await ended(spawn(process.execPath, args(seed)));
    took = performance.now() - started;
    whole.set(await digest(output), seed);
  }
  const seen = { old: 0, new: 0, litter: 0 };
  for (let round = 0; round < Number(values.rounds); round++) {
    const before = whole.get(await digest(output));
    const child = spawn(process.execPath, args(1 - before));
    // Nearer to the end, where files are written, than to the start.
    setTimeout(() => child.kill("SIGKILL"), took * (0.3 + 0.8 * Math.sqrt(random())));
    await ended(child);
    const after = whole.get(await digest(output));
    if (after === undefined) throw new Error(`round ${round}: the output is none that a complete run gives`);
    seen[after === before ? "old" : "new"]++;
    if (readdirSync(folder).length > files.length + 2) seen.litter++;
  }
  await ended(spawn(process.execPath, args(0)));
  const left = readdirSync(folder).filter((f) => !files.includes(join(folder, f)) && !/^out\.onnx(\.[0-9a-f]{8}\.data)?$/.test(f));
  const data = readdirSync(folder).filter((f) => /^out\.onnx\..*data$/.test(f));
  console.log(
    `${values.rounds} kills: ${seen.old} times the old output, ${seen.new} times the new one, whole each time; ${seen.litter} times more files than these`,
  );
  console.log(`after a last complete run: ${left.length} other files, ${data.length} data file`);
  if (left.length > 0 || data.length !== 1) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function ended(child) {
  return new Promise((done) => child.on("close", done));
}

/** Of all the weights the output has, read anew. */
async function digest(path) {
  const hash = createHash("sha256");
  for (const v of (await readModel(path)).graph.initializers) hash.update(v.name).update(v.initializer.peek());
  return hash.digest("hex");
}

/** Two products with 64 MB of weights. */
function model() {
  const graph = new Graph("kill");
  const made = new Model(graph);
  made.opsets.set("", 17);
  made.irVersion = 8;
  let x = graph.addInput(new Value("x", { kind: "tensor", dtype: "float32", shape: ["N", 2048] }));
  for (const [name, dims] of [
    ["w", [2048, 4096]],
    ["v", [4096, 2048]],
  ]) {
    const w = graph.addInitializer(
      name,
      Tensor.floats(
        dims,
        Float32Array.from({ length: 2 ** 23 }, () => random() - 0.5),
      ),
    );
    x = graph.insertNode("MatMul", [x, w], { outputs: [`${name}.y`] }).outputs[0];
  }
  x.type = { kind: "tensor", dtype: "float32", shape: ["N", 2048] };
  graph.addOutput(x);
  return made;
}
