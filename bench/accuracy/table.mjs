// Results of run.mjs as Markdown: a row per model and budget, a column per criterion, top-1 in percent (several seeds: mean ± deviation).
//
//   node bench/accuracy/table.mjs results.json [--max-error]
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

export function tableOf(cells) {
  const passes = [...new Set(cells.map((c) => c.pass))];
  const rows = [...new Set(cells.map((c) => `${c.model}|${c.keep}`))];
  const lines = [`| net | kept | before | ${passes.join(" | ")} |`, `| --- | --- | --- | ${passes.map(() => "---").join(" | ")} |`];
  for (const row of rows) {
    const mine = cells.filter((c) => `${c.model}|${c.keep}` === row);
    const values = passes.map((p) => textOf(mine.filter((c) => c.pass === p)));
    const best = Math.max(...values.map((v) => v.mean ?? -1));
    const before = mine[0].before === undefined ? "–" : (100 * mine[0].before).toFixed(1);
    const shown = values.map((v) => (v.mean !== undefined && v.mean === best ? `**${v.text}**` : v.text));
    lines.push(`| ${mine[0].model.replace(/^(cifar10|mnist|imagenet)_/, "")} | ${mine[0].keep} | ${before} | ${shown.join(" | ")} |`);
  }
  const proven = cells.filter((c) => c.maxRel !== undefined);
  const off = proven
    .map((c) => Math.abs((c.budget === "params" ? c.params : c.macs) / c.keep - 1))
    .filter((_, i) => proven[i].pass !== "remove-blocks");
  return `${lines.join("\n")}\n\n${cells.length} cells, ${cells.length - proven.length} without a result; worst relative error against the oracle ${Math.max(...proven.map((c) => c.maxRel)).toExponential(1)}, worst budget error ${(100 * Math.max(...off)).toFixed(2)} % (blocks are coarser), all optimisation levels alike: ${proven.every((c) => c.loads) ? "yes" : "no"}.`;
}

function textOf(list) {
  if (list.length === 0) return { text: "" };
  const values = list.filter((c) => c.after !== undefined).map((c) => 100 * c.after);
  if (values.length === 0) return { text: list[0].error ? "not reachable" : "equal" };
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  if (values.length === 1) return { mean, text: mean.toFixed(1) };
  const deviation = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (values.length - 1));
  return { mean, text: `${mean.toFixed(1)} ± ${deviation.toFixed(1)}` };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.log(tableOf(JSON.parse(readFileSync(process.argv[2], "utf8")).cells));
}
