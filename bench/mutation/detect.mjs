// The detection suite in one process, on the sources transpiled to a folder: what the tests see of each graph, and which
// functions ran. node detect.mjs <folder> <folder of the unchanged sources> <stage> <out.json> [probe, probe …]
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { Session } from "node:inspector/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, base, stage, out, list] = process.argv.slice(2);
const wanted = list === undefined ? undefined : new Set(JSON.parse(list));
const from = (root, path) => import(pathToFileURL(join(root, path)).href);

const { examine } = await from(folder, "test/support/probe.js");
const { probes, modelOfProbe } = await from(folder, "test/support/rule-probes.js");
const { decode } = await from(folder, "src/graph/codec.js");
const profiler = new Session();
profiler.connect();
await profiler.post("Profiler.enable");
await profiler.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });

const results = stage === "random" ? await random() : stage === "topologies" ? await examined(topologies()) : await examined(rules());
writeFileSync(out, JSON.stringify(results));
// Sessions of the runtime may keep the process alive.
process.exit(0);

function rules() {
  return probes.map((p) => ({
    name: p.name,
    golden: `rules/${p.name.replaceAll(/[^A-Za-z0-9]+/g, "-")}.txt`,
    model: () => modelOfProbe(p),
  }));
}

function topologies() {
  const at = join(folder, "test/fixtures/topologies");
  const names = readdirSync(at).flatMap((f) => (f.endsWith(".onnx") ? [f.slice(0, -5)] : []));
  return names.map((name) => ({ name, golden: `${name}.txt`, model: () => decode(readFileSync(join(at, `${name}.onnx`))) }));
}

async function examined(graphs) {
  const examinedGraphs = [];
  for (const { name, golden, model } of graphs) {
    if (wanted && !wanted.has(name)) continue;
    await covered();
    let findings;
    let built;
    try {
      built = model();
      findings = await examine(built, readFileSync(join(folder, "test/fixtures/golden", golden), "utf8"), true);
    } catch (error) {
      findings = [{ kind: "crash", why: error.message, stack: framesOf(error) }];
    }
    const functions = await covered();
    const blamed = [];
    for (const f of findings) blamed.push(...(f.frames ?? []), ...(built ? await blameOf(built, f) : []));
    examinedGraphs.push({ name, findings: findings.map(({ kind, why }) => `${kind}: ${why}`), blamed: [...new Set(blamed)], functions });
  }
  return examinedGraphs;
}

/** What a finding points to: a step, the operator of the node an error names, or the one at which the graphs part. */
async function blameOf(model, { node, op, removed, kind, stage }) {
  if (stage !== undefined) return [...stage.map((s) => `stage ${s}`), ...(node === undefined ? [] : await blameOf(model, { node }))];
  if (op !== undefined) return [op];
  const opOf = (name) => (model.graph.nodes.find((n) => n.label === name) ?? model.graph.value(name)?.producer)?.opType;
  if (node !== undefined) return [opOf(node)].filter((op) => op !== undefined);
  if (kind !== "wrong" || !removed) return [];
  // The judge is unchanged: what is changed must not judge itself.
  const [{ bisect }, { openRunner }, { randomFeeds }] = await Promise.all(
    ["bisect", "../runtime/provider", "feeds"].map((f) => from(base, `src/verify/${f}.js`)),
  );
  const [{ findGroups }, { Kept }, { oracleOf }, { removeSlices }] = await Promise.all(
    ["groups", "choices", "oracle", "slice"].map((f) => from(folder, `src/graph/coupling/${f}.js`)),
  );
  const coupling = findGroups(model);
  const kept = new Kept(coupling.typing.system, coupling.choices, removed);
  const runner = await openRunner("cpu", { threads: 1 });
  try {
    const found = await bisect(runner, {
      reference: oracleOf(coupling.typing, kept),
      candidate: removeSlices(coupling.typing, kept),
      feeds: randomFeeds(model, 1),
      tolerance: 1e-5,
      removal: { coupling, kept },
    });
    const constants = found?.inputs.some((i) => i.constant && i.maxRel > 0) ? ["a constant"] : [];
    return found ? [found.op, ...constants] : [];
  } catch {
    // What is too broken to compare names nothing.
    return [];
  } finally {
    await runner.close();
  }
}

/**
 * Functions that ran since the last call: file, name, the offsets at which each begins and ends, and the parts of it
 * (from, to) that did not run.
 */
async function covered() {
  const { result } = await profiler.post("Profiler.takePreciseCoverage");
  const root = pathToFileURL(join(folder, "src")).href;
  const out = [];
  for (const { url, functions } of result) {
    if (!url.startsWith(root)) continue;
    for (const { functionName, ranges } of functions) {
      const [{ startOffset, endOffset, count }, ...blocks] = ranges;
      const idle = blocks.filter((b) => b.count === 0).map((b) => [b.startOffset, b.endOffset]);
      if (count > 0 && startOffset > 0) out.push([url.slice(root.length + 1), functionName, startOffset, endOffset, idle]);
    }
  }
  return out;
}

function framesOf(error) {
  return error.stack?.split("\n").slice(1, 3) ?? [];
}

/** Random graphs, until one fails. */
async function random() {
  const [{ tryRecipe, report }, { randomRecipe }] = await Promise.all(
    ["fuzz", "random-graph"].map((f) => from(folder, `test/support/${f}.js`)),
  );
  for (let seed = 1; seed <= 200; seed++) {
    const recipe = randomRecipe(seed);
    const outcome = await tryRecipe(recipe, seed);
    if (!["wrong", "crash", "unrunnable"].includes(outcome.kind)) continue;
    const text = await report(recipe, seed, outcome);
    const body = text.slice(text.indexOf("{\n") + 1);
    // Few enough operators are left to be called a place.
    return [{ name: `seed ${seed}`, findings: [text], blamed: [...new Set(body.match(/(?<== )\w+/g) ?? [])], functions: [] }];
  }
  return [];
}
