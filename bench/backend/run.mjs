// The test data of ONNX's own backends through codec, IR, inference, coupling and slicer, judged by ONNX Runtime.
//
//   npm run build && node bench/backend/run.mjs --data <folder> [--data <folder>] [--only <text>] [--json <file>] [--jobs 2]
//
// A folder is onnx/backend/test/data of the onnx wheel, or one that generate.py filled. See README.md.
import { fork } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

if (process.argv[2] === "--judge") {
  const { judge } = await import("./case.mjs");
  process.on("message", async (file) => process.send(await judge(file)));
} else await main();

async function main() {
  const { values: flags } = parseArgs({
    options: {
      data: { type: "string", multiple: true },
      only: { type: "string", default: "" },
      json: { type: "string" },
      jobs: { type: "string", default: "2" },
    },
  });
  if (!flags.data) throw new Error("Give --data, the folder onnx/backend/test/data of the onnx wheel (see README.md).");
  const files = flags.data.flatMap(modelsIn).filter((f) => f.includes(flags.only));
  const results = await judgeAll(files, Number(flags.jobs));
  if (flags.json) writeFileSync(flags.json, `${JSON.stringify(results, undefined, 1)}\n`);
  report(results);
  process.exitCode = results.some((r) => r.wrong.length > 0) ? 1 : 0;
}

function modelsIn(folder) {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((f) => f.endsWith(".onnx"))
    .sort()
    .map((f) => join(folder, f));
}

/** Each file in a child that may die: what kills it is a finding of that file, and the next file gets a new child. */
async function judgeAll(files, jobs) {
  const results = new Array(files.length);
  let next = 0;
  const work = async () => {
    let child;
    while (next < files.length) {
      const at = next++;
      child ??= fork(fileURLToPath(import.meta.url), ["--judge"], {
        stdio: ["ignore", "ignore", "ignore", "ipc"],
        env: { ...process.env, ALLOW_RELEASED_ONNX_OPSET_ONLY: "0" },
      });
      results[at] = await ask(child, files[at]);
      if (results[at].died) child = undefined;
      if (at % 100 === 99) process.stderr.write(`${at + 1} of ${files.length}\n`);
    }
    child?.kill();
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return results;
}

function ask(child, file) {
  return new Promise((resolve) => {
    const end = (result) => {
      clearTimeout(timer);
      child.removeAllListeners();
      resolve(result);
    };
    const nothing = { file, left: [], shapes: { values: 0, known: 0 }, prunes: [], died: true };
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      end({ ...nothing, wrong: ["took more than 300 s"] });
    }, 300_000);
    child.once("message", end);
    child.once("exit", (code, signal) => end({ ...nothing, wrong: [`the process died (${signal ?? code})`] }));
    child.send(file);
  });
}

function report(results) {
  const kinds = new Map();
  for (const r of results) {
    const kind = basename(r.file) === "model.onnx" ? basename(dirname(dirname(r.file))) : basename(dirname(r.file));
    kinds.set(kind, [...(kinds.get(kind) ?? []), r]);
  }
  const count = (list, f) => list.filter(f).length;
  const wrong = (r, ...whats) => r.wrong.some((w) => whats.some((what) => w.startsWith(what)));
  console.log(
    "| data | models | byte-identical | rebuilt from IR and text alike | run by ONNX Runtime | values equal | values whose shape is known | removals ≡ oracle | of these telling | models with one |",
  );
  console.log("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
  for (const [kind, list] of kinds) {
    const ran = list.filter((r) => r.ran);
    const prunes = list.flatMap((r) => r.prunes.filter((p) => p.removed > 0));
    const shapes = list.reduce((s, r) => ({ values: s.values + r.shapes.values, known: s.known + r.shapes.known }), {
      values: 0,
      known: 0,
    });
    console.log(
      `| ${[
        kind,
        list.length,
        count(list, (r) => !wrong(r, "decode", "codec", "the process", "took")),
        count(list, (r) => !wrong(r, "decode", "print", "IR", "text", "the process", "took") && !r.left.some((l) => l.startsWith("IR"))),
        ran.length,
        count(ran, (r) => !wrong(r, "run", "IR", "text")),
        `${shapes.known} of ${shapes.values}`,
        `${count(prunes, (p) => p.error <= 1e-5)} of ${prunes.length}`,
        count(prunes, (p) => p.error <= 1e-5 && p.telling && p.drift > 0),
        count(list, (r) => r.prunes.some((p) => p.removed > 0)),
      ].join(" | ")} |`,
    );
  }
  for (const key of ["wrong", "left"]) {
    const grouped = new Map();
    for (const r of results)
      for (const w of r[key]) {
        const name = basename(r.file) === "model.onnx" ? basename(dirname(r.file)) : basename(r.file);
        const text =
          key === "wrong"
            ? w
            : w
                .replace(/"[^"]*"/g, "…")
                .replace(/'[^']*'/g, "…")
                .replace(/\d+/g, "#");
        grouped.set(text, [...(grouped.get(text) ?? []), name]);
      }
    console.log(`\n${key === "wrong" ? "Wrong" : "Not judged, and why"}: ${results.filter((r) => r[key].length > 0).length} models`);
    for (const [text, names] of [...grouped].sort((a, b) => b[1].length - a[1].length))
      console.log(`  ${names.length} × ${text}\n      ${names.slice(0, 6).join(", ")}${names.length > 6 ? ", …" : ""}`);
  }
}
