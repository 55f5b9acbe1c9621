/** Residual blocks on the command line: inspected, removed by name or by a plan, and proven again from the files. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readModel } from "../../src/export/read.js";
import { writeModel } from "../../src/export/write.js";
import { Tensor } from "../../src/graph/tensor.js";
import type { RunReport } from "../../src/report.js";
import { findValue } from "../support/build.js";
import { run, withModel } from "./run.js";

const RESIDUAL = `g (float[N, 3, 8, 8] x) => (float[N, 10] y) <float[8, 3, 3, 3] w0 = {...}, float[8, 8, 3, 3] w1 = {...}, float[8, 8, 3, 3] w2 = {...},
  float[6, 8, 1, 1] w3 = {...}, float[8, 6, 1, 1] w4 = {...}, float[8, 8, 1, 1] w5 = {...}, float[8, 10] w6 = {...}> {
  ["stem"] c0 = Conv <pads = [1, 1, 1, 1]> (x, w0) r0 = Relu (c0)
  ["conv1"] c1 = Conv <pads = [1, 1, 1, 1]> (r0, w1) r1 = Relu (c1) ["conv2"] c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2)
  ["block1"] s1 = Add (r0, c2) o1 = Relu (s1)
  ["conv3"] c3 = Conv (o1, w3) r3 = Relu (c3) ["conv4"] c4 = Conv (r3, w4)
  ["block2"] s2 = Add (o1, c4) o2 = Relu (s2)
  ["conv5"] c5 = Conv (o2, w5) ["block3"] s3 = Add (r0, c5)
  p = GlobalAveragePool (s3) f = Flatten (p) ["classifier"] y = MatMul (f, w6)
}`;
const FAST = ["--no-latency", "--ep", "cpu"];
const PLAN = { format: 1, model: "", blocks: ["block1"], remove: { "w3:0": [1, 2] } };

describe("residual blocks on the command line", () => {
  it("inspect lists them with their share of the work, the block they lie in, and what stays and why", async () => {
    const cwd = await withModel(RESIDUAL, "net.onnx");
    const { stdout } = await run(["inspect", "net.onnx"], cwd);
    expect(stdout.slice(stdout.indexOf("3 residual"), stdout.indexOf("Axes of"))).toMatchInlineSnapshot(`
      "3 residual blocks
        block   nodes    MACs  parameters
        block1      3  75.3 %       1,152  within block3
        block2      3   6.3 %          96  within block3
        block3     11  85.8 %       1,312

      "
    `);
    const { stdout: json } = await run(["inspect", "net.onnx", "--json", "-"], cwd);
    const facts = JSON.parse(json);
    expect(
      facts.blocks.found.map((b: { name: string; nodes: string[]; macs: number; within?: string }) => [b.name, b.nodes, b.macs, b.within]),
    ).toEqual([
      ["block1", ["conv1", "r1", "conv2"], 2 * 64 * 64 * 9, "block3"],
      ["block2", ["conv3", "r3", "conv4"], 2 * 64 * 48, "block3"],
      ["block3", ["conv1", "r1", "conv2", "block1", "o1", "conv3", "r3", "conv4", "block2", "o2", "conv5"], expect.any(Number), undefined],
    ]);
  });

  it("--pass remove-blocks takes them out and reports the proof", async () => {
    const cwd = await withModel(RESIDUAL, "net.onnx");
    const { code, stdout } = await run(["net.onnx", "out.onnx", "--pass", 'remove-blocks={"blocks": ["block2"]}', ...FAST], cwd);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /ok {4}remove-blocks: the original without blocks against the original in which their branches give nothing: relative error 0, .*the removal itself moves outputs by/,
    );
    expect((await readModel(join(cwd, "out.onnx"))).graph.value("w3")).toBeUndefined();
    const unknown = await run(["net.onnx", "out.onnx", "--pass", 'remove-blocks={"blocks": ["blok2"]}', ...FAST], cwd);
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringMatching(/PLAN_UNKNOWN_BLOCK.*\n.*Did you mean "block2"\?/) });
  });

  it("apply carries out a plan with blocks and says what left; verify proves the file, and refutes a touched one", async () => {
    const cwd = await withModel(RESIDUAL, "net.onnx");
    writeFileSync(join(cwd, "plan.json"), JSON.stringify(PLAN));
    const applied = await run(["apply", "net.onnx", "plan.json", "out.onnx", ...FAST, "--json", "report.json"], cwd);
    expect(applied.code).toBe(0);
    expect(applied.stdout).toContain("bypassed 1 residual block; removed 2 of");
    expect(applied.stdout).toContain("BLOCK_REMOVED  block1");
    const report = JSON.parse(readFileSync(join(cwd, "report.json"), "utf8")) as RunReport;
    expect(report.steps[0]?.blocks).toEqual([{ name: "block1", nodes: 3 }]);
    expect(report.equality.map((e) => e.ok)).toEqual([true, true]);

    const all = ["--checks", "all", "--bisect", "--ep", "cpu"];
    const proven = await run(["verify", "net.onnx", "out.onnx", "--plan", "plan.json", ...all], cwd);
    expect(proven).toMatchObject({ code: 0, stdout: expect.stringContaining("in which their branches give nothing") });
    expect(proven.stdout).not.toMatch(/FAIL|not checked/);
    const touched = await readModel(join(cwd, "out.onnx"));
    const bias = findValue(touched, "w5");
    touched.graph.setConstant(bias, Tensor.floats([8, 8, 1, 1], new Array(64).fill(0.25)));
    await writeModel(join(cwd, "touched.onnx"), touched);
    const refuted = await run(["verify", "net.onnx", "touched.onnx", "--plan", "plan.json", ...all], cwd);
    expect(refuted).toMatchObject({ code: 4, stderr: expect.stringContaining("c5") });
    expect((await run(["verify", "net.onnx", "--plan", "plan.json", "--reduce", "tiny.onnx", "--ep", "cpu"], cwd)).stderr).toContain(
      "Nothing to reduce",
    );
  });
});
