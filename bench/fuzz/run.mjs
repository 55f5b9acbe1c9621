// Many random graphs, in several processes: node bench/fuzz/run.mjs [--seeds 10000] [--from 1] [--workers 2] [--out fuzz.jsonl]
//
// Each seed is one line of --out: a run that was stopped goes on where it was. Failures are printed with the smallest
// graph that still fails, and make the exit code 1. Seeds, counts and CPU seconds come last.
import { fork } from "node:child_process";
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { transpileTo } from "../transpile.mjs";

/** Seeds per message: few enough to lose little, many enough that messages cost nothing. */
const CHUNK = 20;
/** A seed that takes longer hangs: its process is ended, and the seed counts as a crash. */
const LIMIT = 120_000;

if (process.send) await work();
else await lead();

async function lead() {
  const { values } = parseArgs({
    options: {
      seeds: { type: "string", default: "10000" },
      from: { type: "string", default: "1" },
      workers: { type: "string", default: String(Math.max(1, cpus().length)) },
      out: { type: "string", default: "fuzz.jsonl" },
    },
  });
  const [from, count, workers] = [Number(values.from), Number(values.seeds), Number(values.workers)];
  const done = new Map();
  const lines = existsSync(values.out) ? readFileSync(values.out, "utf8").split("\n") : [];
  for (const line of lines) {
    // The last line of a killed run may be half a line.
    if (!line.endsWith("}")) continue;
    const result = JSON.parse(line);
    if (result.seed >= from && result.seed < from + count) done.set(result.seed, result);
  }
  const todo = Array.from({ length: count }, (_, i) => from + i).filter((seed) => !done.has(seed));
  console.log(`seeds ${from} to ${from + count - 1}: ${done.size} done before, ${todo.length} to do, ${workers} processes, ${values.out}`);
  const folder = mkdtempSync(join(tmpdir(), "onnx-prune-fuzz-"));
  transpileTo(folder);
  const started = performance.now();
  let cpu = 0;
  const record = (result) => {
    done.set(result.seed, result);
    cpu += result.cpu ?? 0;
    appendFileSync(values.out, `${JSON.stringify(result)}\n`);
    if (result.text) console.log(`\n${result.text}`);
    if (done.size % 500 === 0) console.log(`${done.size} seeds, ${Math.round((performance.now() - started) / 1000)} s`);
  };
  try {
    await Promise.all(Array.from({ length: workers }, () => drive(folder, todo, record)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const counts = { equal: 0, unchanged: 0, overflow: 0, wrong: 0, crash: 0, unrunnable: 0 };
  for (const { kind } of done.values()) counts[kind]++;
  const failed = [...done.values()].filter((r) => ["wrong", "crash", "unrunnable"].includes(r.kind));
  console.log(`seeds ${from} to ${from + count - 1}: ${JSON.stringify(counts)}, ${Math.round(cpu)} CPU seconds`);
  if (failed.length > 0) console.log(`failed: ${failed.map((r) => `${r.seed} (${r.kind})`).join(", ")}`);
  process.exitCode = failed.length > 0 ? 1 : 0;
}

/** Hands chunks of seeds to one process after another, until none is left. */
async function drive(folder, todo, record) {
  while (todo.length > 0) {
    const chunk = todo.splice(0, CHUNK);
    const left = new Set(chunk);
    await new Promise((resolve) => {
      const child = fork(fileURLToPath(import.meta.url), [folder], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
      const late = () => child.kill("SIGKILL");
      let timer = setTimeout(late, LIMIT);
      child.on("message", (result) => {
        clearTimeout(timer);
        timer = setTimeout(late, LIMIT);
        left.delete(result.seed);
        record(result);
        if (left.size > 0) return;
        const more = todo.splice(0, CHUNK);
        for (const seed of more) left.add(seed);
        if (more.length > 0) child.send(more);
        else child.disconnect();
      });
      child.on("exit", (code, signal) => {
        clearTimeout(timer);
        const [seed] = left;
        if (seed !== undefined) {
          record({ seed, kind: "crash", text: `seed ${seed}: the process ended (${signal ?? code})` });
          left.delete(seed);
          todo.unshift(...left);
        }
        resolve();
      });
      child.send(chunk);
    });
  }
}

async function work() {
  const folder = process.argv[2];
  const [{ report, tryRecipe }, { randomRecipe }] = await Promise.all(
    ["fuzz", "random-graph"].map((name) => import(join(folder, "test/support", `${name}.js`))),
  );
  process.on("message", async (seeds) => {
    for (const seed of seeds) {
      const before = process.cpuUsage();
      const recipe = randomRecipe(seed);
      const outcome = await tryRecipe(recipe, seed);
      const text = outcome.why === undefined ? undefined : await report(recipe, seed, outcome);
      const { user, system } = process.cpuUsage(before);
      process.send({ seed, kind: outcome.kind, cpu: (user + system) / 1e6, ...(text ? { text } : {}) });
    }
  });
}
