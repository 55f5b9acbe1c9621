// Thousands of damaged model files through everything that reads models: only typed errors, in bounded memory and time.
//
//   npm run build && node bench/robustness/mutate.mjs [--mutants 10000] [--seed 1] [--run-share 0.01] [--json]
//
// Each mutant (mutants.mjs) is read, checked, inferred, coupled, planned (l1, half of the channels), sliced and encoded; of a
// share, the whole pruning run with its proof on ONNX Runtime follows. All this in a child process, which is stopped when a
// mutant takes more than 10 s; that counts, as do a crash, an InternalError or anything that is no typed error. Exit code 1
// when anything counts, or when memory passed 1 GB.
import { fork } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { mutantOf, randomOf } from "./mutants.mjs";

const SLOWEST = 10_000;
const MOST_MEMORY = 1e9;
const { values } = parseArgs({
  options: {
    mutants: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
    "run-share": { type: "string", default: "0.01" },
    json: { type: "boolean", default: false },
    child: { type: "boolean", default: false },
  },
});
const root = new URL("../../", import.meta.url);

if (values.child) await serve();
else await drive();

/** Small good files: what changes shows, and thousands take minutes. */
function sources() {
  const folders = ["models/", "test/fixtures/topologies/"];
  const files = folders.flatMap((f) =>
    readdirSync(new URL(f, root))
      .filter((n) => n.endsWith(".onnx"))
      .map((n) => fileURLToPath(new URL(f + n, root))),
  );
  return files
    .filter((f) => statSync(f).size < 2 ** 19)
    .sort()
    .map((f) => new Uint8Array(readFileSync(f)));
}

async function drive() {
  const first = Number(values.seed);
  const count = Number(values.mutants);
  const result = { mutants: count, typed: {}, models: 0, pruned: 0, wrong: [], slowest: { seed: 0, ms: 0 }, peak: 0 };
  let next = first;
  while (next < first + count) next = await batch(next, first + count, result);
  if (values.json) console.log(JSON.stringify(result));
  else {
    console.log(`${count} mutants from seed ${first}: ${result.models} still are models, ${result.pruned} were pruned and proven`);
    for (const [code, n] of Object.entries(result.typed).sort((a, b) => b[1] - a[1])) console.log(`  ${String(n).padStart(6)} ${code}`);
    console.log(`slowest ${result.slowest.ms.toFixed(0)} ms (seed ${result.slowest.seed}), peak ${(result.peak / 1e6).toFixed(0)} MB`);
    console.log(`${result.wrong.length} uncaught, internal or too slow`);
    for (const w of result.wrong) console.log(`  seed ${w.seed} (${w.how}): ${w.why}`);
  }
  if (result.wrong.length > 0 || result.peak > MOST_MEMORY) process.exitCode = 1;
}

/** Lets one child work from seed `from` on; returns the seed at which the next has to start. */
function batch(from, to, result) {
  return new Promise((done) => {
    const child = fork(fileURLToPath(import.meta.url), ["--child", "--run-share", values["run-share"]], {
      execArgv: ["--max-old-space-size=800"],
      stdio: ["ignore", "inherit", "pipe", "ipc"],
    });
    let at = from;
    let why = "";
    let errors = "";
    child.stderr.on("data", (d) => {
      errors = (errors + d).slice(-600);
    });
    const stop = () => {
      why = `more than ${SLOWEST} ms`;
      child.kill("SIGKILL");
    };
    const timer = () => setTimeout(stop, SLOWEST);
    let alarm = timer();
    child.send({ from, to });
    child.on("message", (m) => {
      clearTimeout(alarm);
      alarm = timer();
      at = m.seed + 1;
      result.peak = Math.max(result.peak, m.peak);
      if (m.ms > result.slowest.ms) result.slowest = { seed: m.seed, ms: m.ms };
      if (m.code) result.typed[m.code] = (result.typed[m.code] ?? 0) + 1;
      else if (m.why) result.wrong.push({ seed: m.seed, how: m.how, why: m.why });
      else result.models++;
      if (m.pruned) result.pruned++;
    });
    child.on("close", (code, signal) => {
      clearTimeout(alarm);
      if (at < to) {
        result.wrong.push({ seed: at, how: "", why: why || `the process ended with ${signal ?? code}: ${errors}` });
        at++;
      }
      done(at);
    });
  });
}

async function serve() {
  const from = (path) => import(new URL(`dist/${path}`, root));
  const { OnnxPruneError, InternalError } = await from("errors.js");
  const { readModel } = await from("export/read.js");
  const { check } = await from("graph/check.js");
  const { cost } = await from("graph/cost.js");
  const { encode, joinChunks } = await from("graph/codec.js");
  const { planOnly, prune } = await from("pipeline.js");
  const { findEntry } = await from("passes/registry.js");
  const { applyPlan } = await from("passes/remove-filters.js");
  const { frozenReasons, groupFacts } = await from("cli/inspect-groups.js");
  const good = sources();
  const l1 = { entry: await findEntry("l1"), options: {} };
  const folder = mkdtempSync(join(tmpdir(), "onnx-prune-mutants-"));
  const file = join(folder, "m.onnx");
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  process.on("disconnect", () => process.exit());

  async function work(isRun) {
    const model = await readModel(file);
    check(model);
    cost(model);
    if (isRun) {
      await prune(model, { passes: [l1], target: { ratio: 0.5 }, latency: false, threads: 1, ep: "cpu" });
      return true;
    }
    try {
      const { plan, coupling } = await planOnly(model, l1, { target: { ratio: 0.5 } });
      groupFacts(coupling);
      frozenReasons(coupling);
      const { result } = applyPlan(model, plan);
      joinChunks(encode(result));
    } finally {
      joinChunks(encode(model));
    }
    return false;
  }

  process.on("message", async ({ from: first, to }) => {
    for (let seed = first; seed < to; seed++) {
      const { bytes, how } = mutantOf(seed, good);
      writeFileSync(file, bytes);
      const started = performance.now();
      const told = { seed, how };
      try {
        told.pruned = await work(randomOf(seed ^ 0x5bd1e995)() < Number(values["run-share"]));
      } catch (error) {
        if (error instanceof OnnxPruneError && !(error instanceof InternalError)) told.code = error.code;
        else
          told.why = String(error?.stack ?? error)
            .split("\n")
            .slice(0, 4)
            .join(" | ");
      }
      process.send({ ...told, ms: performance.now() - started, peak: process.resourceUsage().maxRSS * 1024 });
    }
    process.exit();
  });
}
