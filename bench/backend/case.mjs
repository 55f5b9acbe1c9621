// One model of the backend data through codec, IR, inference, coupling and slicer; every finding is a sentence.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { decodeTensor } from "../../dist/graph/codec.js";
import { evaluate } from "../../dist/graph/dim.js";
import { decode, encode, infer, joinChunks, parse, print } from "../../dist/graph/index.js";
import { findEntry } from "../../dist/passes/registry.js";
import { applyPlan } from "../../dist/passes/remove-filters.js";
import { planOnly } from "../../dist/pipeline.js";
import { randomFeeds } from "../../dist/verify/feeds.js";
import { randomised } from "./light.mjs";
import { firstDifference, isTelling, relative, run, runnable } from "./ort.mjs";
import { rebuild } from "./rebuild.mjs";
import { sandwich } from "./sandwich.mjs";

/** max|Δ| over max|reference| of float32 sums of the same terms in another order, through a handful of layers. */
const TOLERANCE = 1e-5;

/** What was found of one file. `wrong` is empty where all is well; `left` says what could not be judged, and why. */
export async function judge(file, { seed = 0 } = {}) {
  const out = { file, wrong: [], left: [], shapes: { values: 0, known: 0 }, prunes: [] };
  const bytes = new Uint8Array(readFileSync(file));
  const guard = async (what, f) => {
    try {
      return await f();
    } catch (error) {
      out.wrong.push(`${what}: ${error.code ?? error.name}: ${String(error.message).split("\n")[0]}`);
      return undefined;
    }
  };
  const model = await guard("decode", () => decode(bytes));
  if (!model) return out;
  await guard("codec", () => {
    if (Buffer.compare(joinChunks(encode(decode(bytes))), bytes) !== 0) out.wrong.push("codec: decode and encode gave other bytes");
  });
  const isLight = basename(file).startsWith("light_");
  const copies = await copiesOf(bytes, out, guard);
  const inputs = await guard("data", () => inputsOf(file, model, seed));
  const first = inputs && (await reference(bytes, inputs, out));
  out.opset = model.opset;
  if (first) {
    const again = await run(runnable(bytes), inputs);
    if (firstDifference(first, again)) out.left.push("values: two runs of the original differ (a random operator)");
    else
      for (const [what, copy] of copies)
        await guard(`run ${what}`, async () => {
          const difference = firstDifference(first, await run(runnable(copy), inputs));
          if (difference) out.wrong.push(`${what}: ${difference}`);
        });
    await guard("inference", () => compareShapes(bytes, inputs, out));
  }
  out.ran = first !== undefined;
  if (isLight) await guard("light", () => pruneAndCompare(randomised(bytes, seed), { ...inputs }, out, "light", 0.5, seed));
  else if (first) {
    for (const weights of [false, true]) {
      const what = weights ? "weights" : "sandwich";
      await guard(what, async () => {
        const wrapped = sandwich(runnable(bytes), inputs, first, { weights, seed });
        if (wrapped) for (const ratio of [0.5, 0.75]) await pruneAndCompare(wrapped, inputs, out, what, ratio, seed);
      });
    }
  }
  return out;
}

/** The model rebuilt from the IR, and parsed from its text: [name, bytes]. */
async function copiesOf(bytes, out, guard) {
  const copies = [];
  const text = await guard("print", () => print(decode(bytes), { tensors: "all", declareTypes: true }));
  await guard("IR", () => {
    const { model: anew, lost } = rebuild(decode(bytes));
    if (lost.length > 0) return void out.left.push(`IR: ${lost.join("; ")}`);
    const copy = joinChunks(encode(anew));
    copies.push(["IR", copy]);
    if (text !== undefined && print(decode(copy), { tensors: "all", declareTypes: true }) !== text)
      out.wrong.push("IR: prints another text");
  });
  await guard("text", () => {
    if (text === undefined || copies.length === 0) return;
    const parsed = parse(text);
    const copy = joinChunks(encode(parsed));
    copies.push(["text", copy]);
    if (print(decode(copy), { tensors: "all", declareTypes: true }) !== text) out.wrong.push("text: prints another text after parsing");
  });
  return copies;
}

/** The first data set beside the file, or random inputs. */
function inputsOf(file, model, seed) {
  const folder = join(dirname(file), "test_data_set_0");
  const fed = model.graph.inputs.filter((v) => !v.initializer);
  const all = {};
  if (existsSync(folder)) {
    const files = readdirSync(folder).filter((f) => f.startsWith("input_"));
    for (const f of files) {
      const at = Number(/\d+/.exec(f)[0]);
      const value = model.graph.inputs[at];
      if (value?.type?.kind !== "tensor") continue;
      all[value.name] = decodeTensor(new Uint8Array(readFileSync(join(folder, f)))).tensor;
    }
    return all;
  }
  return fed.length > 0 ? randomFeeds(model, seed) : {};
}

/** Fetching them ends the process (onnxruntime-node 1.30). */
const FATAL = /^u?int[24]$/;

async function reference(bytes, inputs, out) {
  const fatal = decode(bytes).graph.outputs.find((v) => FATAL.test(v.dtype ?? ""));
  if (fatal) return void out.left.push(`values: ONNX Runtime's JavaScript ends the process at an output of type ${fatal.dtype}`);
  try {
    return await run(runnable(bytes), inputs);
  } catch (error) {
    out.left.push(`values: ${String(error.message).split("\n")[0].slice(0, 160)}`);
    return undefined;
  }
}

/** Every node output of the main graph: what inference says (inputs bound to numbers, and not) against what came out. */
async function compareShapes(bytes, inputs, out) {
  const model = decode(bytes);
  const free = infer(model);
  const value = (name) => model.graph.value(name);
  const bind = {};
  for (const v of model.graph.inputs) if (!v.initializer && inputs[v.name] && v.type?.kind === "tensor") bind[v.name] = inputs[v.name].dims;
  const bound = infer(model, { bind });
  // ONNX Runtime for JavaScript fetches tensors only: what is not known to be one is left out.
  const fetch = model.graph.nodes.flatMap((n) => n.outputs.flatMap((v) => (v && free.type(v)?.kind === "tensor" ? [v.name] : [])));
  if (fetch.length === 0) return;
  const found = await run(runnable(bytes, { all: true, types: (name) => value(name) && free.type(value(name)) }), inputs, fetch);
  const symbols = new Map();
  for (const v of model.graph.inputs)
    free.shape(v)?.forEach((d, a) => {
      if (typeof d === "string" && bind[v.name]) symbols.set(d, bind[v.name][a]);
    });
  for (const [name, t] of Object.entries(found)) {
    out.shapes.values++;
    let isKnown = true;
    for (const [what, types, map] of [
      ["bound", bound, new Map()],
      ["symbolic", free, symbols],
    ]) {
      const type = types.type(value(name));
      const at = `${what} type of "${name}" (${value(name).producer?.opType})`;
      if (type?.kind === "tensor" && type.dtype !== t.type) out.wrong.push(`${at}: ${type.dtype}, the run ${t.type}`);
      const shape = types.shape(value(name));
      const numbers = shape?.map((d) => evaluate(d, map));
      if (!numbers || numbers.some((n) => n === undefined)) isKnown = false;
      if (numbers && (numbers.length !== t.dims.length || numbers.some((n, a) => n !== undefined && n !== t.dims[a])))
        out.wrong.push(`${at}: [${shape}], the run [${t.dims}]`);
      const content = types.content(value(name))?.map((d) => evaluate(d, map));
      if (content?.every((d) => d !== undefined) && t.type !== "string") {
        const most = Number.MAX_SAFE_INTEGER;
        const data = Array.from(t.data, (x) => Math.max(-most, Math.min(most, Number(x))));
        if (data.join() !== content.join()) out.wrong.push(`${at}: content [${content}], the run [${data}]`);
      }
    }
    if (isKnown) out.shapes.known++;
  }
}

/** Plans a random removal, carries it out, and compares with the exact oracle. */
async function pruneAndCompare(model, inputs, out, what, ratio, seed) {
  const entry = await findEntry("random");
  const options = { passes: [], target: { ratio }, scope: "local", align: 1, seed };
  let plan;
  try {
    ({ plan } = await planOnly(model, { entry, options: {} }, options));
  } catch (error) {
    if (!/^BUDGET_/.test(error.code ?? "")) throw error;
    out.prunes.push({ what, ratio, removed: 0, why: error.code });
    return;
  }
  const removal = applyPlan(model, plan);
  const removed = Object.values(plan.remove).reduce((n, k) => n + k.length, 0);
  const bytesOf = (m) => runnable(joinChunks(encode(m)));
  let want;
  try {
    want = await run(bytesOf(removal.oracle()), inputs);
  } catch (error) {
    // A wrapped case that ONNX Runtime refuses before anything is removed proves nothing.
    const original = await run(bytesOf(model), inputs).catch((e) => e);
    if (original instanceof Error)
      return void out.left.push(`${what}: the wrapped case does not run: ${original.message.split("\n")[0].slice(0, 160)}`);
    throw error;
  }
  const got = await run(bytesOf(removal.result), inputs);
  const error = relative(got, want);
  const drift = relative(got, await run(bytesOf(model), inputs));
  out.prunes.push({ what, ratio, removed, groups: Object.keys(plan.remove).length, error, drift, telling: isTelling(want) });
  if (!(error <= TOLERANCE))
    out.wrong.push(
      `${what} at ${ratio}: pruned differs from the oracle by ${error.toExponential(1)} (removed ${JSON.stringify(plan.remove).slice(0, 200)})`,
    );
}
