/**
 * Reading, decoding, encoding and writing a model of 1 GB, against reading, copying once and writing the same bytes.
 *
 *   npm run build && node bench/codec/bench.mjs [folder] [rounds]
 *
 * The model goes through unchanged, and edited (every node gets another name), which must write every node anew.
 * Each measurement is a process of its own, variants take turns, medians are printed. The folder should be a RAM disk
 * (default /dev/shm where there is one): the codec is measured, not the disk. Goals: at most 0.6 x the time of the copy, and
 * a peak of memory of at most 1.1 x the file.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const dist = new URL("../../dist/", import.meta.url);
const script = fileURLToPath(import.meta.url);
const VARIANTS = ["copy once", "codec", "codec, edited", "codec + sha-256"];

if (process.argv[2] === "--measure") await measure(process.argv[3], process.argv[4], process.argv[5]);
else await compare(process.argv[2] ?? (existsSync("/dev/shm") ? "/dev/shm" : tmpdir()), Number(process.argv[3] ?? 5));

async function compare(parent, rounds) {
  const folder = mkdtempSync(join(parent, "codec-bench-"));
  try {
    const input = join(folder, "in.onnx");
    const output = join(folder, "out.onnx");
    await makeModel(input);
    const { size } = statSync(input);
    const results = new Map(VARIANTS.map((v) => [v, []]));
    for (let round = 0; round < rounds; round++) {
      for (const variant of VARIANTS) {
        rmSync(output, { force: true });
        const line = execFileSync(process.execPath, [script, "--measure", variant, input, output], { encoding: "utf8" });
        results.get(variant).push(JSON.parse(line));
      }
    }
    const median = (variant, key) =>
      results
        .get(variant)
        .map((r) => r[key])
        .sort((a, b) => a - b)[Math.floor(rounds / 2)];
    console.log(`${(size / 1e6).toFixed(0)} MB in ${folder}, median of ${rounds}; last output identical: ${hash(output) === hash(input)}`);
    for (const v of VARIANTS) {
      const ratio = (median(v, "ms") / median("copy once", "ms")).toFixed(2);
      const memory = (median(v, "peak") / size).toFixed(2);
      const parts = ["read", "code", "write"].map((k) => `${k} ${median(v, k).toFixed(0)}`).join(", ");
      console.log(`${v.padEnd(16)} ${median(v, "ms").toFixed(0).padStart(6)} ms (${parts})  ${ratio} x copy  peak ${memory} x file`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** 500 tensors of 2 MiB, each read by a node. */
async function makeModel(path) {
  const { encode } = await import(new URL("graph/codec.js", dist));
  const { Graph, Model, Value } = await import(new URL("graph/graph.js", dist));
  const { Tensor } = await import(new URL("graph/tensor.js", dist));
  const graph = new Graph("bench");
  const type = { kind: "tensor", dtype: "float32", shape: [2 ** 19] };
  let x = graph.addInput(new Value("x", type));
  const bytes = new Uint8Array(2 ** 21).map((_, i) => i * 31);
  for (let i = 0; i < 500; i++) {
    const w = graph.addInitializer(`w${i}`, Tensor.ofBytes("float32", [2 ** 19], bytes));
    x = graph.insertNode("Add", [x, w], { outputs: [`y${i}`], name: `add${i}` }).outputs[0];
  }
  x.type = type;
  graph.addOutput(x);
  const model = new Model(graph);
  model.opsets.set("", 17);
  const fd = openSync(path, "w");
  for (const chunk of encode(model).chunks) writeSync(fd, chunk);
  closeSync(fd);
}

async function measure(variant, input, output) {
  const { readModel } = await import(new URL("export/read.js", dist));
  const { writeChunks, writeModel } = await import(new URL("export/write.js", dist));
  const t0 = performance.now();
  let t1;
  let t2;
  if (variant === "copy once") {
    const bytes = await readAll(input);
    t1 = performance.now();
    const copy = Buffer.allocUnsafeSlow(bytes.length);
    bytes.copy(copy);
    t2 = performance.now();
    const file = await open(output, "w");
    await writeChunks(file, [copy]);
    await file.sync();
    await file.close();
  } else {
    // Decoding is part of readModel, encoding of writeModel; both are a few milliseconds.
    const model = await readModel(input, { hash: variant === "codec + sha-256" });
    if (variant === "codec, edited") for (const node of model.graph.nodes) node.name = `edited ${node.name}`;
    t1 = t2 = performance.now();
    await writeModel(output, model);
  }
  const t3 = performance.now();
  const peak = process.resourceUsage().maxRSS * 1024;
  console.log(JSON.stringify({ ms: t3 - t0, read: t1 - t0, code: t2 - t1, write: t3 - t2, peak }));
}

/** As readModel reads. */
async function readAll(path) {
  const file = await open(path, "r");
  const { size } = await file.stat();
  const bytes = Buffer.allocUnsafeSlow(size);
  for (let at = 0; at < size; ) at += (await file.read(bytes, at, Math.min(2 ** 28, size - at), at)).bytesRead;
  await file.close();
  return bytes;
}

function hash(path) {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}
