/** calibrate, merge and --stats as a user has them. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { RunReport } from "../../src/report.js";
import { ended, folder, root, run, start } from "./run.js";

const LENET = join(root, "models/mnist_lenet5.onnx");
const TRAIN = join(root, "models/data/mnist-2000#train");
const TEST = join(root, "models/data/mnist-2000#test[:100]");
const PASSES = ["--pass", "wmi", "--pass", "output-l1"];

describe("calibrate", () => {
  it("in eight shards, merged in any order, writes the bytes of one run", async () => {
    const cwd = folder();
    const args = (out: string) => [
      "calibrate",
      LENET,
      out,
      ...PASSES,
      "--data",
      TRAIN,
      "--calibrate-samples",
      "300",
      "--ep",
      "cpu",
      "--quiet",
    ];
    const whole = await run(args("whole.npz"), cwd);
    expect(whole).toMatchObject({ code: 0, stderr: "" });
    expect(whole.stdout).toMatch(/^whole\.npz: \d+ statistics of \d+ values over 300 samples of 10 classes\n$/);
    const parts = Array.from({ length: 8 }, (_, i) => `part${i + 1}.npz`);
    for (const [i, part] of parts.entries()) {
      const ran = await run([...args(part), "--shard", `${i + 1}/8`], cwd);
      expect(ran).toMatchObject({ code: 0, stdout: expect.stringContaining("merge all shards before use") });
    }
    const bytes = (name: string) => readFileSync(join(cwd, name));
    for (const [n, order] of [
      [0, 1, 2, 3, 4, 5, 6, 7],
      [7, 6, 5, 4, 3, 2, 1, 0],
      [3, 0, 6, 1, 7, 2, 5, 4],
    ].entries()) {
      expect(await run(["merge", `merged${n}.npz`, ...order.map((i) => parts[i] as string)], cwd)).toMatchObject({ code: 0 });
      expect(bytes(`merged${n}.npz`).equals(bytes("whole.npz"))).toBe(true);
    }
    // A merge of some is a part like any other.
    await run(["merge", "left.npz", "part4.npz", "part2.npz"], cwd);
    await run(["merge", "right.npz", "part8.npz", "part1.npz", "part3.npz", "part5.npz", "part7.npz", "part6.npz"], cwd);
    await run(["merge", "both.npz", "right.npz", "left.npz"], cwd);
    expect(bytes("both.npz").equals(bytes("whole.npz"))).toBe(true);

    const twice = await run(["merge", "twice.npz", "left.npz", "part2.npz"], cwd);
    expect(twice).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/STATISTICS_OVERLAP {2}"part2.npz" and those before it have chunk/),
    });
    expect(existsSync(join(cwd, "twice.npz"))).toBe(false);
    const partly = await run([LENET, "out.onnx", "--pass", "wmi", "--macs", "0.7", "--stats", "left.npz", "--no-latency"], cwd);
    expect(partly).toMatchObject({ code: 1, stderr: expect.stringContaining("STATISTICS_INCOMPLETE") });
    const other = await run(
      ["calibrate", LENET, "other.npz", "--pass", "wmi", "--data", TRAIN, "--shard", "1/8", "--ep", "cpu", "--quiet"],
      cwd,
    );
    expect(other.code).toBe(0);
    const mixed = await run(["merge", "mixed.npz", "part1.npz", "other.npz"], cwd);
    expect(mixed).toMatchObject({ code: 1, stderr: expect.stringMatching(/STATISTICS_DIFFER.*is .* in one and .* in "other.npz"/) });
  }, 120_000);

  it("gives --stats, with which a run makes the file it makes when it looks itself", async () => {
    const cwd = folder();
    const samples = ["--calibrate-samples", "200", "--ep", "cpu"];
    await run(["calibrate", LENET, "stats.npz", ...PASSES, "--data", TRAIN, ...samples], cwd);
    const common = ["--pass", "wmi", "--macs", "0.7", "--no-latency", "--ep", "cpu", "--data", TEST];
    const looked = await run(
      [LENET, "looked.onnx", ...common, "--calibrate", TRAIN, "--calibrate-samples", "200", "--json", "looked.json"],
      cwd,
    );
    const given = await run([LENET, "given.onnx", ...common, "--stats", "stats.npz", "--json", "given.json"], cwd);
    expect([looked.code, given.code]).toEqual([0, 0]);
    expect(looked.stdout).toContain("seen on 200 samples");
    expect(readFileSync(join(cwd, "given.onnx")).equals(readFileSync(join(cwd, "looked.onnx")))).toBe(true);
    const report = (name: string) => JSON.parse(readFileSync(join(cwd, name), "utf8")) as RunReport;
    expect(report("given.json").steps[0]?.calibration).toMatchObject({ samples: 200, classes: 10, seconds: 0 });
    // Nothing of --data was set aside: the statistics are there.
    expect(report("given.json").accuracy?.before.samples).toBe(100);
    const lacking = await run([LENET, "x.onnx", "--pass", "dominos", "--macs", "0.7", "--stats", "stats.npz"], cwd);
    expect(lacking).toMatchObject({ code: 2, stderr: expect.stringMatching(/STATISTICS_LACKING.*\n.*Calibrate with the same --pass/) });
  }, 60_000);

  it("goes on from where a killed run was, to the same bytes", async () => {
    const cwd = folder();
    const args = [
      "calibrate",
      LENET,
      "stats.npz",
      ...PASSES,
      "--data",
      TRAIN,
      "--calibrate-samples",
      "300",
      "--ep",
      "cpu",
      "--threads",
      "1",
    ];
    expect((await run(args, cwd)).code).toBe(0);
    const whole = readFileSync(join(cwd, "stats.npz"));
    // The checkpoint of a run that got a third of the way is what its shard is.
    await run([...args, "--shard", "1/3", "--quiet"], cwd);
    writeFileSync(join(cwd, "stats.npz.partial"), readFileSync(join(cwd, "stats.npz")));
    writeFileSync(join(cwd, "stats.npz"), "old");
    const killed = start(args, cwd);
    killed.kill("SIGKILL");
    await ended(killed);
    expect(readFileSync(join(cwd, "stats.npz"), "utf8")).toBe("old");
    const resumed = await run(args, cwd);
    expect(resumed).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/stats\.npz\.partial has \d+ of \d+ chunks of an earlier run/),
    });
    expect(readFileSync(join(cwd, "stats.npz")).equals(whole)).toBe(true);
    expect(existsSync(join(cwd, "stats.npz.partial"))).toBe(false);
  }, 60_000);

  it("says what is wrong: no data, nothing to measure, a shard that is none", async () => {
    const cwd = folder();
    const says = async (...args: string[]) => {
      const { code, stderr } = await run(["calibrate", LENET, "s.npz", ...args], cwd);
      return { code, stderr };
    };
    expect(await says("--pass", "wmi")).toMatchObject({ code: 2, stderr: expect.stringContaining("CALIBRATE_NO_DATA") });
    expect(await says("--pass", "l1", "--data", TRAIN)).toMatchObject({ code: 2, stderr: expect.stringContaining("GATHER_NOTHING") });
    expect(await says("--pass", "wmi", "--data", TRAIN, "--shard", "9/8")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("there is no part 9 of 8"),
    });
    expect(await says("--pass", "wmi", "--data", "random:8")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("CRITERION_NEEDS_LABELS"),
    });
    expect(existsSync(join(cwd, "s.npz"))).toBe(false);
  }, 60_000);
});
