// The zoo: every exported net is analysed, pruned at half of its MACs and proven, each in a process of its own.
//
//   python bench/zoo/export.py --cache <folder>
//   npm run build && node bench/zoo/run.mjs --cache <folder> [--phase analyse,prune,time] [--only <regexp>] [--seconds 300]
//
// Results lie beside the nets, one file per phase and version of src/: a run that was stopped goes on where it was, and with --missing
// only what no version has passed is run. At the end (or at once with --phase none) the tables are made of the newest result of each net, and say
// how many of them this version of src/ made; --write puts them into README.md and results.json.
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { tables } from "./tables.mjs";

const { values: options } = parseArgs({
  options: {
    cache: { type: "string" },
    phase: { type: "string", default: "analyse,prune,time" },
    only: { type: "string", default: "" },
    seconds: { type: "string", default: "300" },
    again: { type: "boolean", default: false },
    missing: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
  },
});
if (!options.cache) throw new Error("node bench/zoo/run.mjs --cache <folder of export.py>");

const here = fileURLToPath(new URL(".", import.meta.url));
const root = fileURLToPath(new URL("../..", import.meta.url));
const git = (...args) => execFileSync("git", args, { cwd: root, encoding: "utf8", maxBuffer: 2 ** 28 });
const changes = git("diff", "HEAD", "--", "src");
const version =
  git("rev-parse", "HEAD:src").slice(0, 10) + (changes ? `+${createHash("sha256").update(changes).digest("hex").slice(0, 6)}` : "");

/** The nets whose time the issue of this benchmark bounds. */
const TIMED = ["torchvision/resnet50", "torchvision/densenet121", "torchvision/swin_t"];
const RUNS = 5;

const phases = options.phase.split(",");
const nets = exported(options.cache).filter((n) => new RegExp(options.only).test(n.name));
// Small nets first: a run that is cut short has seen most of them.
const bySize = nets.filter((n) => n.ok && existsSync(modelFile(n.name))).sort((a, b) => sizeOf(a.name) - sizeOf(b.name));
for (const phase of ["analyse", "prune"]) {
  if (!phases.includes(phase)) continue;
  for (const net of bySize) {
    const file = resultFile(net.name, phase);
    if (!options.again && (existsSync(file) || (options.missing && newest(net.name, phase)?.ok))) continue;
    const result = await (phase === "analyse" ? analysed(net.name) : measured([phase, modelFile(net.name), ...passesFor(net.name)]));
    if (!existsSync(modelFile(net.name))) continue; // exported anew meanwhile
    writeFileSync(file, `${JSON.stringify({ version, ...result }, null, 1)}\n`);
    console.log(`${phase} ${net.name} ${line(result)}`);
  }
}
if (phases.includes("time")) {
  for (const name of TIMED.filter((n) => nets.some((net) => net.name === n && net.ok))) {
    const runs = [];
    for (let i = 0; i < RUNS; i++) runs.push(await measured(["time", modelFile(name)]));
    const median = (key) => runs.map((r) => r[key]).sort((a, b) => a - b)[(RUNS - 1) / 2];
    const result = { cpuSeconds: median("cpuSeconds"), seconds: median("seconds"), groups: runs[0].groups, runs: RUNS };
    writeFileSync(resultFile(name, "time"), `${JSON.stringify(result)}\n`);
    console.log(`time ${name} ${result.cpuSeconds.toFixed(2)} s CPU, ${result.seconds.toFixed(2)} s`);
  }
}

const results = exported(options.cache).map((net) => ({
  ...net,
  analyse: newest(net.name, "analyse"),
  prune: newest(net.name, "prune"),
  time: newest(net.name, "time"),
  rival: withoutFolders(read(join(options.cache, net.name, "torch-pruning.json"))),
  rivalTime: read(join(options.cache, net.name, "torch-pruning-time.json")),
}));
const commit = git("rev-parse", "--short", "HEAD").trim() + (changes ? " with changes" : "");
const text = tables(results, commit, version);
if (options.write) {
  writeFileSync(join(here, "results.json"), `${JSON.stringify({ commit, results }, null, 1)}\n`);
  const readme = join(here, "README.md");
  const [head, , tail] = readFileSync(readme, "utf8").split(/<!-- (?:tables|end of tables) -->\n/);
  writeFileSync(readme, `${head}<!-- tables -->\n${text}<!-- end of tables -->\n${tail ?? ""}`);
} else console.log(text);

function exported(cache) {
  const found = [];
  for (const library of readdirSync(cache).sort())
    for (const net of readdirSync(join(cache, library)).sort()) {
      const report = read(join(cache, library, net, "export.json"));
      if (report) found.push({ ...report, failures: mapped(report.failures, (text) => text.split(/ *\[Caused by/)[0]) });
    }
  return found;
}

function mapped(record, f) {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]));
}
function modelFile(name) {
  return join(options.cache, name, "model.onnx");
}
function sizeOf(name) {
  const folder = join(options.cache, name);
  return readdirSync(folder).reduce((n, f) => n + (f.startsWith("model.onnx") ? statSync(join(folder, f)).size : 0), 0);
}
function resultFile(name, phase) {
  return join(options.cache, name, `${phase}-${version}.json`);
}
/** Messages of crashes name files of the machine they came from. */
function withoutFolders(result) {
  return result?.why === undefined ? result : { ...result, why: result.why.replace(/\/(?:[^/\s"']+\/)+[^/\s"']*/g, "…") };
}
/** The result of this version, else the newest of any. */
function newest(name, phase) {
  const folder = join(options.cache, name);
  const files = readdirSync(folder).filter((f) => f.startsWith(`${phase}-`));
  const time = (f) => (f.includes(`-${version}.`) ? Number.POSITIVE_INFINITY : statSync(join(folder, f)).mtimeMs);
  const file = files.sort((a, b) => time(b) - time(a))[0];
  const result = file && read(join(folder, file));
  return result && { version: file.slice(phase.length + 1, -".json".length), ...result };
}
function read(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
}

function line(r) {
  if (!r.ok) return `FAILED ${r.code ?? r.error}: ${String(r.message).slice(0, 300)}`;
  if (r.weights)
    return `${r.groups} groups, ${((100 * r.weights.prunable) / r.weights.all).toFixed(1)} % of weights, ${((100 * r.axes.free) / r.axes.all).toFixed(1)} % of axes, ${r.cpuSeconds.toFixed(2)} s`;
  return `MACs ${r.macs.toFixed(3)}, equal within ${Math.max(...r.equality.map((e) => e.maxRel)).toExponential(1)}, drift ${Math.max(...r.equality.map((e) => e.drift ?? 0)).toExponential(1)}, ${r.cpuSeconds.toFixed(0)} s`;
}

/** `folded`: what it would be after fold-constants, where little is free and that frees more. */
async function analysed(name) {
  const plain = await measured(["analyse", modelFile(name)]);
  const share = ({ weights, axes }) => weights.prunable / weights.all + axes.free / (axes.all || 1);
  if (!plain.ok || (share(plain) > 1.4 && plain.computedWeights === 0)) return plain;
  const folded = await measured(["folded", modelFile(name)]);
  return folded.ok && (plain.computedWeights > folded.computedWeights || share(folded) > share(plain) + 0.01)
    ? { ...plain, folded }
    : plain;
}

/** Constant weights that are computed at every run are folded first, where the analysis found that it frees something. */
function passesFor(name) {
  return newest(name, "analyse")?.folded ? ["fold-constants", "l2"] : ["l2"];
}

/** Runs measure.mjs; a crash and a timeout are results too. */
function measured(args) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(here, "measure.mjs"), ...args], { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.on("data", (d) => {
      out += d;
    });
    child.stderr.on("data", (d) => {
      err += d;
    });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, Number(options.seconds) * 1000);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (late) return resolve({ ok: false, error: "timeout", message: `not done in ${options.seconds} s` });
      try {
        resolve(JSON.parse(out.trim().split("\n").at(-1)));
      } catch {
        resolve({ ok: false, error: "crash", message: `exit ${code ?? signal}: ${err.trim().slice(-800)}` });
      }
    });
  });
}
