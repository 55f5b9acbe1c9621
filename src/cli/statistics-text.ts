/** A summary of statistics as a few lines. */
import { chunksOf, type Summary } from "../calibrate/statistics/summary.js";
import type { Channel } from "./terminal.js";

export function summaryText(path: string, summary: Summary, out: Channel): string {
  const { identity, gathered } = summary;
  const done = chunksOf(summary).length;
  const taps = new Set(gathered.map((g) => `${g.request.value}:${g.request.axis}`)).size;
  const classes = identity.classes > 0 ? ` of ${identity.classes} classes` : "";
  const part = done < identity.chunks ? `; ${done} of ${identity.chunks} chunks: merge all shards before use` : "";
  return `${out.style("bold", path)}: ${gathered.length} statistics of ${taps} values over ${identity.samples} samples${classes}${part}\n`;
}
