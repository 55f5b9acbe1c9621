// Peak memory and time of the command on a model whose weights (4 GiB by default) lie in external data.
//
//   npm run build && node bench/scale/external.mjs [--folder dir] [--gib 4] [--only inspect,random,l1]
//
// The model is a residual stack of feed-forward blocks, x + W2·relu(W1·x + b1) with W1 [4096, 16384] and W2 [16384, 4096]:
// 256 MiB per matrix, two per block. Its hidden widths are one group per block, its residual width is one group that every
// W2 makes. Weights are random. Peaks are those of the whole process with its threads (VmHWM of /proc/<pid>/status, so Linux
// only); the largest anonymous and file-backed parts seen are given too, which need not be of the same moment.
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeModel } from "../../dist/export/write.js";
import { Graph, Model, Value } from "../../dist/graph/graph.js";
import { Tensor } from "../../dist/graph/tensor.js";

const WIDTH = 4096;
const HIDDEN = 4 * WIDTH;
const { values } = parseArgs({
  options: {
    folder: { type: "string", default: tmpdir() },
    gib: { type: "string", default: "4" },
    only: { type: "string", default: "inspect,random,l1" },
    inline: { type: "boolean", default: false },
  },
});
const command = fileURLToPath(new URL("../../bin/onnx-prune.js", import.meta.url));
const folder = mkdtempSync(join(values.folder, "onnx-prune-scale-"));
process.on("SIGINT", () => process.exit(130));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

const input = join(folder, "in.onnx");
const output = join(folder, "out.onnx");
const size = await makeModel(input, Math.max(1, Math.round(Number(values.gib) * 2)));
console.log(`model of ${(size / 2 ** 30).toFixed(2)} GiB, weights ${values.inline ? "inside" : "in external data"}`);
const runs = {
  inspect: ["inspect", input],
  random: [input, output, "--pass", "random", "--ratio", "0.5", "--quiet"],
  l1: [input, output, "--pass", "l1", "--ratio", "0.5", "--quiet"],
};
for (const name of values.only.split(",")) {
  for (const f of readdirSync(folder)) if (f.startsWith("out.onnx")) rmSync(join(folder, f));
  const run = await measured(runs[name]);
  const mib = (kib) => `${(kib / 1024).toFixed(0)} MiB`;
  console.log(
    `${name.padEnd(8)} exit ${run.code}  peak ${mib(run.peak)} (anonymous ${mib(run.anonymous)}, files ${mib(run.file)})  ${run.seconds.toFixed(1)} s, ${run.cpu.toFixed(1)} s CPU`,
  );
  if (run.code !== 0) process.exitCode = 1;
  if (name !== "inspect" || run.code !== 0) console.log(run.text.replace(/^(?=.)/gm, "    "));
}

/** Runs the command and watches its memory. */
function measured(args) {
  return new Promise((done) => {
    const started = performance.now();
    const child = spawn(process.execPath, [command, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    const result = { peak: 0, anonymous: 0, file: 0, cpu: 0, text: "" };
    child.stdout.on("data", (d) => (result.text += d));
    child.stderr.on("data", (d) => (result.text += d));
    const watch = setInterval(() => {
      try {
        const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
        const kib = (key) => Number(status.match(new RegExp(`${key}:\\s+(\\d+)`))?.[1] ?? 0);
        result.peak = Math.max(result.peak, kib("VmHWM"));
        result.anonymous = Math.max(result.anonymous, kib("RssAnon"));
        result.file = Math.max(result.file, kib("RssFile") + kib("RssShmem"));
        const stat = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1].split(" ");
        result.cpu = (Number(stat[11]) + Number(stat[12])) / 100;
      } catch {
        // It has ended.
      }
    }, 20);
    child.on("close", (code) => {
      clearInterval(watch);
      done({ ...result, code, seconds: (performance.now() - started) / 1000 });
    });
  });
}

/** Each matrix is made when its turn to be written comes. */
async function makeModel(path, blocks) {
  const graph = new Graph("feed-forward");
  const model = new Model(graph);
  model.opsets.set("", 17);
  model.irVersion = 8;
  const weight = (name, dims, seed) =>
    graph.addInitializer(
      name,
      Tensor.lazy("float32", dims, () =>
        noise(
          dims.reduce((a, b) => a * b, 1),
          seed,
          1 / Math.sqrt(dims[0]),
        ),
      ),
    );
  let x = graph.addInput(new Value("x", { kind: "tensor", dtype: "float32", shape: ["N", 256] }));
  x = graph.insertNode("MatMul", [x, weight("embed", [256, WIDTH], 1)], { outputs: ["h"] }).outputs[0];
  for (let b = 0; b < blocks; b++) {
    const up = graph.insertNode(
      "Gemm",
      [x, weight(`block${b}.w1`, [WIDTH, HIDDEN], 4 * b + 2), weight(`block${b}.b1`, [HIDDEN], 4 * b + 3)],
      {
        outputs: [`block${b}.up`],
      },
    );
    const relu = graph.insertNode("Relu", [up.outputs[0]], { outputs: [`block${b}.relu`] });
    const down = graph.insertNode("MatMul", [relu.outputs[0], weight(`block${b}.w2`, [HIDDEN, WIDTH], 4 * b + 4)], {
      outputs: [`block${b}.down`],
    });
    x = graph.insertNode("Add", [x, down.outputs[0]], { outputs: [`block${b}.sum`] }).outputs[0];
  }
  const y = graph.insertNode("MatMul", [x, weight("head", [WIDTH, 1000], 0)], { outputs: ["y"] }).outputs[0];
  y.type = { kind: "tensor", dtype: "float32", shape: ["N", 1000] };
  graph.addOutput(y);
  return (await writeModel(path, model, { external: !values.inline })).byteLength;
}

/** `n` floats in ±scale, xorshift32. */
function noise(n, seed, scale) {
  const out = new Float32Array(n);
  let s = (seed + 1) * 2654435761;
  for (let i = 0; i < n; i++) {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    out[i] = (s / 2147483648) * scale;
  }
  return new Uint8Array(out.buffer);
}
