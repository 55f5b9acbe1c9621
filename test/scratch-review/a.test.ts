import { expect, test } from "vitest";
import { findGroups } from "../../src/graph/coupling/groups.js";
import { Kept } from "../../src/graph/coupling/choices.js";
import { parse } from "../../src/graph/parse.js";
import { print } from "../../src/graph/print.js";
import { prove, randomRemoval, relative } from "../support/oracle.js";
import { maskedOf } from "../support/masked.js";
import { run } from "../support/run.js";
import { readFileSync } from "node:fs";

const file = process.env["CASES"] as string;
const cases = readFileSync(file, "utf8").split(/^=== /m).slice(1).map((t) => { const nl = t.indexOf("\n"); return [t.slice(0, nl).trim(), t.slice(nl + 1)] as const; });
for (const [name, text] of cases) {
  test(name, async () => {
    const opset = /opset(\d+)/.exec(name)?.[1] ?? "13";
    let out = "";
    try {
      const batch = Number(/batch(\d+)/.exec(name)?.[1] ?? 2);
      const model = parse(text.trimStart().startsWith("<") ? text : `<ir_version: 8, opset_import: ["" : ${opset}]> ${text}`);
      await run(model, { batch });
      const c = findGroups(model);
      out += `groups: ${c.groups.map((g) => `${g.name} ${g.choices.length}`).join(", ")}\n`;
      let n = 0, worst = 0, worstMask = 0, drift = 0;
      for (let seed = 1; seed <= 8; seed++) {
        const removed = randomRemoval(c, seed, seed % 2 ? 0.5 : undefined);
        if (removed.size === 0) continue;
        n++;
        const p = await prove(c, removed, { seed, batch });
        worst = Math.max(worst, p.maxRel); drift = Math.max(drift, p.drift);
        const kept = new Kept(c.typing.system, c.choices, removed);
        for (const side of ["first", "last"] as const) {
          const m = maskedOf(c.typing, kept, side);
          if (m) worstMask = Math.max(worstMask, relative(await run(m, { seed, batch }), await run(p.oracle, { seed, batch })));
        }
        if (p.maxRel > 1e-5 && process.env["SHOW"]) { out += print(p.sliced); }
      }
      out += `${n} runs, worst ${worst.toExponential(1)}, masked ${worstMask.toExponential(1)}, drift ${drift.toFixed(2)}`;
      if (worst > 1e-5 || worstMask > 1e-5) out += "   <<<<<<<< WRONG";
    } catch (e) { out += `<<<<<<<< CRASH ${(e as Error).message.slice(0, 400)}\n${process.env["SHOW"] ? (e as Error).stack : ""}`; }
    console.log(`--- ${name}\n${out}`);
    expect(1).toBe(1);
  }, 60000);
}
