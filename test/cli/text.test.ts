/** What is drawn: progress, tables, numbers, errors, colours. */
import { describe, expect, it } from "vitest";
import { reportFailure } from "../../src/cli/failure.js";
import { Progress } from "../../src/cli/progress.js";
import { reportText } from "../../src/cli/report-text.js";
import { bytes, scaled, table, whole } from "../../src/cli/table.js";
import { type Channel, channel } from "../../src/cli/terminal.js";
import { ConfigError, internal } from "../../src/errors.js";
import type { RunReport } from "../../src/report.js";

function recorder(isTTY: boolean, environment: NodeJS.ProcessEnv = {}): { text: string; channel: Channel } {
  const made = { text: "", channel: undefined as unknown as Channel };
  made.channel = channel(
    {
      write: (t: string) => {
        made.text += t;
      },
      isTTY,
      columns: 80,
    },
    environment,
  );
  return made;
}

describe("progress", () => {
  it("on a terminal one line is redrawn, with rate and time left, and taken away at the end", () => {
    const screen = recorder(true, { NO_COLOR: "1" });
    let now = 0;
    const progress = new Progress(screen.channel, () => now);
    progress.show({ phase: "accuracy", done: 0, total: 100 });
    now = 1000;
    progress.show({ phase: "accuracy", done: 50, total: 100 });
    progress.clear();
    const drawn = screen.text.split("\r\u001b[K");
    expect(drawn.at(-2)).toBe(`accuracy         ${"█".repeat(12)}${"░".repeat(12)} 50/100 (50/s, 1 s left)`);
    expect(drawn.at(-1)).toBe("");
    expect(screen.text).not.toContain("\n");
  });

  it("elsewhere a line per phase, and one every five seconds", () => {
    const log = recorder(false);
    let now = 0;
    const progress = new Progress(log.channel, () => now);
    for (let done = 0; done <= 100; done++) {
      progress.show({ phase: "accuracy", done, total: 100 });
      now += 100;
    }
    expect(log.text).toBe("accuracy …\naccuracy 50/100 (10/s, 5 s left)\naccuracy 100/100 (10/s)\n");
  });
});

describe("text", () => {
  it("what a pass says of its layers is a table under the steps, with the titles it gives", () => {
    const cost = { macs: 1, parameters: 1, bytes: 1, activationBytes: 1, nodes: 1 };
    const figures = [
      { layer: "conv1", left: "3 × 4", lost: 0.12345, bytes: 1234 },
      { layer: "conv2", left: "10 × 12", lost: 1, bytes: 5 },
    ];
    const report = {
      input: {},
      provider: { name: "cpu", runtime: "", notes: [] },
      steps: [{ pass: "row-column", options: {}, changed: true, milliseconds: 1, notes: [], figures }],
      cost: { before: cost, after: cost },
      equality: [],
      loads: [],
      notes: [],
    } as unknown as RunReport;
    const text = reportText(report, recorder(false).channel);
    expect(text).toContain("  layer  left       lost  bytes\n  conv1  3 × 4    0.1235  1,234\n  conv2  10 × 12       1      5\n");
  });

  it("columns line up, and numbers read well", () => {
    expect(
      table(
        [{ title: "name" }, { title: "n", align: "right" }],
        [
          ["a", "1"],
          ["long", "1,234"],
        ],
      ),
    ).toBe("  name      n\n  a         1\n  long  1,234\n");
    expect([whole(1234567), scaled(40_553_354), scaled(999), bytes(3_439_138), bytes(12)]).toEqual([
      "1,234,567",
      "40.55 M",
      "999",
      "3.28 MiB",
      "12 B",
    ]);
  });

  it("colours are for terminals only, and not where NO_COLOR is set", () => {
    expect(recorder(true).channel.style("red", "x")).toBe("\u001b[31mx\u001b[39m");
    expect(recorder(true, { NO_COLOR: "1" }).channel.style("red", "x")).toBe("x");
    expect(recorder(false).channel.style("red", "x")).toBe("x");
  });

  it("an error shows code, message, the place it does not name itself, and the hint", () => {
    const log = recorder(false);
    const error = new ConfigError("SOME_CODE", 'Expected one thing of "conv1".', { at: { node: "conv1", value: "w" }, hint: "Do this." });
    expect(reportFailure(error, log.channel)).toBe(2);
    expect(log.text).toBe('SOME_CODE  Expected one thing of "conv1".\n           value "w"\n           Do this.\n');
  });

  it("a bug of ours asks for a report and shows its stack", () => {
    const log = recorder(false);
    expect(reportFailure(internal("An invariant broke."), log.channel)).toBe(70);
    expect(log.text).toMatch(/^INTERNAL {2}An invariant broke\.\n {10}This is a bug in onnx-prune\. Please report it[\s\S]* at /);
  });
});
