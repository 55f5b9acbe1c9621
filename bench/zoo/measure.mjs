// One net of the zoo in a process of its own: the result is the last line, as JSON.
//
//   node bench/zoo/measure.mjs analyse <model.onnx>       groups, shares and reasons, and what the analysis cost
//   node bench/zoo/measure.mjs folded <model.onnx>        the same after the pass fold-constants
//   node bench/zoo/measure.mjs prune <model.onnx> <pass>… the whole flow to half of the MACs with its proof, latency left out
//   node bench/zoo/measure.mjs time <model.onnx>          file to groups, and nothing else
import { groupFacts, prunableShare } from "../../dist/cli/inspect-groups.js";
import { readModel } from "../../dist/export/read.js";
import { findGroups } from "../../dist/graph/coupling/groups.js";
import { foldConstants } from "../../dist/passes/fold-constants.js";
import { removeDead } from "../../dist/passes/remove-dead.js";
import { runPass } from "../../dist/passes/run-pass.js";
import { prune } from "../../dist/pipeline.js";

const [mode, file, ...passes] = process.argv.slice(2);
const run = { analyse, folded: () => analyse(foldConstants), prune: pruned, time: timed }[mode];
if (!run || !file) throw new Error("measure.mjs analyse|folded|prune|time <model.onnx> [<pass>…]");
try {
  console.log(JSON.stringify({ ok: true, ...(await run()) }));
} catch (error) {
  console.log(JSON.stringify({ ok: false, ...failure(error) }));
}

async function timed() {
  const cpu = process.cpuUsage();
  const started = performance.now();
  const coupling = findGroups(await readModel(file, { hash: false }));
  return { ...spent(cpu, started), groups: coupling.groups.length };
}

async function analyse(pass) {
  const read = await readModel(file, { hash: false });
  const model = pass ? runPass(removeDead, runPass(pass, read).model).model : read;
  const cpu = process.cpuUsage();
  const started = performance.now();
  const coupling = findGroups(model);
  const time = spent(cpu, started);
  const groups = groupFacts(coupling);
  const declined = groups.filter((g) => g.declined !== undefined);
  const weights = prunableShare(coupling, new Set(declined.map((g) => g.name)));
  const barriers = new Map();
  for (const [node, why] of coupling.typing.barriers) add(barriers, `${node.opType}: ${generic(why)}`, 1, node.label);
  return {
    ...time,
    nodes: model.graph.nodes.length,
    // Convolutions whose weights are computed at every run: no share counts them.
    computedWeights: model.graph.nodes.filter((n) => n.isStandard && n.opType.startsWith("Conv") && n.inputs[1]?.constant === undefined)
      .length,
    groups: groups.length,
    channels: groups.reduce((n, g) => n + g.channels, 0),
    declined: sorted(declined.reduce((m, g) => add(m, generic(g.declined), 1, g.name), new Map())),
    weights,
    ...frozen(coupling, new Set(declined.map((g) => g.name))),
    barriers: sorted(barriers),
  };
}

/**
 * Weights of products, by why nothing of them can leave (`rest`), and their input and output axes that are whole, by why
 * (`wholeAxes`, in parameters, half of the weight for each of its two axes). Axes of a graph's own inputs and outputs are apart.
 */
function frozen(coupling, declined) {
  const { typing } = coupling;
  const free = new Map();
  for (const g of coupling.groups)
    if (!declined.has(g.name)) for (const s of g.slots) free.set(s.value, (free.get(s.value) ?? new Set()).add(s.axis));
  const rest = new Map();
  const wholeAxes = new Map();
  const seen = new Set();
  let axesAll = 0;
  let axesFree = 0;
  for (const node of typing.model.graph.nodes) {
    if (!node.isStandard || !["Conv", "ConvTranspose", "Gemm", "MatMul"].includes(node.opType)) continue;
    for (const value of node.inputs) {
      const dims = value?.constant?.dims;
      if (!dims || dims.length < 2 || seen.has(value)) continue;
      seen.add(value);
      const axes = typing.axesOf(value);
      const whole = node.opType.startsWith("Conv") ? [0, 1] : [dims.length - 2, dims.length - 1];
      const reasons = new Map();
      for (const a of whole) {
        const why = axes && typing.system.reason(axes[a]);
        const text = generic(free.get(value)?.has(a) ? "" : (why?.text ?? "no group that can lose channels lies on it"));
        if (dims[a] > 1 && !/is a graph (in|out)put/.test(text)) {
          axesAll += value.constant.size / 2;
          if (text === "") axesFree += value.constant.size / 2;
          else add(wholeAxes, text, value.constant.size / 2, `${value.name}:${a}${why?.node ? ` at ${why.node}` : ""}`);
        }
        if (text !== "") reasons.set(text, `${value.name}:${a}${why?.node ? ` at ${why.node}` : ""}`);
      }
      if (!free.has(value)) add(rest, [...reasons.keys()].join(" | "), value.constant.size, [...reasons.values()].join(" | "));
    }
  }
  return { rest: sorted(rest), wholeAxes: sorted(wholeAxes), axes: { all: axesAll, free: axesFree } };
}

async function pruned() {
  const cpu = process.cpuUsage();
  const started = performance.now();
  const model = await readModel(file, { hash: false });
  const { report } = await prune(model, { passes, target: { macs: 0.5 }, align: 1, latency: false, threads: 1, seed: 0 });
  const { before, after } = report.cost;
  return {
    ...spent(cpu, started),
    macs: after.macs / before.macs,
    parameters: after.parameters / before.parameters,
    equality: report.equality.map(({ maxRel, drift, runs }) => ({ maxRel, drift, runs })),
    loads: report.loads,
    declined: report.steps.flatMap((s) => s.declined ?? []).length,
    notes: report.notes.map((n) => n.code),
  };
}

function failure(error) {
  const { code, name, message, exitCode, hint, details, stack } = error;
  const equality = Array.isArray(details?.equality) ? details.equality : details;
  return {
    error: name,
    code,
    exitCode,
    message,
    hint,
    ...(code === undefined ? { stack: String(stack).split("\n").slice(0, 8) } : {}),
    ...(equality === undefined ? {} : { details: JSON.stringify(equality).slice(0, 600) }),
  };
}

function spent(cpu, started) {
  const { user, system } = process.cpuUsage(cpu);
  return { cpuSeconds: (user + system) / 1e6, seconds: (performance.now() - started) / 1e3, rss: process.resourceUsage().maxRSS * 1024 };
}

/** Names and numbers of one net do not make another reason. */
function generic(text) {
  return text
    .replace(/"[^"]*"/g, "…")
    .replace(/\[[^\]]*\]/g, "[…]")
    .replace(/\b\d[\d,.]*\b/g, "n");
}

function add(map, why, amount, example) {
  const of = map.get(why) ?? { why, amount: 0, count: 0, example };
  of.amount += amount;
  of.count++;
  map.set(why, of);
  return map;
}

function sorted(map) {
  return [...map.values()].sort((a, b) => b.amount - a.amount);
}
