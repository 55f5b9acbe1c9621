/** Reports of a comparison as text, Markdown and JUnit, with names that mean to break them. */
import { XMLParser, XMLValidator } from "fast-xml-parser";
import { describe, expect, it } from "vitest";
import { accuracyText } from "../../src/cli/compare-figures.js";
import { junitText } from "../../src/cli/compare-junit.js";
import { markdownText } from "../../src/cli/compare-markdown.js";
import { compareText } from "../../src/cli/compare-text.js";
import { channel } from "../../src/cli/terminal.js";
import { compare } from "../../src/compare/compare.js";
import { pairedAccuracy } from "../../src/compare/paired-accuracy.js";
import type { CompareReport, LayerDifference } from "../../src/compare/report.js";
import { modelOf } from "../support/build.js";

const NASTY = "a|b`c``d<script>alert(1)</script> @team #12 *x* \u0007\u202e\ud800 &amp; ]]> https://example.org";

const model = modelOf("g (float[N,3] x) => (float[N,2] y) <float[3,2] w = {...}> { y = MatMul (x, w) }");
const base = await compare(model, model, { ep: "cpu", threads: 1, latency: false });

function layer(name: string): LayerDifference {
  const node = { name, op: "MatMul" };
  const figures = { a: 10, b: 5 };
  return { a: node, b: node, matched: "name", dims: { a: [5, 2], b: [5, 1] }, macs: figures, parameters: figures, changed: true };
}

function withNames(name: string, layers: number): CompareReport {
  const [output] = base.outputs;
  return {
    ...base,
    a: { path: name },
    b: { path: name },
    verdict: { ok: false, exitCode: 4, reason: `Output "${name}" differs.` },
    checks: base.checks.map((c) => ({ ...c, name, message: `Output "${name}" differs.`, status: "failed", exitCode: 4 })),
    outputs: Array.from({ length: 40 }, () => ({ ...(output as NonNullable<typeof output>), name })),
    graph: { ...base.graph, layers: Array.from({ length: layers }, (_, i) => layer(`${name}${i}`)) },
  };
}

/** Lines of tables, each with its cells. */
function tables(markdown: string): string[][] {
  const rows = markdown.split("\n").filter((l) => l.startsWith("|"));
  // A pipe ends a cell unless a backslash stands before it, inside of code too (GitHub Flavored Markdown, section 4.10).
  return rows.map((r) => r.split(/(?<!\\)\|/).slice(1, -1));
}

describe("Markdown", () => {
  it("keeps the columns of every table, whatever the names", () => {
    const text = markdownText(withNames(NASTY, 3));
    let width = 0;
    for (const cells of tables(text)) {
      if (cells.every((c) => /^ :?-+:? $/.test(c))) continue;
      if (["", "output", "layer", "class"].includes((cells[0] as string).trim())) width = cells.length;
      expect(cells, cells.join("|")).toHaveLength(width);
    }
  });

  it("has no HTML, mention, issue number or link of a name outside of code", () => {
    const text = markdownText(withNames(NASTY, 3));
    const outside = text
      .replace(/(`+)(?!`).*?(?<!`)\1(?!`)/g, "CODE")
      .replaceAll(/<\/?(details|summary|sub)>/g, "")
      .replaceAll(/&#\d+;/g, "REFERENCE");
    expect(outside).not.toMatch(/<|@team|#12|\*x\*|https:\/\//);
    for (const hidden of ["\u0007", "\u202e", "\ud800"]) expect(text).not.toContain(hidden);
  });

  it("fits a comment: layers are cut, and counted", () => {
    const text = markdownText(withNames(NASTY.repeat(5), 5000));
    expect(text.length).toBeLessThan(65_536);
    const shown =
      text
        .split("<summary>Layers")[1]
        ?.split("\n")
        .filter((l) => /\| MatMul \|/.test(l)).length ?? 0;
    expect(shown).toBeGreaterThan(20);
    expect(text).toContain(`and ${5000 - shown} more layers`);
    expect(text.trimEnd()).toMatch(/<\/sub>$/);
  });

  it("starts with the verdict and folds away what is long", () => {
    const text = markdownText(base);
    expect(text.split("\n")[0]).toBe('✅ **Passes.** Output "y" agrees within 1.0e-5 (relative error 0).');
    expect(text.match(/<details>/g)?.length).toBe(text.match(/<\/details>/g)?.length);
    expect(tables(text)[0]).toEqual(["  ", " a ", " b ", " b / a "]);
  });
});

describe("words for McNemar's test", () => {
  const words = (both: number, lost: number, gained: number, neither: number) => {
    const top1 = pairedAccuracy({ both, lost, gained, neither });
    return accuracyText({ data: "d", output: "y", samples: both + lost + gained + neither, top1, top5: undefined, classes: [] });
  };

  it("say what p says, and that no p is 0", () => {
    expect(words(10, 0, 0, 2)).toBe('On d, output "y": a and b are right on the same samples.');
    expect(words(10, 3, 0, 2)).toContain("(exact) gives p = 0.250, chance alone may explain it.");
    expect(words(10, 10, 1, 2)).toContain("(exact) gives p = 0.012, chance is an unlikely explanation.");
    expect(words(10, 60, 10, 2)).toMatch(/\(mid-p\) gives p = \d\.\de-\d+, chance is no explanation\.$/);
    expect(words(10, 1700, 50, 2)).toContain("gives p < 1e-300, chance is no explanation.");
  });
});

describe("JUnit", () => {
  const parsed = (report: CompareReport) => {
    const text = junitText(report);
    expect(XMLValidator.validate(text)).toBe(true);
    return { text, suite: new XMLParser({ ignoreAttributes: false, attributeNamePrefix: "" }).parse(text).testsuites.testsuite };
  };

  it("has a test case per check, and counts them", () => {
    const { suite } = parsed(base);
    expect(suite).toMatchObject({ tests: String(base.checks.length), failures: "0", errors: "0", skipped: "0" });
    expect(suite.testcase.map((c: { name: string }) => c.name)).toEqual(base.checks.map((c) => c.name));
  });

  it("carries any name: markup is escaped, characters that XML has not are spelled out", () => {
    const { text, suite } = parsed(withNames(NASTY, 1));
    for (const hidden of ["\u0007", "\ud800"]) expect(text).not.toContain(hidden);
    expect(suite.failures).toBe(String(base.checks.length));
    const [first] = suite.testcase as { failure: { message: string; "#text": string } }[];
    expect(first?.failure.message).toContain("<script>alert(1)</script>");
    expect(first?.failure.message).toContain("\\u0007");
    expect(first?.failure.message).toContain("\\ud800");
  });

  it("one check alone is a test case too", () => {
    const { suite } = parsed({ ...base, checks: base.checks.slice(0, 1) });
    expect(suite.testcase).toMatchObject({ name: "interface" });
  });
});

describe("the table", () => {
  it("shows what changed and counts what it leaves out", () => {
    const text = compareText(withNames("layer", 60), channel({ write: () => undefined }, {}));
    expect(text).toContain("and 36 more layers; --json has all");
    expect(text).toContain("and 16 more outputs");
    expect(text).toMatch(/layer0 +MatMul +5×2 → 5×1 +10 → 5 +10 → 5 +name\n/);
  });
});
