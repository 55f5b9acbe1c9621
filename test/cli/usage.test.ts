/** Wrong usage, configuration, help: what a person meets before anything runs. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseCommandLine } from "../../src/cli/command-line.js";
import { reportFailure } from "../../src/cli/failure.js";
import { channel } from "../../src/cli/terminal.js";
import { folder, run, withModel } from "./run.js";

const FAST = ["--no-latency", "--ep", "cpu"];

describe("wrong usage exits with 2 and suggests what was meant", () => {
  const cases: readonly (readonly [what: string, line: string, says: string])[] = [
    [
      "a command of a later version",
      "quantise a.onnx b.onnx",
      'COMMAND_UNKNOWN  There is no command "quantise"; this version has inspect, calibrate, merge, plan, apply, tune, verify, compare, passes',
    ],
    ["a misspelt command", "inspet a.onnx", 'Did you mean "onnx-prune inspect"?'],
    ["no arguments", "", "USAGE  onnx-prune takes <in.onnx> <out.onnx>, but nothing came."],
    ["too many arguments", "a.onnx b.onnx c.onnx --pass l1", "but 3 came"],
    ["a misspelt flag", "a.onnx b.onnx --parms 0.5", "FLAG_UNKNOWN  onnx-prune has no flag --parms.\n              Did you mean --params?"],
    ["a flag of another command", "inspect a.onnx --macs 0.5", "It is a flag of onnx-prune, onnx-prune plan."],
    ["a value that is no number", "a.onnx b.onnx --pass l1 --macs half", 'FLAG_VALUE  --macs: expected number, but "half" came.'],
    ["a fraction above 1", "a.onnx b.onnx --pass l1 --macs 50", "--macs: expected number to be <=1, but 50 came."],
    [
      "an unknown provider",
      "a.onnx b.onnx --pass l1 --macs 0.5 --ep cdua",
      'expected one of "auto"|"cuda"|"cpu"|"webgpu"|"wasm", but "cdua" came',
    ],
    ["a device that is no number", "a.onnx b.onnx --pass l1 --macs 0.5 --device gpu", '--device: expected number, but "gpu" came.'],
    ["a flag without its value", "a.onnx b.onnx --pass l1 --macs", "FLAG_VALUE  --macs needs a value: fraction."],
    ["a flag given twice", "a.onnx b.onnx --pass l1 --seed 1 --seed 2", "FLAG_TWICE"],
    ["no pass", "a.onnx b.onnx --macs 0.5", "PASS_NONE"],
    ["an unknown pass", "a.onnx b.onnx --pass fold-batchnorm", 'Did you mean "fold-batch-norm"?'],
    ["pass options that are not JSON", "a.onnx b.onnx --pass l1={bias} --macs 0.5", "PASS_JSON"],
    ["an unknown pass option", 'a.onnx b.onnx --pass l1={"norm":2} --macs 0.5', "PASS_OPTIONS"],
    ["a criterion without a budget", "a.onnx b.onnx --pass l1", "TARGET_COUNT"],
    ["two budgets", "a.onnx b.onnx --pass l1 --macs 0.5 --params 0.5", "TARGET_COUNT"],
    ["a budget that nothing looks at", "a.onnx b.onnx --pass remove-dead --macs 0.5", "TARGET_UNUSED"],
    ["a plan of a rewrite", "plan a.onnx p.json --pass remove-dead --pass l1 --macs 0.5", "PLAN_ONE_PASS"],
    ["an unknown pass to explain", "passes simlar", 'Did you mean "similar"?'],
  ];
  // In this process: only the last step, from error to exit code, is the child's (process.test.ts).
  it.each(cases)("%s", async (_, line, says) => {
    const text = { out: "", err: "" };
    const terminal = { out: channel({ write: (t) => (text.out += t) }, {}), err: channel({ write: (t) => (text.err += t) }, {}) };
    let code = 0;
    try {
      const parsed = await parseCommandLine(
        line.split(" ").filter((w) => w !== ""),
        100,
      );
      if (parsed.kind === "run") await parsed.command.run({ ...parsed, terminal, signal: new AbortController().signal });
    } catch (error) {
      code = reportFailure(error, terminal.err);
    }
    expect(text.err).toContain(says);
    expect({ code, out: text.out }).toEqual({ code: 2, out: "" });
  });

  it("a device of a provider that has no choice of them", async () => {
    const cwd = await withModel();
    const ran = await run(["small.onnx", "out.onnx", "--pass", "l1", "--ratio", "0.5", "--ep", "cpu", "--device", "1"], cwd);
    expect(ran).toMatchObject({ code: 2, stderr: expect.stringContaining("DEVICE_WITHOUT_CUDA  A device can be chosen for CUDA only") });
  });

  it("a drop that nothing measures", async () => {
    const cwd = await withModel();
    const ran = await run(["small.onnx", "out.onnx", "--pass", "l1", "--ratio", "0.5", "--max-drop", "1"], cwd);
    expect(ran).toMatchObject({ code: 2, stderr: expect.stringContaining("MAX_DROP_NEEDS_DATA") });
  });

  it("an input shape that is not of this model", async () => {
    const cwd = await withModel();
    const shape = (text: string) => run(["inspect", "small.onnx", "--input-shape", text], cwd);
    expect(await shape("z=1x3x8x8")).toMatchObject({ code: 2, stderr: expect.stringContaining('has no input "z"; it has x') });
    expect(await shape("x=1x3x9x8")).toMatchObject({ code: 2, stderr: expect.stringContaining('declares "x" as [N, 3, 8, 8]') });
    expect(await shape("8x8")).toMatchObject({ code: 2, stderr: expect.stringContaining("expected input=NxCxHxW") });
  });
});

describe("what cannot be read exits with 1", () => {
  it("a missing model, and a file that is none", async () => {
    const cwd = folder();
    expect(await run(["inspect", "none.onnx"], cwd)).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining('MODEL_UNREADABLE  Cannot read model "none.onnx"'),
    });
    writeFileSync(join(cwd, "text.onnx"), "not a model");
    expect(await run(["inspect", "text.onnx"], cwd)).toMatchObject({ code: 1, stdout: "" });
  });
});

describe("configuration", () => {
  const config = (json: unknown, cwd: string, name = "onnx-prune.config.json") => writeFileSync(join(cwd, name), JSON.stringify(json));

  it("onnx-prune.config.json of the working directory fills in what the command line leaves open", async () => {
    const cwd = await withModel();
    config({ pass: [{ name: "l1", options: { bias: true } }], ratio: 0.5, "no-latency": true, ep: "cpu" }, cwd);
    const { code, stdout } = await run(["small.onnx", "out.onnx"], cwd);
    expect(code).toBe(0);
    expect(stdout).toContain("ratio: asked 0.5");
  });

  it("a flag wins over the configuration, a budget over any other budget", async () => {
    const cwd = await withModel();
    config({ pass: "l1", ratio: 0.5, align: 1 }, cwd, "mine.json");
    const { code, stdout } = await run(["small.onnx", "out.onnx", "--config", "mine.json", "--params", "0.6", ...FAST], cwd);
    expect(code).toBe(0);
    expect(stdout).toContain("params: asked 0.6");
  });

  it("a key that is no flag is refused with the nearest one, and so is a value of the wrong type", async () => {
    const cwd = await withModel();
    config({ excluded: ["conv1"] }, cwd);
    expect(await run(["inspect", "small.onnx"], cwd)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/CONFIG_UNKNOWN[\s\S]*Did you mean "exclude"\?/),
    });
    config({ macs: "half" }, cwd);
    expect(await run(["inspect", "small.onnx"], cwd)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('CONFIG_VALUE  "macs" in "onnx-prune.config.json": expected number'),
    });
  });
});

describe("help", () => {
  it("every command explains itself on stdout, and needs no files for it", async () => {
    expect(await run(["--help"], folder())).toMatchObject({
      code: 0,
      stderr: "",
      stdout: expect.stringContaining("onnx-prune <in.onnx> <out.onnx> [flags]"),
    });
    for (const command of [[], ["inspect"], ["plan"], ["apply"], ["verify"], ["compare"], ["passes"]]) {
      const parsed = await parseCommandLine([...command, "--help"], 100);
      const text = parsed.kind === "text" ? parsed.text : "";
      expect(text).toContain(["onnx-prune", ...command].join(" "));
      expect(text.split("\n").filter((line) => line.length > 115)).toEqual([]);
    }
  });

  it("the version is that of the package", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
    expect((await run(["--version"], folder())).stdout).toBe(`${version}\n`);
  });

  it("passes lists everything; with a name, the options of one", async () => {
    const all = await run(["passes"], folder());
    expect(all.stdout).toMatch(/l1 .*norm[\s\S]*remove-dead/);
    const one = await run(["passes", "l1"], folder());
    expect(one.stdout).toMatch(/needs +weights[\s\S]*bias +boolean +false +count the folded bias/);
    const json = JSON.parse((await run(["passes", "l1", "--json"], folder())).stdout) as { options: unknown[] };
    expect(json.options).toEqual([
      { name: "bias", type: "boolean", fallback: "false", describe: "count the folded bias as one more weight of the filter" },
    ]);
  });
});
