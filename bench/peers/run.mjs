// onnx-prune beside Torch-Pruning and onnxsim: the same weights, the same MACs, no fine-tuning, one judge.
//
//   npm run build && node bench/peers/run.mjs --shared <folder with models/ and data/> --python <venv>/bin/python
//       [--nets resnet56,resnet20,vgg_slim,simplenet_slim] [--only ours,torch-pruning,onnxsim] [--variants <regular expression>] [--again] [--work <folder for ONNX files>]
//       [--ours obs:joint,obs:least-squares,l1:none] [--samples 2000] [--seed 0] [--threads 2]
//
// README.md beside this file tells the method. A run that was stopped goes on with the cells that results/ lacks; --again makes those of the
// tools and nets named anew, and leaves all others; --nets '' writes the tables alone. Only the peers need Python.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cost, findEntry, modelInputs, openRunner, openSamples, prune, readModel, writeModel } from "../../dist/index.js";
import { evaluate } from "../../dist/verify/accuracy.js";
import { rowOf, winnerOf, writeTable } from "./table.mjs";

const { values: flags } = parseArgs({
  options: {
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    python: { type: "string", default: "python3" },
    nets: { type: "string", default: "resnet56,resnet20,vgg_slim,simplenet_slim" },
    // A regular expression: of all variants, these now.
    variants: { type: "string", default: "" },
    only: { type: "string", default: "ours,torch-pruning,onnxsim" },
    again: { type: "boolean", default: false },
    work: { type: "string", default: join(tmpdir(), "onnx-prune-peers") },
    ours: {
      type: "string",
      default: "obs:joint,obs:least-squares,obs:none,low-rank:joint,low-rank:least-squares,l1:least-squares,l1:none",
    },
    samples: { type: "string", default: "2000" },
    seed: { type: "string", default: "0" },
    threads: { type: "string", default: "2" },
  },
});
if (!flags.shared) throw new Error("Give --shared, the folder with the models and data sets.");

/** How many times fewer MACs. */
const BUDGETS = {
  resnet56: [2.0, 2.27, 3.0],
  resnet20: [1.65],
  vgg_slim: [2.16],
  simplenet_slim: [2.16],
  // Of these the peers have no cells.
  alexnet_slim: [2.16],
  mlperf_resnet8: [1.3],
};
/** Variants are chosen by so many images of val; test is looked at once per row. */
const CHOOSE_BY = 1000;
const times = (...lists) =>
  lists.reduce((all, list) => all.flatMap((a) => list.map((b) => [...a, b])), [[]]).map((parts) => parts.join("/"));
const VARIANTS = {
  ours: () => flags.ours.split(","),
  "torch-pruning": (residual) => [
    // Inside residual blocks all layers are of one shape, so that isomorphic is global there.
    ...times(["l1", "bn-scale", "taylor"], ["local", "global", ...(residual ? [] : ["isomorphic"]), "progressive"], ["none", "bn"]),
    ...(residual ? ["l1/everything/none"] : []),
  ],
  onnxsim: () => [
    ...times(["l1"], ["local", "global"], ["none"]),
    ...times(["l2", "wanda"], ["local", "global"], ["none", "finetune", "bias", "bn"]),
  ],
};
const SCRIPTS = { "torch-pruning": "torch_pruning_peer.py", onnxsim: "onnxsim_peer.py" };

const here = fileURLToPath(new URL(".", import.meta.url));
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
const threads = Number(flags.threads);
const tools = flags.only.split(",");
const nets = flags.nets.split(",").filter(Boolean);
const fileOf = (tool) => join(here, "results", `${tool}.json`);
const results = Object.fromEntries(
  Object.keys(VARIANTS).map((tool) => [tool, existsSync(fileOf(tool)) ? JSON.parse(readFileSync(fileOf(tool), "utf8")) : []]),
);
const save = (tool) => writeFileSync(fileOf(tool), `${JSON.stringify(results[tool], undefined, 2)}\n`);
const put = (tool, cell) => {
  const { net, times: fewer, variant } = cell;
  const at = results[tool].findIndex((c) => c.net === net && c.times === fewer && c.variant === variant);
  // A cell to which its test is added stays the work of the commit that made it.
  const made = { commit, ...cell };
  if (at < 0) results[tool].push(made);
  else results[tool][at] = made;
  save(tool);
  console.log(tool, JSON.stringify(made));
};
if (flags.again) for (const tool of tools) results[tool] = results[tool].filter((c) => !nets.includes(c.net));

const runner = await openRunner("cpu", { threads });
for (const net of nets) {
  const file = join(flags.shared, "models", `cifar10_${net}.onnx`);
  const model = await readModel(file);
  const whole = cost(model);
  const open = (split, more = {}) =>
    openSamples(join(flags.shared, `data/cifar10/${split}.bin.gz`), {
      ...modelInputs(model),
      preprocess: file.replace(/\.onnx$/, ".json"),
      ...more,
    });
  const choose = await open("val", { limit: CHOOSE_BY });
  const test = await open("test");
  const calibration = await open("train", { limit: Number(flags.samples), balanced: true, seed: Number(flags.seed) });
  const out = join(flags.work, net);
  mkdirSync(out, { recursive: true });

  /** Top-1 of an ONNX file, in [0, 1]. */
  const top1 = async (path, samples) => {
    const session = await runner.load({ path });
    try {
      return (await evaluate(session, samples, { batch: 50 })).top1;
    } finally {
      await session.release();
    }
  };
  /** What is said of every file, whoever made it. */
  const judged = async (path) => {
    const { macs, parameters } = cost(await readModel(path));
    return { macs: macs / whole.macs, parameters: parameters / whole.parameters, val: await top1(path, choose) };
  };
  const pathOf = (tool, { times: fewer, variant }) => join(out, tool, `${variant.replaceAll(/[/:@+]/g, "-")}-${1 / fewer}.onnx`);

  const cellOf = (tool, fewer, variant) => results[tool].find((c) => c.net === net && c.times === fewer && c.variant === variant);
  const original = results.ours.find((c) => c.net === net && c.variant === "original");
  if (!original && tools.includes("ours"))
    put("ours", {
      net,
      times: 1,
      variant: "original",
      macs: 1,
      parameters: 1,
      val: await top1(file, choose),
      test: await top1(file, test),
    });

  for (const tool of tools) {
    mkdirSync(join(out, tool), { recursive: true });
    const residual = model.graph.nodes.some((n) => n.opType === "Add");
    const asked = BUDGETS[net].flatMap((fewer) =>
      VARIANTS[tool](residual)
        .filter((v) => flags.variants === "" || new RegExp(flags.variants).test(v))
        .map((variant) => ({ fewer, variant })),
    );
    const wanted = asked.filter(({ fewer, variant }) => {
      const cell = cellOf(tool, fewer, variant);
      if (!cell) return true;
      const winner = winnerOf(results[tool], cell);
      return winner === cell && cell.test === undefined && !existsSync(pathOf(tool, cell));
    });
    if (tool === "ours") for (const { fewer, variant } of wanted) await ours(fewer, variant);
    else if (wanted.length > 0) await peer(tool, wanted, asked);
    for (const fewer of BUDGETS[net]) await report(tool, fewer, asked);
  }

  /** Looks at test for those that stand for their rows, once all that was asked at a budget is there. */
  async function report(tool, fewer, asked) {
    const cells = asked.filter((a) => a.fewer === fewer).map(({ variant }) => cellOf(tool, fewer, variant));
    if (cells.includes(undefined)) return;
    for (const cell of cells) {
      if (cell.test !== undefined || winnerOf(results[tool], cell) !== cell) continue;
      put(tool, { ...cell, test: await top1(pathOf(tool, cell), test) });
    }
  }

  async function ours(fewer, variant) {
    // Criterion or pass, recovery, steps; obs@0.8+low-rank: the first to 0.8 of the MACs, then the second to the budget.
    const [names, reconstruct, steps = "1"] = variant.split(":");
    const [pass, then] = names.split("+");
    const [name, share = 1 / fewer] = pass.split("@");
    const cell = { net, times: fewer, variant };
    const path = pathOf("ours", cell);
    const start = performance.now();
    const { model: small } = await prune(model, {
      passes: [name, ...(then ? [{ entry: await findEntry(then), options: { macs: 1 / fewer } }] : [])],
      target: { macs: Number(share) },
      align: 1,
      seed: Number(flags.seed),
      ep: "cpu",
      threads,
      latency: false,
      calibration,
      reconstruct,
      steps: Number(steps),
    });
    const seconds = Math.round((performance.now() - start) / 100) / 10;
    await writeModel(path, small);
    put("ours", { ...cell, ...(await judged(path)), seconds });
  }

  /** One process for all of a net's variants; its lines are judged while it goes on. */
  async function peer(tool, wanted, asked) {
    const job = join(out, tool, "job.json");
    writeFileSync(
      job,
      JSON.stringify({
        model: file,
        modelBn: file.replace(/\.onnx$/, "_bn.onnx"),
        calibration: await dump(),
        out: join(out, tool),
        want: wanted.map(({ fewer, variant }) => ({ keep: 1 / fewer, variant })),
      }),
    );
    const child = spawn(flags.python, [join(here, SCRIPTS[tool]), job], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise((resolve, reject) => child.on("error", reject).on("close", resolve));
    for await (const line of createInterface({ input: child.stdout })) {
      if (!line.startsWith("{")) continue;
      const { keep, file: made, macs, ...said } = JSON.parse(line);
      if (keep === undefined) {
        console.log(tool, net, line);
        continue;
      }
      const { fewer } = wanted.find((w) => 1 / w.fewer === keep);
      const cell = { net, times: fewer, ...said };
      const figures = made ? await judged(made) : {};
      if (made && Math.abs(figures.macs - macs) > 1e-3)
        throw new Error(`${made}: the peer's script counts ${macs} of the MACs, cost ${figures.macs}.`);
      put(tool, { ...cell, ...figures });
      await report(tool, fewer, asked);
    }
    const code = await ended;
    if (code !== 0) throw new Error(`${SCRIPTS[tool]} ended with ${code}.`);
  }

  /** The calibration samples as the peers read them: float32 inputs, preprocessed, and int32 labels. */
  async function dump() {
    const at = { inputs: join(out, "inputs.f32"), labels: join(out, "labels.i32"), shape: [calibration.count, 3, 32, 32] };
    const [tensor] = Object.values(await calibration.batch(0, calibration.count));
    writeFileSync(at.inputs, tensor.bytes);
    writeFileSync(at.labels, new Uint8Array(calibration.labels.buffer));
    return at;
  }
}
await runner.close();
writeTable(here, results, Object.fromEntries(Object.keys(BUDGETS).map((net) => [net, BUDGETS[net]])));
console.log(`Rows: ${[...new Set(Object.entries(results).flatMap(([tool, cells]) => cells.map((c) => rowOf(tool, c))))].join(", ")}`);
