/** Figures of a comparison as words and table cells, for the table on stdout and the Markdown alike. */
import type { AccuracyComparison, CompareReport, LayerDifference, OutputDifference, PairedAccuracy } from "../compare/report.js";
import { costRows, times } from "./cost-rows.js";
import { milliseconds, percent, scaled, tiny, whole } from "./table.js";

/** Rows of name, a, b, change: sizes, then latency and accuracy where they were measured. */
export function figureRows({ graph, latency, accuracy }: CompareReport): string[][] {
  const rows = costRows(graph.cost.a, graph.cost.b);
  if (latency) {
    const { ratio } = latency;
    const time = `${times(ratio.median)} [${ratio.low.toFixed(3)}, ${ratio.high.toFixed(3)}]`;
    rows.push([`latency (batch ${latency.batch})`, milliseconds(latency.a.median), milliseconds(latency.b.median), time]);
  }
  if (accuracy) {
    rows.push(accuracyRow("top-1 accuracy", accuracy.top1));
    if (accuracy.top5) rows.push(accuracyRow("top-5 accuracy", accuracy.top5));
  }
  return rows;
}

function accuracyRow(name: string, { a, b, drop }: PairedAccuracy): string[] {
  const share = (e: typeof a) => `${percent(e.value)} [${(100 * e.low).toFixed(1)}, ${(100 * e.high).toFixed(1)}]`;
  return [name, share(a), share(b), `${signed(-drop.value)} points [${signed(-drop.high)}, ${signed(-drop.low)}]`];
}

/** How sure the difference is: who alone was right, and McNemar's test in words. */
export function accuracyText({ top1: { pairs, mcnemar, drop }, data, output }: AccuracyComparison): string {
  const { lost, gained } = pairs;
  const on = `On ${data}, output "${output}"`;
  if (lost + gained === 0) return `${on}: a and b are right on the same samples.`;
  // The least numbers underflow to 0, which no probability of a finite sample is.
  const p = mcnemar.p < 1e-300 ? "p < 1e-300" : `p = ${mcnemar.p < 1e-3 ? tiny(mcnemar.p) : mcnemar.p.toFixed(3)}`;
  const verdict =
    mcnemar.p < 0.001 ? "chance is no explanation" : mcnemar.p < 0.05 ? "chance is an unlikely explanation" : "chance alone may explain it";
  const difference = drop.value === 0 ? "no difference" : `a difference of ${Math.abs(drop.value).toFixed(2)} points`;
  return `${on}: ${difference}. Only a is right on ${whole(lost)}, only b on ${whole(gained)}: McNemar's test (${mcnemar.method}) gives ${p}, ${verdict}.`;
}

/** Rows of class, samples, right by a, right by b, change in points: those that lose most first. */
export function worstClassRows({ classes }: AccuracyComparison, most: number): string[][] {
  const change = (c: (typeof classes)[number]) => (100 * (c.b - c.a)) / c.samples;
  return [...classes]
    .filter((c) => c.b < c.a)
    .sort((x, y) => change(x) - change(y) || x.label - y.label)
    .slice(0, most)
    .map((c) => [String(c.label), whole(c.samples), whole(c.a), whole(c.b), signed(change(c))]);
}

export const OUTPUT_TITLES: readonly string[] = [
  "output",
  "max abs",
  "relative",
  "mean abs",
  "cosine",
  "SNR",
  "same class",
  "KL",
  "not finite",
];

/** Cells under OUTPUT_TITLES; only the name where nothing was compared. */
export function outputRow({ name, numbers: n, scores }: OutputDifference): string[] {
  if (!n) return [name];
  const { equal, different } = n.nonFinite;
  return [
    name,
    short(n.maxAbs),
    short(n.maxRel),
    short(n.meanAbs),
    near(n.cosine),
    Number.isFinite(n.snr) ? `${n.snr.toFixed(1)} dB` : n.snr > 0 ? "∞" : String(n.snr),
    scores ? percent(scores.agreement) : "",
    scores ? short(scores.kl) : "",
    equal + different === 0 ? "" : `${whole(equal)} alike, ${whole(different)} not`,
  ];
}

/** Layers that changed, came or went. */
export function changedLayers({ graph }: CompareReport): LayerDifference[] {
  return graph.layers.filter((l) => l.changed);
}

export const LAYER_TITLES: readonly string[] = ["layer", "operator", "weights", "parameters", "MACs", "matched by"];

export function layerRow(layer: LayerDifference): string[] {
  const { a, b, dims, parameters, macs, matched } = layer;
  const node = (a ?? b) as NonNullable<typeof a>;
  const both = (x: string | undefined, y: string | undefined) => {
    const [before, after] = [a ? (x ?? "–") : "–", b ? (y ?? "–") : "–"];
    return before === after ? before : `${before} → ${after}`;
  };
  return [
    a && b && a.name !== b.name ? `${a.name} → ${b.name}` : node.name,
    node.op,
    both(dims.a && dimsText(dims.a), dims.b && dimsText(dims.b)),
    both(whole(parameters.a), whole(parameters.b)),
    both(scaled(macs.a), scaled(macs.b)),
    matched ?? (a ? "only in a" : "only in b"),
  ];
}

function dimsText(dims: readonly number[]): string {
  return dims.length === 0 ? "scalar" : dims.join("×");
}

/** "Conv 19 → 17" for each operator whose number changed. */
export function operatorTexts({ graph }: CompareReport): string[] {
  return graph.operators.filter((o) => o.a !== o.b).map((o) => `${o.op} ${o.a} → ${o.b}`);
}

/** What --bisect found, or why it found nothing. */
export function bisectText({ bisect }: CompareReport): string | undefined {
  if (!bisect) return undefined;
  const { first, comparable, values, against } = bisect;
  const among = `${whole(comparable)} of ${whole(values)} values can be compared with ${against}`;
  if (!first) return `No value that can be compared differs by more than ${short(bisect.tolerance)}. ${capital(among)}.`;
  const at = first.worst ? `, at [${first.worst.at.join(", ")}] ${first.worst.got} for ${first.worst.want}` : "";
  const error = (x: number | undefined) =>
    x === undefined ? "not comparable" : x === 0 ? "equal" : Number.isFinite(x) ? `differs by ${short(x)}` : "other dims";
  const reads = first.inputs.map((i) => `${i.constant ? "constant " : ""}"${i.value}" (${error(i.maxRel)})`);
  const inputs = reads.length === 0 ? "" : `; it reads ${reads.join(", ")}`;
  const skipped = first.skipped.length === 0 ? "" : `; not compared before it: ${first.skipped.join(", ")}`;
  return `The first value that differs is "${first.value}", made by ${first.op} "${first.node}": relative error ${short(first.maxRel)}${at}${inputs}${skipped}. ${capital(among)}.`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Points with a sign. */
function signed(x: number): string {
  const text = Math.abs(x).toFixed(2);
  return Number(text) === 0 ? text : `${x < 0 ? "−" : "+"}${text}`;
}

/** Three significant digits, small figures with an exponent. */
function short(x: number): string {
  return Math.abs(x) < 1e-3 || !Number.isFinite(x) ? tiny(x) : String(Number(x.toPrecision(3)));
}

/** A cosine, close to 1 as what is missing. */
function near(x: number): string {
  return x < 1 && x > 0.9999 ? `1 − ${tiny(1 - x)}` : x.toFixed(4);
}
