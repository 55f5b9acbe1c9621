/** A CompareReport as a person reads it in a terminal: figures, outputs, layers, then the checks. */
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
import { notesText } from "./report-text.js";
import { type Column, shortened, table } from "./table.js";
import type { Channel } from "./terminal.js";

/** Rows of a list; more are counted. --json has them all. */
const SHOWN = 24;
const CLASSES_SHOWN = 5;
const NAME_LENGTH = 48;

export function compareText(report: CompareReport, channel: Channel): string {
  const parts = [
    `${channel.style("bold", `${report.a.path ?? "a"} → ${report.b.path ?? "b"}`)}\n${figuresText(report)}`,
    layersText(report),
    outputsText(report),
    accuracyPart(report),
    bisectPart(report),
    checksText(report.checks, channel),
  ];
  return `${parts.filter((p) => p !== "").join("\n")}${notesText(report.notes, channel)}`;
}

function figuresText(report: CompareReport): string {
  return table([{ title: "" }, { title: "a", align: "right" }, { title: "b", align: "right" }, { title: "b / a" }], figureRows(report));
}

function layersText(report: CompareReport): string {
  const layers = changedLayers(report);
  const operators = operatorTexts(report);
  const nodes = operators.length === 0 ? "" : `  nodes: ${cut(operators).join(", ")}\n`;
  if (layers.length === 0) return `  layers: ${report.graph.layers.length}, all with the same dims\n${nodes}`;
  const rows = layers.slice(0, SHOWN).map((l) => layerRow(l).map((c) => shortened(c, NAME_LENGTH)));
  return `${table(columns(LAYER_TITLES, 2), rows)}${more(layers.length, "layers")}${nodes}`;
}

function outputsText({ outputs, runs }: CompareReport): string {
  const compared = outputs.filter((o) => o.numbers);
  const rows = compared.slice(0, SHOWN).map((o) => outputRow(o).map((c) => shortened(c, NAME_LENGTH)));
  const used = OUTPUT_TITLES.map((_, i) => i === 0 || rows.some((r) => (r[i] ?? "") !== ""));
  const kept = <T>(cells: readonly T[]) => cells.filter((_, i) => used[i]);
  const on = runs ? `  on ${runs.data}; ${runs.on}\n` : "";
  return rows.length === 0 ? "" : `${table(columns(kept(OUTPUT_TITLES), 1), rows.map(kept))}${more(compared.length, "outputs")}${on}`;
}

function accuracyPart({ accuracy }: CompareReport): string {
  if (!accuracy) return "";
  const worst = worstClassRows(accuracy, CLASSES_SHOWN).map(([label, n, a, b, change]) => `${label}: ${change} (${a} → ${b} of ${n})`);
  return `  ${accuracyText(accuracy)}\n${worst.length === 0 ? "" : `  classes that lost most, in points: ${worst.join(", ")}\n`}`;
}

function bisectPart(report: CompareReport): string {
  const text = bisectText(report);
  return text === undefined ? "" : `  ${text}\n`;
}

function checksText(checks: readonly Check[], channel: Channel): string {
  const mark: Record<Check["status"], string> = {
    ok: channel.style("green", "ok  "),
    failed: channel.style("red", "FAIL"),
    reported: "–",
    skipped: channel.style("yellow", "skip"),
  };
  // Outputs that only report have their row above.
  const shown = checks.filter((c) => c.status !== "reported" && (c.status !== "ok" || c.kind !== "output" || checks.length <= SHOWN));
  return table(
    [{ title: "" }, { title: "" }],
    shown.map((c) => [mark[c.status], c.message]),
  );
}

function columns(titles: readonly string[], left: number): Column[] {
  return titles.map((title, i) => ({ title, align: i < left || title === "matched by" ? "left" : "right" }));
}

function more(count: number, what: string): string {
  return count > SHOWN ? `  and ${count - SHOWN} more ${what}; --json has all\n` : "";
}

function cut(texts: readonly string[]): string[] {
  return texts.length > SHOWN ? [...texts.slice(0, SHOWN), `and ${texts.length - SHOWN} more`] : [...texts];
}
