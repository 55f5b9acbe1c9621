/** Which variant stands for a row of the comparison, and the tables. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Variants of one row differ in the scope alone: a user could take either, so the best on val stands for all. */
export function rowOf(tool, { variant }) {
  if (tool === "ours") return `ours ${variant}`;
  const [criterion, scope, recovery] = variant.split("/");
  return `${tool} ${criterion}${scope === "everything" ? " (residual stream too)" : ""}${recovery === "none" ? "" : ` + ${recovery}`}`;
}

const budgetMet = ({ macs, times }) => Math.abs(macs * times - 1) <= 0.01;

/** The best on val of those within 1 % of the budget; where none is, the one nearest to it. */
function bestOf(cells) {
  const made = cells.filter((c) => c.val !== undefined);
  const met = made.filter(budgetMet);
  if (met.length > 0) return met.reduce((a, b) => (b.val > a.val ? b : a));
  const off = (c) => Math.abs(c.macs * c.times - 1);
  return made.length > 0 ? made.reduce((a, b) => (off(b) < off(a) ? b : a)) : undefined;
}

/** Of the cells of one tool, the one that stands for the row of `cell`. */
export function winnerOf(cells, cell) {
  const same = (c) => c.net === cell.net && c.times === cell.times && rowOf("", c) === rowOf("", cell);
  return bestOf(cells.filter(same));
}

/** Columns of the summary: the tool, and which of its criteria and recoveries compete for it. */
const COLUMNS = [
  ["Torch-Pruning L1", "torch-pruning", /^l1\/(?!everything).*\/none$/],
  ["BN scale", "torch-pruning", /^bn-scale\/.*\/none$/],
  ["Taylor (labels, gradients)", "torch-pruning", /^taylor\/.*\/none$/],
  ["L1 + BN re-estimated", "torch-pruning", /^l1\/.*\/bn$/],
  ["best criterion + BN re-estimated", "torch-pruning", /\/bn$/],
  ["onnxsim, best criterion", "onnxsim", /\/none$/],
  ["onnxsim + best of its corrections", "onnxsim", /\/(finetune|bias|bn)$/],
];
const OURS = "obs:joint";
/** Ours without a channel less: two thin layers for one. */
const THIN = ["low-rank:least-squares", "low-rank:joint"];
const pc = (x) => (100 * x).toFixed(1);
const signed = (x) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(1)}`;

function summary(results, budgets) {
  const lines = [
    `| net | fewer MACs | before | ours | ours, low-rank, least-squares | ours, low-rank, joint | ${COLUMNS.map(([title]) => title).join(" | ")} |`,
    `| --- | --- | --- | --- | --- | --- | ${COLUMNS.map(() => "---").join(" | ")} |`,
  ];
  for (const [net, list] of Object.entries(budgets)) {
    for (const fewer of list) {
      const of = (tool) => results[tool].filter((c) => c.net === net && c.times === fewer);
      const before = results.ours.find((c) => c.net === net && c.variant === "original");
      const ours = of("ours").find((c) => c.variant === OURS);
      const cells = COLUMNS.map(([, tool, which]) => {
        const best = bestOf(of(tool).filter((c) => which.test(c.variant)));
        if (best?.test === undefined) return "–";
        const at = budgetMet(best) ? "" : ` at ${(1 / best.macs).toFixed(2)}×`;
        return `${pc(best.test)}${ours?.test === undefined ? "" : ` (${signed(100 * (ours.test - best.test))})`}${at}`;
      });
      const top1 = (c) => (c?.test === undefined ? "–" : pc(c.test));
      const thin = THIN.map((variant) => top1(of("ours").find((c) => c.variant === variant)));
      lines.push(`| ${net} | ${fewer}× | ${top1(before)} | **${top1(ours)}** | ${thin.join(" | ")} | ${cells.join(" | ")} |`);
    }
  }
  return lines.join("\n");
}

function everyRow(results) {
  const lines = [
    "| net | fewer MACs | method | variant | MACs kept | parameters kept | val | test | made at |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
  ];
  const notes = new Map();
  for (const [tool, cells] of Object.entries(results)) {
    for (const cell of cells) {
      const { net, times, variant, error, commit } = cell;
      if (error) {
        const text = `${rowOf(tool, cell)}: ${error.replaceAll("\n", " ")}`;
        notes.set(text, [...(notes.get(text) ?? []), `${net} ${times}× ${variant}`]);
      } else if (variant === "original" || winnerOf(cells, cell) === cell) {
        const share = (x) => (100 * x).toFixed(2);
        const test = cell.test === undefined ? "–" : pc(cell.test);
        lines.push(
          `| ${net} | ${times}× | ${rowOf(tool, cell)} | ${variant} | ${share(cell.macs)} | ${share(cell.parameters)} | ${pc(cell.val)} | ${test} | ${commit} |`,
        );
      }
    }
  }
  const said = [...notes].map(([text, where]) => `- ${text} (${where.join("; ")})`);
  return `${lines.join("\n")}\n\n## What could not be made, in the tools' own words\n\n${said.length > 0 ? said.join("\n") : "Nothing."}\n`;
}

/** Writes results/table.md, and the summary into README.md between its two marks. */
export function writeTable(folder, results, budgets) {
  writeFileSync(
    join(folder, "results", "table.md"),
    `# Every row\n\nWritten by run.mjs; ../README.md tells the method. Shares and accuracies in percent.\n\n${everyRow(results)}`,
  );
  const readme = join(folder, "README.md");
  const [start, end] = ["<!-- summary -->", "<!-- end of summary -->"];
  const text = readFileSync(readme, "utf8");
  const [head, rest] = text.split(start);
  const tail = rest.slice(rest.indexOf(end));
  const table = summary(results, budgets);
  writeFileSync(readme, `${head}${start}\n\n${table}\n\n${tail}`);
  console.log(table);
}
