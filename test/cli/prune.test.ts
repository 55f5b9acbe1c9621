/** Pruning, planning, applying and verifying, as commands. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readModel } from "../../src/export/read.js";
import { writeModel } from "../../src/export/write.js";
import { Tensor } from "../../src/graph/tensor.js";
import type { RunReport } from "../../src/report.js";
import { findValue } from "../support/build.js";
import { root, run, withModel } from "./run.js";

const ANSI = String.fromCharCode(27);
const bytes = (...path: string[]) => readFileSync(join(...path));
/** What all fast runs share: nothing is timed. */
const FAST = ["--no-latency", "--ep", "cpu"];

describe("onnx-prune <in> <out>", () => {
  it("writes a smaller model, its figures on stdout and progress on stderr, without colours outside a terminal", async () => {
    const cwd = await withModel();
    const { code, stdout, stderr } = await run(["small.onnx", "out.onnx", "--pass", "l1", "--ratio", "0.5", "--ep", "cpu"], cwd);
    expect(stderr).toContain("verify");
    expect(code).toBe(0);
    expect(stdout).toMatch(/parameters +4,178 +[\d,]+ +0\.\d{3}×/);
    expect(stdout).toMatch(/latency .* paired rounds; cpu/);
    expect(stdout).toMatch(
      /ok {4}l1: pruned against the original with the removed slices made ineffective: relative error \S+, at most 1\.0e-5 allowed/,
    );
    expect(stdout).toContain("NO_DATA");
    expect(stdout + stderr).not.toContain(ANSI);
    expect(bytes(cwd, "out.onnx").length).toBeLessThan(0.6 * bytes(cwd, "small.onnx").length);
  });

  it("the same command makes the same bytes, and --quiet leaves stderr empty", async () => {
    const cwd = await withModel();
    const args = (out: string) => ["small.onnx", out, "--pass", "random", "--ratio", "0.5", "--seed", "7", "--quiet", ...FAST];
    const first = await run(args("a.onnx"), cwd);
    expect(first).toMatchObject({ code: 0, stderr: "" });
    await run(args("b.onnx"), cwd);
    expect(bytes(cwd, "a.onnx").equals(bytes(cwd, "b.onnx"))).toBe(true);
  });

  it("the output may be the input", async () => {
    const cwd = await withModel();
    const before = bytes(cwd, "small.onnx");
    const { code } = await run(["small.onnx", "small.onnx", "--pass", "l1", "--params", "0.5", "--align", "1", ...FAST], cwd);
    expect(code).toBe(0);
    expect(bytes(cwd, "small.onnx").length).toBeLessThan(before.length);
    expect(readdirSync(cwd)).toEqual(["small.onnx"]);
  });

  it("accuracy before and after is measured on data, and a drop past --max-drop writes nothing", async () => {
    const cwd = await withModel();
    const args = [
      join(root, "models/mnist_lenet5.onnx"),
      "out.onnx",
      "--pass",
      "random",
      "--macs",
      "0.3",
      "--data",
      join(root, "models/data/mnist-2000"),
      "--limit",
      "200",
      ...FAST,
    ];
    const failed = await run([...args, "--max-drop", "1", "--json", "refused.json"], cwd);
    expect(failed.code).toBe(3);
    expect(failed.stderr).toMatch(
      /ACCURACY_DROP {2}Top-1 accuracy fell by [\d.]+ percentage points on 200 samples, more than --max-drop 1 allows\./,
    );
    expect(existsSync(join(cwd, "out.onnx"))).toBe(false);
    // CI wants the figures of a refused run too.
    expect(failed.stdout).toMatch(/top-1 accuracy/);
    expect(JSON.parse(readFileSync(join(cwd, "refused.json"), "utf8")).accuracy.before.samples).toBe(200);
    const done = await run([...args, "--max-drop", "100"], cwd);
    expect(done.code).toBe(0);
    expect(done.stdout).toMatch(/top-1 accuracy +9\d\.\d+ % +\d+\.\d+ % +−\d+\.\d+ points/);
  });

  it("a budget that cannot be met exits with 3 and says what can", async () => {
    const cwd = await withModel();
    const { code, stderr } = await run(["small.onnx", "out.onnx", "--pass", "l1", "--params", "0.01", ...FAST], cwd);
    expect(code).toBe(3);
    expect(stderr).toContain("BUDGET_UNREACHABLE");
    expect(existsSync(join(cwd, "out.onnx"))).toBe(false);
  });

  it("--json replaces the table on stdout, or goes to a file beside it", async () => {
    const cwd = await withModel();
    const args = ["small.onnx", "out.onnx", "--pass", "l1", "--ratio", "0.5", ...FAST];
    const piped = await run([...args, "--json"], cwd);
    const report = JSON.parse(piped.stdout) as RunReport;
    expect(report).toMatchObject({ format: 1, input: { path: "small.onnx" }, output: { path: "out.onnx", files: ["out.onnx"] } });
    expect(report.equality.every((e) => e.ok)).toBe(true);
    expect(report.plans).toHaveLength(1);
    const filed = await run([...args, "--json", "report.json"], cwd);
    expect(filed.stdout).toContain("parameters");
    expect((JSON.parse(bytes(cwd, "report.json").toString()) as RunReport).cost).toEqual(report.cost);
  });

  it("several passes run in order, cleaning steps proven like removals", async () => {
    const cwd = await withModel();
    const { code, stdout } = await run(
      [
        "small.onnx",
        "out.onnx",
        "--pass",
        "fold-constants",
        "--pass",
        'l1={"bias": true}',
        "--pass",
        "remove-dead",
        "--ratio",
        "0.5",
        ...FAST,
      ],
      cwd,
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/fold-constants +nothing to do[\s\S]*l1 +removed[\s\S]*remove-dead +nothing to do/);
  });
});

describe("the verdict", () => {
  it("says how far a removal moves the outputs, and does not for a step that moves nothing by design", async () => {
    const twice =
      "g (float[N,3,8,8] x) => (float[N,4,6,6] y) <float[16,3,3,3] w1 = {...}, float[4,16,1,1] w2 = {...}> { i = Identity (x) c = Conv (i, w1) r = Relu (c) y = Conv (r, w2) }";
    const cwd = await withModel(twice);
    const { stdout } = await run(["small.onnx", "out.onnx", "--pass", "remove-identity", "--pass", "l1", "--ratio", "0.5", ...FAST], cwd);
    const verdict = (pass: string) => stdout.split("\n").find((line) => line.includes(`ok    ${pass}:`));
    expect(verdict("remove-identity")).toMatch(/relative error 0, .*optimisation disabled\)$/);
    expect(verdict("l1")).toMatch(/the removal itself moves outputs by [1-9]/);
  });
});

describe("what a run may write to", () => {
  const L1 = ["--pass", "l1", "--ratio", "0.5", ...FAST];

  // --plan-out naming the input replaced a model by its plan: a rename asks neither for the kind nor the mode of a file.
  it("a plan or report that would replace a model is wrong usage, and every file stays as it was", async () => {
    const cwd = await withModel();
    const before = bytes(cwd, "small.onnx");
    symlinkSync("small.onnx", join(cwd, "link.onnx"));
    const lines = [
      ["small.onnx", "out.onnx", ...L1, "--plan-out", "small.onnx"],
      ["small.onnx", "out.onnx", ...L1, "--plan-out", "./link.onnx"],
      ["small.onnx", "out.onnx", ...L1, "--plan-out", "out.onnx"],
      ["small.onnx", "out.onnx", ...L1, "--plan-out", "a.json", "--json", "./a.json"],
      ["plan", "small.onnx", "small.onnx", "--pass", "l1", "--ratio", "0.5"],
    ];
    for (const line of lines) {
      const { code, stderr } = await run(line, cwd);
      expect(stderr).toMatch(/^OUTPUT_CLASH {2}.* would overwrite .*: both are "/);
      expect(code).toBe(2);
    }
    expect(bytes(cwd, "small.onnx").equals(before)).toBe(true);
    expect(readdirSync(cwd).sort()).toEqual(["link.onnx", "small.onnx"]);
  });

  it("a path that cannot be written is told before any pass runs", async () => {
    const cwd = await withModel();
    const cases: [string[], number, string][] = [
      [
        ["small.onnx", "nowhere/out.onnx", ...L1],
        1,
        'MODEL_UNWRITABLE  Cannot write model "nowhere/out.onnx": there is no folder "nowhere".',
      ],
      [["small.onnx", ".", ...L1], 1, 'MODEL_UNWRITABLE  Cannot write model ".": it is a folder.'],
      [
        ["small.onnx", "out.onnx", ...L1, "--json", "nowhere/r.json"],
        2,
        'OUTPUT_UNWRITABLE  Cannot write "nowhere/r.json": there is no folder',
      ],
    ];
    for (const [line, code, says] of cases) {
      const ran = await run(line, cwd);
      expect(ran.stderr.startsWith(says), ran.stderr).toBe(true);
      expect(ran.code).toBe(code);
    }
    expect(readdirSync(cwd)).toEqual(["small.onnx"]);
  });

  it.skipIf(process.platform === "win32")("a pipe is not replaced by a file", async () => {
    const cwd = await withModel();
    execFileSync("mkfifo", [join(cwd, "pipe")]);
    const { code, stderr } = await run(["small.onnx", "pipe", ...L1], cwd);
    expect(stderr).toContain('Cannot write model "pipe": it is a device or a pipe, not a file.');
    expect(code).toBe(1);
    expect(statSync(join(cwd, "pipe")).isFIFO()).toBe(true);
  });
});

describe("a criterion of the user's own", () => {
  // NaN and missing scores pruned by chance.
  const cases: readonly (readonly [what: string, body: string, says: RegExp])[] = [
    ["with too few scores is refused", "return { scores: new Float64Array(1) }", /^CRITERION_SCORES {2}.* with 16 numbers .* but 1 came\./],
    ["with NaN is refused", "return { scores: new Float64Array(g.choices.length).fill(NaN) }", /that of channel 0 is NaN/],
    ["without scores is refused", "return 5", /none came/],
  ];
  it.each(cases)("%s", async (_, body, says) => {
    const cwd = await withModel();
    const options = `{ safeParse: (data) => ({ success: true, data }) }`;
    const facts = `name: "own", summary: "s", source: "t", options: ${options}, needs: ["weights"], comparable: true`;
    writeFileSync(join(cwd, "own.mjs"), `export default { ${facts}, prepare: () => (g) => { ${body} } };`);
    const { code, stderr } = await run(["small.onnx", "out.onnx", "--pass", "./own.mjs", "--ratio", "0.5", "--quiet", ...FAST], cwd);
    expect(stderr).toMatch(says);
    expect(code).toBe(2);
    expect(existsSync(join(cwd, "out.onnx"))).toBe(false);
  });
});

describe("plan, apply, verify", () => {
  it("plan then apply gives the bytes that one run gives", async () => {
    const cwd = await withModel();
    const how = ["--pass", "l1", "--params", "0.5", "--align", "1"];
    const planned = await run(["plan", "small.onnx", "plan.json", ...how], cwd);
    expect(planned).toMatchObject({ code: 0, stderr: "" });
    expect(planned.stdout).toMatch(/w1:0 +16 +\d+/);
    expect((await run(["apply", "small.onnx", "plan.json", "applied.onnx", ...FAST], cwd)).code).toBe(0);
    expect((await run(["small.onnx", "pruned.onnx", ...how, "--plan-out", "same.json", ...FAST], cwd)).code).toBe(0);
    expect(bytes(cwd, "applied.onnx").equals(bytes(cwd, "pruned.onnx"))).toBe(true);
    expect(bytes(cwd, "same.json").equals(bytes(cwd, "plan.json"))).toBe(true);
    const again = await run(["small.onnx", "again.onnx", "--pass", 'remove-filters={"plan": "plan.json"}', ...FAST], cwd);
    expect(again.code).toBe(0);
    expect(bytes(cwd, "again.onnx").equals(bytes(cwd, "pruned.onnx"))).toBe(true);
  });

  it("verify proves a pruned file, and exits with 4 naming the first value that differs when one weight was touched", async () => {
    const cwd = await withModel();
    await run(["small.onnx", "out.onnx", "--pass", "l1", "--ratio", "0.5", "--plan-out", "plan.json", ...FAST], cwd);
    const proven = await run(["verify", "small.onnx", "out.onnx", "--plan", "plan.json", "--ep", "cpu"], cwd);
    expect(proven.stdout).toContain("ok    out.onnx against small.onnx");
    expect(proven.code).toBe(0);

    const model = await readModel(join(cwd, "out.onnx"));
    const weight = findValue(model, "w2");
    const numbers = Float32Array.from(weight.constant?.numbers() ?? []);
    numbers[0] = (numbers[0] as number) + 0.5;
    model.graph.setConstant(weight, Tensor.fromNumbers("float32", weight.constant?.dims ?? [], numbers));
    await writeModel(join(cwd, "touched.onnx"), model);
    const refuted = await run(["verify", "small.onnx", "touched.onnx", "--plan", "plan.json", "--ep", "cpu"], cwd);
    expect(refuted.code).toBe(4);
    expect(refuted.stdout).toContain("FAIL  touched.onnx");
    expect(refuted.stderr).toMatch(
      /VERIFY_NOT_EQUAL .*The first value that differs is "c2", made by Conv "conv2"[\s\S]*its constant "w2" is not what is kept[\s\S]*was it changed since/,
    );

    const all = ["--checks", "all", "--bisect", "--ep", "cpu", "--json", "report.json"];
    const proof = await run(["verify", "small.onnx", "out.onnx", "--plan", "plan.json", ...all], cwd);
    expect(proof).toMatchObject({ code: 0, stdout: expect.stringMatching(/(ok {4}.*\n.*){6}No value differs\.\n$/) });
    const found = JSON.parse(readFileSync(join(cwd, "report.json"), "utf8"));
    expect(found.checks.map((c: { check: string }) => c.check)).toEqual(["oracle", "values", "masked", "poison", "zero"]);
    const parted = await run(["verify", "small.onnx", "touched.onnx", "--plan", "plan.json", ...all.slice(2, -2)], cwd);
    expect(parted.stdout).toMatch(
      /differs is "c2"\n +made by +Conv "conv2"\n[\s\S]*reads +r1: equal\n +reads +constant w2: relative error/,
    );
    expect((await run(["verify", "small.onnx", "out.onnx", "--plan", "plan.json", "--checks", "magic"], cwd)).code).toBe(2);
  });

  it("verify proves a plan alone, and has nothing to reduce where it passes", async () => {
    const cwd = await withModel();
    await run(["plan", "small.onnx", "plan.json", "--pass", "l1", "--ratio", "0.5"], cwd);
    const proven = await run(["verify", "small.onnx", "--plan", "plan.json", "--ep", "cpu", "--reduce", "tiny.onnx"], cwd);
    expect(proven.stdout).toMatch(/ok {4}what "plan.json" makes against small.onnx/);
    expect(proven.stderr).toContain("Nothing to reduce");
    expect(proven.code).toBe(0);
    expect(existsSync(join(cwd, "tiny.onnx"))).toBe(false);
  });

  // Its merges used to be tried first, and failed on the other model's channels.
  it("a plan with merges says that it is of another model before anything else", async () => {
    const cwd = await withModel();
    const merges = [{ group: "nowhere:0", from: 1, into: 0, scale: 1 }];
    writeFileSync(join(cwd, "plan.json"), JSON.stringify({ format: 1, model: "00", remove: {}, merges }));
    const { code, stderr } = await run(["apply", "small.onnx", "plan.json", "out.onnx", ...FAST], cwd);
    expect(stderr).toContain("PLAN_OTHER_MODEL");
    expect(code).toBe(1);
  });

  it("a plan of another model is refused, and so is a file that is no plan", async () => {
    const cwd = await withModel();
    writeFileSync(join(cwd, "plan.json"), JSON.stringify({ format: 1, model: "00", remove: { "w1:0": [1] } }));
    expect(await run(["apply", "small.onnx", "plan.json", "out.onnx", ...FAST], cwd)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("PLAN_OTHER_MODEL"),
    });
    writeFileSync(join(cwd, "plan.json"), "{");
    expect(await run(["apply", "small.onnx", "plan.json", "out.onnx", ...FAST], cwd)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("PLAN_JSON"),
    });
    expect(await run(["verify", "small.onnx", "small.onnx"], cwd)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("VERIFY_NEEDS_PLAN"),
    });
  });
});
