// Plants faults one at a time in a copy of the sources, and asks whether the tests' graphs show each, and where.
//
//   node bench/mutation/run.mjs [--only name] [--only name] … [--every k] [--json out.json]
//
// A fault is *killed* when the detection suite (detect.mjs) finds something that it does not find in the unchanged sources,
// and *localised* when what it finds points to the place, in one of these ways:
//   stage      of the steps from a graph to what may leave it (equations, groups, pools), it is the first whose result is
//              not as recorded, or breaks its contract;
//   error      a typed error names a node of the operator, or comes out of the changed file (two innermost frames);
//   value      the first value that differs (bisect, of the unchanged sources) is made by the operator, or is a constant
//              that was sliced otherwise than its axes say, for faults in what slices constants;
//   spectrum   of all files, the changed one is among the five most suspicious: a function of it, or the part of one that was
//              changed, ran for graphs that fail and not for graphs that pass (Ochiai); ties count against it;
//   smallest   a random graph fails, and what is left of it after shrinking is at most three operators, this one included.
// Exit code 1 when a fault survives or is not localised; 2 when a text to be changed does not occur exactly once.
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { javascriptOf, root, transpileTo } from "../transpile.mjs";
import { mutants } from "./mutants.mjs";

const run = promisify(execFile);
/** A changed program may not end. */
const LIMIT = 300_000;
const SUSPECTS = 5;
const SMALL = 3;

const { values } = parseArgs({
  options: { only: { type: "string", multiple: true }, every: { type: "string", default: "1" }, json: { type: "string" } },
});
const chosen = mutants.filter((m, i) => (values.only ? values.only.includes(m.name) : i % Number(values.every) === 0));

// Read once: the sources may change while this runs.
const sources = new Map(mutants.map((m) => [m.file, readFileSync(join(root, m.file), "utf8")]));
const stale = mutants.filter((m) => sources.get(m.file).split(m.find).length !== 2);
if (stale.length > 0) {
  for (const m of stale) console.error(`${m.name}: the text to change does not occur exactly once in ${m.file}:\n  ${m.find}`);
  process.exit(2);
}

const work = mkdtempSync(join(tmpdir(), "onnx-prune-mutation-"));
try {
  await main();
} finally {
  rmSync(work, { recursive: true, force: true });
}

async function main() {
  const started = performance.now();
  const base = join(work, "base");
  transpileTo(base);
  const healthy = await detect(base, base, "rules");
  const sick = healthy.filter((p) => p.findings.length > 0);
  if (sick.length > 0)
    throw new Error(`The unchanged sources fail: ${JSON.stringify(sick.map(({ name, findings }) => ({ name, findings })))}`);

  const queue = [...chosen];
  const results = [];
  const next = async () => {
    for (let m = queue.shift(); m; m = queue.shift()) {
      const result = await judge(m, base, healthy);
      results.push(result);
      const how = result.survived ? "SURVIVED" : result.localised ? `killed, ${result.localised}` : "killed, NOT LOCALISED";
      console.log(`${m.name.padEnd(44)} ${how.padEnd(24)} ${result.detail}`);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Math.min(cpus().length, 4)) }, next));
  const count = (f) => results.filter(f).length;
  const killed = count((r) => !r.survived);
  const localised = count((r) => r.localised);
  console.log(`${results.length} faults: ${killed} killed, ${localised} localised; ${Math.round((performance.now() - started) / 1000)} s`);
  if (values.json) writeFileSync(values.json, `${JSON.stringify(results, undefined, 1)}\n`);
  process.exitCode = killed === results.length && localised === results.length ? 0 : 1;
}

async function judge(mutant, base, healthy) {
  const { name, file } = mutant;
  const folder = join(work, name.replaceAll(/\W+/g, "-"));
  cpSync(base, folder, { recursive: true, verbatimSymlinks: true });
  const before = readFileSync(join(base, file.replace(/\.ts$/, ".js")), "utf8");
  const source = sources.get(file).replace(mutant.find, () => mutant.replace);
  const after = javascriptOf(source, file);
  if (after === before) throw new Error(`${name}: the change changes nothing.`);
  writeFileSync(join(folder, file.replace(/\.ts$/, ".js")), after);
  const script = file.replace(/^src\//, "").replace(/\.ts$/, ".js");
  const changed = functionAt(healthy, script, firstChange(before, after));
  // What never runs the changed function does what it did.
  const touched = changed ? healthy.filter((p) => p.functions.some((f) => keyOf(f) === changed)).map((p) => p.name) : undefined;
  try {
    const ran = touched?.length === 0 ? [] : await detect(folder, base, "rules", touched);
    const failing = ran.filter((p) => p.findings.length > 0);
    if (failing.length > 0) {
      const all = healthy.map((p) => ran.find((r) => r.name === p.name) ?? p);
      const shift = { script, at: firstChange(before, after), tail: lastChange(before, after), by: before.length - after.length };
      const seen = all.map((p) => (ran.includes(p) ? shifted(p, shift) : p));
      const localised = located(mutant, failing) ?? bySpectrum(seen, changed, shift);
      return { name, file, killed: failing.map((p) => p.name), localised, changed, blamed: blames(failing), detail: detailOf(failing) };
    }
    const later = (await detect(folder, base, "topologies")).filter((p) => p.findings.length > 0);
    const found = later.length > 0 ? later : (await detect(folder, base, "random")).filter((p) => p.findings.length > 0);
    if (found.length === 0) return { name, file, survived: true, changed, detail: `ran in ${touched?.length ?? "all"} graphs` };
    const small = found[0].blamed.length <= SMALL && found[0].blamed.some((b) => mutant.ops.includes(b));
    const localised = small ? "smallest" : located(mutant, found);
    return { name, file, killed: found.map((p) => p.name), localised, changed, blamed: blames(found), detail: detailOf(found) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function detect(folder, base, stage, names) {
  const script = fileURLToPath(new URL("./detect.mjs", import.meta.url));
  const out = join(folder, `${stage}.json`);
  const args = [script, folder, base, stage, out, ...(names ? [JSON.stringify(names)] : [])];
  try {
    await run(process.execPath, args, { timeout: LIMIT });
    return JSON.parse(readFileSync(out, "utf8"));
  } catch (error) {
    // A process that did not even come to the changed sources says nothing about them.
    if (!error.killed && !String(error.stderr).includes(`${folder}/src`)) throw error;
    const frames = [...String(error.stderr ?? "").matchAll(/\n {4}at (.+)/g)].slice(0, 2).map((m) => m[1]);
    const why = error.killed
      ? "it did not end"
      : String(error.stderr ?? error.message)
          .trim()
          .split("\n")
          .at(0);
    return [{ name: stage, findings: [`crash: ${why}`], blamed: frames, functions: [] }];
  }
}

function keyOf([file, name, start]) {
  return `${file} ${name || `(${start})`}`;
}

/** The innermost function around an offset. */
function functionAt(healthy, script, offset) {
  let best;
  for (const p of healthy) {
    for (const f of p.functions) {
      const [file, , start, end] = f;
      if (file === script && start <= offset && offset < end && (!best || end - start < best[3] - best[2])) best = f;
    }
  }
  return best && keyOf(best);
}

function firstChange(a, b) {
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  return i;
}

/** Where, in the second text, what both end with begins. */
function lastChange(a, b) {
  let k = 0;
  while (k < Math.min(a.length, b.length) && a[a.length - 1 - k] === b[b.length - 1 - k]) k++;
  return b.length - k;
}

/** What ran, with the offsets in the changed file as they are in the unchanged one. */
function shifted(p, { script, at, tail, by }) {
  const back = (x) => (x >= tail ? x + by : Math.min(x, at));
  const of = ([file, name, start, end, idle]) => [file, name, back(start), back(end), idle.map(([s, e]) => [back(s), back(e)])];
  return { ...p, functions: p.functions.map((f) => (f[0] === script ? of(f) : f)) };
}

/** "stage", "error" or "value", when what was blamed is the operator, the sliced constant, or the file. */
function located({ ops, file }, failing) {
  const blamed = failing.flatMap((p) => p.blamed);
  const script = file.replace(/\.ts$/, ".js");
  if (blamed.some((b) => b === `stage ${file.replace(/^src\/|\.ts$/g, "")}`)) return "stage";
  if (failing.some((p) => p.blamed.some((b) => ops.includes(b)))) return blamed.some((b) => b.includes("(file:")) ? "error" : "value";
  return blamed.some((b) => b.includes(script)) ? "error" : undefined;
}

/** Ochiai: failing runs of a function over √(all failing runs · its runs). */
function bySpectrum(all, changed, { script, at }) {
  // Parts of functions that some graph does not reach.
  const parts = new Map();
  for (const { functions } of all) {
    for (const f of functions) {
      const of = parts.get(keyOf(f)) ?? new Map();
      parts.set(keyOf(f), of);
      for (const [from, to] of f[4]) of.set(`${from}-${to}`, [from, to]);
    }
  }
  const failed = all.filter((p) => p.findings.length > 0).length;
  const counts = new Map();
  for (const p of all) {
    const ran = new Set();
    for (const f of p.functions) {
      ran.add(keyOf(f));
      for (const [name, [from, to]] of parts.get(keyOf(f)))
        if (!f[4].some(([s, e]) => s <= from && to <= e)) ran.add(`${keyOf(f)} ${name}`);
    }
    for (const key of ran) {
      const c = counts.get(key) ?? { failing: 0, all: 0 };
      counts.set(key, c);
      c.all++;
      if (p.findings.length > 0) c.failing++;
    }
  }
  const score = ({ failing, all: runs }) => failing / Math.sqrt(failed * runs);
  // The part that was changed, as far as it can be told apart.
  const around = [...(parts.get(changed) ?? [])].filter(([, [from, to]]) => from <= at && at < to);
  const [part] = around.sort(([, x], [, y]) => x[1] - x[0] - (y[1] - y[0]))[0] ?? [];
  const mine = counts.get(part === undefined ? (changed ?? "") : `${changed} ${part}`) ?? counts.get(changed ?? "");
  if (!mine) return undefined;
  // Functions of one file count once: it is a place that is looked for.
  const better = new Set(
    [...counts].filter(([key, c]) => !key.startsWith(script) && score(c) >= score(mine)).map(([key]) => key.split(" ")[0]),
  );
  return better.size < SUSPECTS ? `spectrum ${better.size + 1}` : undefined;
}

function blames(failing) {
  return [...new Set(failing.flatMap((p) => p.blamed))];
}

function detailOf(failing) {
  return `${failing.length} graphs: ${failing[0].name}: ${failing[0].findings[0].split("\n")[0].slice(0, 150)}`;
}
