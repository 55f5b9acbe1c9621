/** The examples run as they stand. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { readModel } from "../../src/export/read.js";
import { root, run, withModel } from "./run.js";

const example = (name: string) => join(root, "examples", name);
const FAST = ["--no-latency", "--ep", "cpu"];

describe("examples", () => {
  it("prune.mjs prunes with the library", async () => {
    const cwd = await withModel();
    const { stdout } = await promisify(execFile)(process.execPath, [example("prune.mjs"), "small.onnx", "out.onnx", "random:20"], { cwd });
    expect(stdout).toMatch(/^MACs 249072 -> \d+, parameters 4178 -> \d+\nl1: .*relative error/);
    expect((await readModel(join(cwd, "out.onnx"))).graph.nodes).toHaveLength(7);
  });

  it("own-criterion.mjs ranks channels, with an option of its own", async () => {
    const cwd = await withModel();
    const { code, stdout } = await run(
      ["small.onnx", "out.onnx", "--pass", `${example("own-criterion.mjs")}={"power": 2}`, "--ratio", "0.5", ...FAST],
      cwd,
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/largest-weight +removed 20 of 40 channels/);
    expect((await run(["passes", example("own-criterion.mjs")], cwd)).stdout).toContain("exponent of the score");
  });

  it("own-pass.mjs rewrites, and its claim of equality is checked", async () => {
    const twice = "g (float[N,3] x) => (float[N,3] y) { a = Relu (x) b = Relu (a) y = Neg (b) }";
    const cwd = await withModel(twice, "twice.onnx");
    const { code, stdout } = await run(["twice.onnx", "out.onnx", "--pass", example("own-pass.mjs"), ...FAST], cwd);
    expect(code).toBe(0);
    expect(stdout).toMatch(/ok {4}merge-relus: after against before: relative error 0/);
    expect((await readModel(join(cwd, "out.onnx"))).graph.nodes.map((n) => n.opType)).toEqual(["Relu", "Neg"]);
  });
});
