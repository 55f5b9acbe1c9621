/** onnx-prune compare as a build uses it: exit codes, and the files it leaves. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { XMLParser, XMLValidator } from "fast-xml-parser";
import { describe, expect, it } from "vitest";
import type { CompareReport } from "../../src/compare/report.js";
import { writeModel } from "../../src/export/write.js";
import { modelOf } from "../support/build.js";
import { folder, root, run, SMALL, withModel } from "./run.js";

const FAST = ["--no-latency", "--ep", "cpu", "--threads", "1", "--quiet"];
const ARTEFACTS = ["--markdown", "c.md", "--junit", "out.xml", "--json", "r.json"];

interface JUnit {
  readonly testsuites: {
    readonly testsuite: {
      readonly tests: number;
      readonly failures: number;
      readonly skipped: number;
      readonly testcase: readonly { readonly name: string; readonly classname: string; readonly failure?: { readonly message: string } }[];
    };
  };
}

function junit(path: string): JUnit["testsuites"]["testsuite"] {
  const text = readFileSync(path, "utf8");
  expect(XMLValidator.validate(text)).toBe(true);
  const parser = new XMLParser({ ignoreAttributes: false, attributeNamePrefix: "", parseAttributeValue: true });
  return (parser.parse(text) as JUnit).testsuites.testsuite;
}

function report(path: string): CompareReport {
  return JSON.parse(readFileSync(path, "utf8")) as CompareReport;
}

/** Four scores of one-hot rows; with a −1 the class at that place is never found. */
async function classifiers(): Promise<string> {
  const cwd = folder();
  const text = (last: number) =>
    `g (float[N,4] x) => (float[N,4] y) <float[4,4] w = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, ${last}}> { ["fc"] y = MatMul (x, w) }`;
  await writeModel(join(cwd, "a.onnx"), modelOf(text(1)));
  await writeModel(join(cwd, "b.onnx"), modelOf(text(-1)));
  // .npy, version 1.0: 12 one-hot rows, and their classes.
  const npy = (descr: string, shape: string, data: Uint8Array) => {
    const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117);
    return Buffer.concat([Buffer.from("\x93NUMPY\x01\x00\x76\x00", "latin1"), Buffer.from(`${header}\n`), data]);
  };
  const rows = Float32Array.from({ length: 48 }, (_, i) => Number(Math.floor(i / 4) % 4 === i % 4));
  const labels = BigInt64Array.from({ length: 12 }, (_, i) => BigInt(i % 4));
  writeFileSync(join(cwd, "x.npy"), npy("<f4", "(12, 4)", new Uint8Array(rows.buffer)));
  writeFileSync(join(cwd, "labels.npy"), npy("<i8", "(12,)", new Uint8Array(labels.buffer)));
  return cwd;
}
const DATA = ["--data", "x=x.npy", "--data", "labels=labels.npy"];

describe("the exit code of compare", () => {
  it("is 0 for a graph and itself, with all that was asked for", async () => {
    const cwd = await withModel();
    const { code, stdout, stderr } = await run(["compare", "small.onnx", "small.onnx", ...FAST, ...ARTEFACTS], cwd);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain('ok    Output "y" agrees within 1.0e-5 (relative error 0).');
    expect(report(join(cwd, "r.json"))).toMatchObject({ format: 1, kind: "compare", verdict: { ok: true, exitCode: 0 } });
    expect(junit(join(cwd, "out.xml"))).toMatchObject({ tests: 6, failures: 0, skipped: 0 });
    expect(readFileSync(join(cwd, "c.md"), "utf8")).toMatch(/^✅ \*\*Passes\.\*\* Output "y" agrees/);
  });

  it("is 4 where outputs differ, with the first value that does", async () => {
    const cwd = await classifiers();
    const { code, stdout, stderr } = await run(["compare", "a.onnx", "b.onnx", "--bisect", ...FAST, ...ARTEFACTS], cwd);
    expect(code).toBe(4);
    expect(stderr).toContain('COMPARE_DIFFERENT  b is not what it must be: Output "y" differs: relative error');
    expect(stdout).toContain('The first value that differs is "y", made by MatMul "fc"');
    expect(stdout).toContain('constant "w" (differs by 2)');
    const [failed] = junit(join(cwd, "out.xml")).testcase.filter((c) => c.failure);
    expect(failed).toMatchObject({ name: 'output "y"', classname: "onnx-prune.compare.output", failure: { type: "COMPARE_DIFFERENT" } });
    expect(readFileSync(join(cwd, "c.md"), "utf8")).toContain("❌ **Fails.**");
    expect(report(join(cwd, "r.json")).bisect?.first?.node).toBe("fc");
  });

  it("is 4 for another interface", async () => {
    const cwd = await withModel();
    await writeModel(
      join(cwd, "other.onnx"),
      modelOf(SMALL.replace("float[N,10] y", "float[N,10] scores").replaceAll(" y = ", " scores = ")),
    );
    const { code, stderr } = await run(["compare", "small.onnx", "other.onnx", ...FAST, ...ARTEFACTS], cwd);
    expect(code).toBe(4);
    expect(stderr).toContain('output "y" is missing in b; output "scores" is only in b');
    // Nothing is left to run: neither b nor the output that a alone has.
    expect(junit(join(cwd, "out.xml")).skipped).toBe(2);
  });

  it("is 3 past --max-drop and 0 within it, on counts that are known", async () => {
    const cwd = await classifiers();
    const past = await run(["compare", "a.onnx", "b.onnx", ...DATA, "--max-drop", "24", ...FAST, ...ARTEFACTS], cwd);
    expect(past.stderr).toContain(
      "COMPARE_WORSE  b is not as good as it must be: Top-1 accuracy fell by 25.00 points, from 100.00 % to 75.00 %",
    );
    expect(past.code).toBe(3);
    const { accuracy } = report(join(cwd, "r.json"));
    expect(accuracy?.top1).toMatchObject({
      pairs: { both: 9, lost: 3, gained: 0, neither: 0 },
      mcnemar: { p: expect.closeTo(0.25, 12), method: "exact" },
    });
    const markdown = readFileSync(join(cwd, "c.md"), "utf8");
    expect(markdown).toContain("Only a is right on 3, only b on 0: McNemar's test (exact) gives p = 0.250, chance alone may explain it.");
    expect((await run(["compare", "a.onnx", "b.onnx", ...DATA, "--max-drop", "25", ...FAST], cwd)).code).toBe(0);
    expect((await run(["compare", "a.onnx", "b.onnx", ...DATA, "--max-drop", "25", "--confident", ...FAST], cwd)).code).toBe(3);
  });

  it("is 2 for wrong usage and 1 for a file that is none; nothing is written then", async () => {
    const cwd = await withModel();
    writeFileSync(join(cwd, "text.onnx"), "not a model");
    const codeOf = async (...args: string[]) => (await run(["compare", ...args, ...FAST, "--junit", "out.xml"], cwd)).code;
    expect(await codeOf("small.onnx")).toBe(2);
    expect(await codeOf("small.onnx", "small.onnx", "--max-drop", "1")).toBe(2);
    expect(await codeOf("small.onnx", "small.onnx", "--plan", "p.json")).toBe(2);
    expect(await codeOf("small.onnx", "small.onnx", "--tolerance", "little")).toBe(2);
    expect(await codeOf("small.onnx", "small.onnx", "--markdown", "out.xml")).toBe(2);
    expect(await codeOf("small.onnx", "small.onnx", "--markdown", "small.onnx")).toBe(2);
    expect(await codeOf("small.onnx", "text.onnx")).toBe(1);
    expect(await codeOf("small.onnx", "none.onnx")).toBe(1);
    expect(existsSync(join(cwd, "out.xml"))).toBe(false);
  });

  it("of a pruned network: 4 as it is, 3 past --max-drop, 0 where it may differ; its layers are listed", { timeout: 120_000 }, async () => {
    const cwd = folder();
    const original = join(root, "models/cifar10_resnet20.onnx");
    const data = ["--data", join(root, "models/data/cifar10-50.bin.gz")];
    const pruning = ["--pass", "l1", "--macs", "0.8", "--plan-out", "plan.json"];
    expect((await run([original, "pruned.onnx", ...pruning, ...FAST], cwd)).code).toBe(0);
    expect((await run(["compare", original, "pruned.onnx", ...FAST], cwd)).code).toBe(4);
    const worse = await run(
      ["compare", original, "pruned.onnx", ...data, "--max-drop", "0.5", ...FAST, "--markdown", "c.md", "--json"],
      cwd,
    );
    expect(worse.code).toBe(3);
    const found = JSON.parse(worse.stdout) as CompareReport;
    const changed = found.graph.layers.filter((l) => l.changed);
    expect(changed.length).toBeGreaterThan(3);
    const layers = readFileSync(join(cwd, "c.md"), "utf8").split("<summary>Layers")[1] ?? "";
    expect(layers.split("\n").filter((l) => l.startsWith("| `"))).toHaveLength(changed.length);
    const loose = ["--max-drop", "100", "--max-macs", "0.82", "--bisect", "--plan", "plan.json"];
    const { code, stdout } = await run(["compare", original, "pruned.onnx", ...data, ...loose, ...FAST], cwd);
    expect(code).toBe(0);
    expect(stdout).toContain("No value that can be compared differs");
  });
});
