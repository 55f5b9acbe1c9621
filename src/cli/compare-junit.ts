/** A CompareReport as JUnit XML: one test case per check, as continuous integration reads it. */
import Builder from "fast-xml-builder";
import type { Check, CompareReport } from "../compare/report.js";

/**
 * One `testsuites` with one `testsuite`. A failed check has a `failure` with its sentence, a skipped one `skipped`, any other
 * its sentence in `system-out`.
 * @see https://github.com/testmoapp/junitxml for the elements that parsers agree on
 */
export function junitText(report: CompareReport): string {
  const { checks, milliseconds } = report;
  const count = (status: Check["status"]) => checks.filter((c) => c.status === status).length;
  const suite = `onnx-prune compare ${report.a.path ?? "a"} ${report.b.path ?? "b"}`;
  const counts = attributes({
    name: suite,
    tests: checks.length,
    failures: count("failed"),
    errors: 0,
    skipped: count("skipped"),
    time: (milliseconds / 1000).toFixed(3),
  });
  const document = {
    "?xml": { "@version": "1.0", "@encoding": "UTF-8" },
    testsuites: { ...counts, testsuite: { ...counts, testcase: checks.map((c) => testCase(c)) } },
  };
  const builder = new Builder({
    attributeNamePrefix: "@",
    ignoreAttributes: false,
    format: true,
    indentBy: " ",
    suppressEmptyNode: true,
    suppressBooleanAttributes: false,
  });
  return builder.build(document);
}

function testCase(check: Check): Record<string, unknown> {
  const base = attributes({ classname: `onnx-prune.compare.${check.kind}`, name: check.name, time: "0" });
  switch (check.status) {
    case "failed": {
      const type = check.exitCode === 3 ? "COMPARE_WORSE" : "COMPARE_DIFFERENT";
      return { ...base, failure: { ...attributes({ message: check.message, type }), "#text": allowed(check.message) } };
    }
    case "skipped":
      return { ...base, skipped: attributes({ message: check.message }) };
    default:
      return { ...base, "system-out": allowed(check.message) };
  }
}

function attributes(values: Readonly<Record<string, string | number>>): Record<string, string> {
  // A parser turns line breaks of attributes into spaces anyway.
  return Object.fromEntries(Object.entries(values).map(([name, v]) => [`@${name}`, allowed(String(v)).replace(/\s+/g, " ")]));
}

/** Characters XML 1.0 has no way to write, as JavaScript escapes: `\u0007`. */
function allowed(text: string): string {
  return text.replace(FORBIDDEN, (c) => `\\u${(c.codePointAt(0) as number).toString(16).padStart(4, "0")}`);
}
const FORBIDDEN = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu;
