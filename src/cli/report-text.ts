/** A RunReport as a person reads it: one table, then verdicts, then what was left alone and why. */
import type { Note } from "../graph/note.js";
import type { Recovery, RunReport, StepReport } from "../report.js";
import { costRows } from "./cost-rows.js";
import { milliseconds, percent, shortened, table, tiny, whole } from "./table.js";
import type { Channel } from "./terminal.js";

export function reportText(report: RunReport, channel: Channel): string {
  const title = report.output ? `${report.input.path ?? "model"} → ${report.output.path}` : (report.input.path ?? "");
  return `${channel.style("bold", title)}\n${figuresText(report)}\n${stepsText(report)}${report.steps.map(figuresOf).join("")}\n${verdictText(report, channel)}${notesText(allNotes(report), channel)}`;
}

function figuresText({ cost, latency, accuracy }: RunReport): string {
  const rows = costRows(cost.before, cost.after);
  if (latency) {
    const { speedup } = latency;
    rows.push([
      "latency",
      milliseconds(latency.before.median),
      milliseconds(latency.after.median),
      `${speedup.median.toFixed(2)}× as fast [${speedup.low.toFixed(2)}, ${speedup.high.toFixed(2)}] over ${latency.rounds} paired rounds; ${latency.provider}, ${latency.threads === undefined ? "" : `${latency.threads} threads, `}batch ${latency.batch}`,
    ]);
  }
  for (const [name, key] of [
    ["top-1 accuracy", "top1"],
    ["top-5 accuracy", "top5"],
  ] as const) {
    const a = accuracy?.before[key];
    const b = accuracy?.after[key];
    if (a !== undefined && b !== undefined)
      rows.push([name, percent(a), percent(b), `${b < a ? "−" : "+"}${(100 * Math.abs(b - a)).toFixed(2)} points`]);
  }
  if (accuracy) rows.push(["same answer", "", percent(accuracy.agreement.top1), `cosine ${accuracy.agreement.cosine.toFixed(4)}`]);
  const text = table([{ title: "" }, { title: "before", align: "right" }, { title: "after", align: "right" }, { title: "" }], rows);
  return accuracy ? `${text}  on ${accuracy.data}\n` : text;
}

function stepsText({ steps }: RunReport): string {
  return table(
    [{ title: "step" }, { title: "result" }, { title: "time", align: "right" }],
    steps.map((s) => [s.pass, stepResult(s), milliseconds(s.milliseconds)]),
  );
}

/** What a pass says of its layers, as a table. */
function figuresOf({ figures = [] }: StepReport): string {
  const titles = Object.keys(figures[0] ?? {});
  if (titles.length === 0) return "";
  const isNumber = (t: string) => typeof figures[0]?.[t] === "number";
  const show = (x: string | number | undefined) =>
    typeof x !== "number" ? shortened(x ?? "", 40) : Number.isInteger(x) ? whole(x) : x.toFixed(4);
  const columns = titles.map((title) => ({ title, ...(isNumber(title) ? { align: "right" as const } : {}) }));
  return `\n${table(
    columns,
    figures.map((row) => titles.map((t) => show(row[t]))),
  )}`;
}

function stepResult(step: StepReport): string {
  if (step.recovery) return recoveryResult(step.recovery);
  const blocks = step.blocks ?? [];
  const bypassed = blocks.length > 0 ? `bypassed ${blocks.length} residual ${blocks.length === 1 ? "block" : "blocks"}; ` : "";
  if (step.gates) return gatesResult(step.gates);
  if (!step.groups) return step.changed ? "changed" : "nothing to do";
  const cut = step.groups.filter((g) => g.kept < g.of);
  const removed = cut.reduce((n, g) => n + g.of - g.kept, 0);
  const all = step.groups.reduce((n, g) => n + g.of, 0);
  const budget = step.budget ? `; ${step.budget.measure}: asked ${step.budget.asked}, reached ${step.budget.reached.toFixed(4)}` : "";
  const seen = step.calibration ? `; seen on ${whole(step.calibration.samples)} samples` : "";
  return `${bypassed}removed ${whole(removed)} of ${whole(all)} channels, in ${cut.length} of ${step.groups.length} groups${budget}${seen}`;
}

function recoveryResult({ steps, metric, before, after, heldOut, fitted }: Recovery): string {
  const kept = steps.filter((s) => s.kept);
  if (kept.length === 0) return "nothing was better on held-out samples";
  const layers = new Set(kept.flatMap((s) => s.layers.filter((l) => l.changed).map((l) => l.node))).size;
  const distance = metric === "kl" ? "divergence" : "1 − cosine";
  return `${kept.map((s) => s.method).join(", ")}: ${layers} layers corrected on ${whole(fitted)} samples; ${distance} of the outputs on ${whole(heldOut)} held-out ones ${before.toPrecision(3)} → ${after.toPrecision(3)}`;
}

function gatesResult(gates: NonNullable<StepReport["gates"]>): string {
  if (gates.length === 0) return "no gate pays on held-out samples";
  const count = (kind: "static" | "diagonal" | "se") => gates.filter((g) => g.kinds.includes(kind)).length;
  const mean = (key: "before" | "after") => tiny(gates.reduce((sum, g) => sum + g.heldOut[key], 0) / gates.length);
  const add = (key: "parameters" | "macs") => gates.reduce((sum, g) => sum + g[key], 0);
  const kinds = `factors folded at ${count("static")}, diagonal gates at ${count("diagonal")}, squeeze-and-excitation at ${count("se")} maps`;
  return `${kinds}; held-out loss ${mean("before")} → ${mean("after")}; +${whole(add("parameters"))} parameters, +${whole(add("macs"))} MACs`;
}

function verdictText({ equality, loads, provider }: RunReport, channel: Channel): string {
  const good = channel.style("green", "ok  ");
  const bad = channel.style("red", "FAIL");
  const rows = equality.map((e) => {
    // Cleaning steps move nothing by design; a removal that moves nothing has not been tested by its check.
    const drift = !e.changes || e.drift === undefined ? "" : `; the removal itself moves outputs by ${tiny(e.drift)}`;
    return [
      e.ok ? good : bad,
      `${e.what}: relative error ${tiny(e.maxRel)}, at most ${tiny(e.tolerance)} allowed (${e.runs} inputs, ${e.on}${drift})`,
    ];
  });
  if (loads.length > 0) {
    const worst = Math.max(...loads.map((l) => l.maxRel));
    rows.push([
      loads.every((l) => l.ok) ? good : bad,
      `${provider.runtime} loads and runs it at optimisation ${loads.map((l) => l.level).join(", ")}: largest difference between these ${tiny(worst)}`,
    ]);
  }
  return rows.length === 0 ? "" : table([{ title: "" }, { title: "" }], rows);
}

/** Notes of the whole run: of the run itself, of each step, and what each step declined. */
export function allNotes(report: RunReport): Note[] {
  return [
    ...report.notes,
    ...report.steps.flatMap((s) => s.notes),
    ...report.steps.flatMap((s) => (s.blocks ?? []).map((b) => ({ code: "BLOCK_REMOVED", about: b.name, why: BLOCK_REMOVED }))),
    ...report.steps.flatMap((s) => (s.declined ?? []).map((d) => ({ code: "DECLINED", about: d.group, why: d.why }))),
  ];
}

const BLOCK_REMOVED = "its entry goes on alone, and what only its branch needed is gone";

/** Names in one line of a note; more are counted. */
const NAMES_SHOWN = 3;

/** Notes that say the same of several things are one line. */
export function notesText(notes: readonly Note[], channel: Channel): string {
  if (notes.length === 0) return "";
  const same = new Map<string, { code: string; why: string; about: string[] }>();
  for (const n of notes) {
    const key = `${n.code} ${n.why}`;
    const of = same.get(key);
    if (!of) same.set(key, { code: n.code, why: n.why, about: [n.about] });
    else if (!of.about.includes(n.about)) of.about.push(n.about);
  }
  const lines = [...same.values()].map(({ code, why, about }) => {
    const names = about
      .slice(0, NAMES_SHOWN)
      .map((a) => shortened(a, 60))
      .join(", ");
    return `  ${channel.style("dim", code)}  ${names}${about.length > NAMES_SHOWN ? ` and ${about.length - NAMES_SHOWN} more` : ""}: ${why}\n`;
  });
  return `\nNotes\n${lines.join("")}`;
}
