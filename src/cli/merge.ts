/** onnx-prune merge <stats.npz> <part.npz>…: adds up the statistics of shards. */
import { mergeSummaries } from "../calibrate/statistics/summary.js";
import { readStatisticsFile, writeStatisticsFile } from "../export/statistics.js";
import type { Command } from "./command.js";
import { checkOutputs } from "./outputs.js";
import { summaryText } from "./statistics-text.js";

export const mergeCommand: Command = {
  name: "merge",
  takes: ["<stats.npz>", "<part.npz>…"],
  summary: "adds up the statistics of shards: whatever their order, the result is the same file, byte for byte",
  flags: ["quiet"],
  examples: [["onnx-prune merge stats.npz part1.npz part2.npz part3.npz", "a part may itself be a merge of some"]],

  async run({ positionals, terminal }) {
    const [output, ...parts] = positionals as [string, ...string[]];
    checkOutputs(
      parts.map((path) => ({ what: "<part.npz>", path })),
      undefined,
      [{ what: "<stats.npz>", path: output }],
    );
    const [first, ...others] = parts as [string, ...string[]];
    let summary = await readStatisticsFile(first);
    for (const path of others) summary = mergeSummaries(summary, await readStatisticsFile(path), path);
    await writeStatisticsFile(output, summary);
    terminal.out.write(summaryText(output, summary, terminal.out));
  },
};
