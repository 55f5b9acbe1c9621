/** A CompareReport as a pull-request comment: the verdict, one table, what the figures mean; the rest folded away. */
import type { Check, CompareReport } from "../compare/report.js";
import {
  accuracyText,
  bisectText,
  changedLayers,
  figureRows,
  LAYER_TITLES,
  layerRow,
  OUTPUT_TITLES,
  operatorTexts,
  outputRow,
  worstClassRows,
} from "./compare-figures.js";
import { shortened } from "./table.js";

/** GitHub refuses comments of more than 65,536 characters; others add a line of their own. */
const LONGEST = 60_000;
/** Bounds on what stands before the layers, which take what room is left. */
const ROWS = 25;
const NAME_LENGTH = 80;
const SENTENCE_LENGTH = 600;
const CLASSES_SHOWN = 5;

export function markdownText(report: CompareReport): string {
  const { verdict } = report;
  const parts = [
    `${verdict.ok ? "✅ **Passes.**" : "❌ **Fails.**"} ${prose(verdict.reason)}`,
    `${code(report.a.path ?? "a")} (a) → ${code(report.b.path ?? "b")} (b)`,
    rawTable(["", "a", "b", "b / a"], figureRows(report)),
    ...accuracyParts(report),
    outputsTable(report),
    bisectPart(report),
    details(`Checks: ${checksSummary(report.checks)}`, checksTable(report.checks)),
  ].filter((p) => p !== "");
  const footer = footerText(report);
  const room = LONGEST - [...parts, footer].join("\n\n").length;
  return `${[...parts, layersPart(report, room), footer].filter((p) => p !== "").join("\n\n")}\n`;
}

function accuracyParts({ accuracy }: CompareReport): string[] {
  if (!accuracy) return [];
  const worst = worstClassRows(accuracy, CLASSES_SHOWN);
  return [
    prose(accuracyText(accuracy)),
    worst.length === 0
      ? ""
      : details("Classes that lost most", rawTable(["class", "samples", "right by a", "right by b", "points"], worst)),
  ];
}

function outputsTable({ outputs, runs }: CompareReport): string {
  const compared = outputs.filter((o) => o.numbers);
  if (compared.length === 0 || !runs) return "";
  const rows = compared.slice(0, ROWS).map((o) => outputRow(o));
  const used = OUTPUT_TITLES.map((_, i) => i === 0 || rows.some((r) => r[i] !== ""));
  const kept = (cells: readonly string[]) => cells.filter((_, i) => used[i]);
  const named = rows.map((r) => kept([cellCode(r[0] as string), ...r.slice(1).map(cell)]));
  const more = compared.length > ROWS ? `\n\nand ${compared.length - ROWS} more outputs.` : "";
  return `${rawTable(kept(OUTPUT_TITLES), named)}${more}\n\n${prose(`Outputs of b against those of a on ${runs.data}; ${runs.on}.`)}`;
}

function bisectPart(report: CompareReport): string {
  const text = bisectText(report);
  return text === undefined ? "" : prose(text);
}

function checksSummary(checks: readonly Check[]): string {
  const count = (status: Check["status"]) => checks.filter((c) => c.status === status).length;
  const parts = [`${count("ok")} hold`, `${count("failed")} failed`];
  if (count("reported") > 0) parts.push(`${count("reported")} without a bound`);
  if (count("skipped") > 0) parts.push(`${count("skipped")} skipped`);
  return parts.join(", ");
}

function checksTable(checks: readonly Check[]): string {
  const mark = { ok: "✅", failed: "❌", reported: "–", skipped: "skipped" } as const;
  const first = [...checks].sort((x, y) => Number(y.status === "failed") - Number(x.status === "failed")).slice(0, ROWS);
  const rows = first.map((c) => [mark[c.status], prose(c.message)]);
  const more = checks.length > ROWS ? `\n\nand ${checks.length - ROWS} more.` : "";
  return `${rawTable(["", "found"], rows)}${more}`;
}

/** As many layers as fit in `room` characters. */
function layersPart(report: CompareReport, room: number): string {
  const layers = changedLayers(report);
  const same = report.graph.layers.length - layers.length;
  const operators = operatorTexts(report);
  const nodes =
    operators.length === 0 ? "" : prose(`Nodes: ${operators.slice(0, ROWS).join(", ")}${operators.length > ROWS ? ", …" : ""}.`);
  if (layers.length === 0) return nodes;
  const title = `Layers: ${layers.length} changed, ${same} the same`;
  const rows = layers.map((l) => {
    const [name, ...cells] = layerRow(l);
    return [cellCode(name as string), ...cells.map(cell)];
  });
  // What stands around the rows takes less than this.
  let left = room - nodes.length - 600;
  let count = 0;
  for (const row of rows) {
    left -= rowText(row).length + 1;
    if (left < 0) break;
    count++;
  }
  const more = count < rows.length ? `\n\nand ${rows.length - count} more layers; \`--json\` has all.` : "";
  return details(title, [rawTable(LAYER_TITLES, rows.slice(0, count)) + more, nodes].filter((p) => p !== "").join("\n\n"));
}

function footerText({ tool, provider, latency, notes }: CompareReport): string {
  const facts = [`${tool.name} ${tool.version}`, provider.runtime === "none" ? "" : `${provider.runtime} on ${provider.name}`];
  if (latency) {
    facts.push(`latency: ${latency.rounds} rounds in turns, ratio with its 95 % interval`);
    if (latency.threads !== undefined) facts.push(latency.threads === 1 ? "1 thread" : `${latency.threads} threads`);
  }
  const said = notes.slice(0, 5).map((n) => `${n.about}: ${n.why}`);
  return `<sub>${prose([...facts.filter((f) => f !== ""), ...said].join(" · "), 1500)}</sub>`;
}

function details(title: string, body: string): string {
  return `<details><summary>${prose(title)}</summary>\n\n${body}\n\n</details>`;
}

/** Cells as they are: figures, or text that is escaped already. First column left, the others right, sentences left. */
function rawTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const align = titles.map((t, i) => (i === 0 || t === "found" || t === "operator" || t === "matched by" ? ":--" : "--:"));
  return [titles, align, ...rows].map(rowText).join("\n");
}

function rowText(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

function cell(text: string): string {
  return prose(text, NAME_LENGTH);
}

/**
 * Text as text, in tables too: what Markdown, HTML and GitHub (mentions, issue numbers, links) would read into it is written as
 * character references.
 */
function prose(text: string, length = SENTENCE_LENGTH): string {
  return shortened(oneLine(text), length)
    .replace(/[&<>|*_`[\]~#@\\$]/g, (c) => `&#${c.codePointAt(0)};`)
    .replaceAll("://", "&#58;//")
    .replaceAll("www.", "www&#46;");
}

/** A code span, fenced by more backticks than it holds. */
function code(text: string): string {
  const body = shortened(oneLine(text), NAME_LENGTH);
  const longest = Math.max(0, ...[...body.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  const space = /^`|`$|^ .* $/.test(body) ? " " : "";
  return body === "" ? "–" : `${fence}${space}${body}${space}${fence}`;
}

/** A code span in a table, where a pipe ends the cell even inside of code. */
function cellCode(text: string): string {
  return code(text).replaceAll("|", "\\|");
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu, " ");
}
