/** inspect: what is in a model and why something stays. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { run, withModel } from "./run.js";

describe("onnx-prune inspect", () => {
  it("shows the interface, the cost, the groups, and what is kept whole by reason", async () => {
    const { code, stdout } = await run(["inspect", "small.onnx"], await withModel());
    expect(code).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "small.onnx
        inputs            x float[N,3,8,8]
        outputs           y float[N,10]
        opsets            ai.onnx 13
        operators         2 Conv, 2 Relu, 1 Flatten, 1 Gemm, 1 GlobalAveragePool
        parameters        4,178
        MACs              249.1 k (batch 1)
        bytes             16.71 KiB
        peak activations  12.00 KiB

      2 groups of channels
        group  channels  made by  read by
        w1:0         16        1        1
        w2:0         24        1        1
      100.0 % of 4,128 parameters of convolutions and matrix products lie on a group that can lose channels.

      Axes of weights that are kept whole
        axes  kept whole because     for example
           4  it is a kernel extent  w1:2 at conv1
           1  "x" is a graph input   w1:1
           1  "y" is a graph output  w3:1
      "
    `);
  });

  it("explains every axis of a node", async () => {
    const { stdout } = await run(["inspect", "small.onnx", "--why", "conv2"], await withModel());
    expect(stdout).toMatchInlineSnapshot(`
      "Conv "conv2"
                     axis  extent  is
        output Y c2     0       N  x:0(N)!   kept whole: "x" is a graph input
                        1      24  w2:0(24)  prunable: w2:0
                        2       8  c2(8)!    kept whole: Conv slides a window over it (node "conv2")
                        3       8  c2(8)!    kept whole: Conv slides a window over it (node "conv2")
        input X r1      0       N  x:0(N)!   kept whole: "x" is a graph input
                        1      16  w1:0(16)  prunable: w1:0
                        2       8  c1(8)!    kept whole: Conv slides a window over it (node "conv1")
                        3       8  c1(8)!    kept whole: Conv slides a window over it (node "conv1")
        input W w2      0      24  w2:0(24)  prunable: w2:0
                        1      16  w1:0(16)  prunable: w1:0
                        2       3  w2:2(3)!  kept whole: it is a kernel extent (node "conv2")
                        3       3  w2:3(3)!  kept whole: it is a kernel extent (node "conv2")
        input B b2      0      24  w2:0(24)  prunable: w2:0
      "
    `);
  });

  it("proves each group by taking one channel out of it", async () => {
    const cwd = await withModel();
    const { code, stdout } = await run(["inspect", "small.onnx", "--check", "all", "--ep", "cpu", "--json", "found.json"], cwd);
    expect(code).toBe(0);
    expect(stdout).toMatch(/ok {4}w1:0 +1 .* yes, in 6 sets of slots\n {2}ok {4}w2:0 +1 /);
    const { checked } = JSON.parse(readFileSync(join(cwd, "found.json"), "utf8"));
    expect(checked).toHaveLength(2);
    expect(checked[0]).toMatchObject({ groups: ["w1:0"], channels: 1, ok: true, minimality: { spare: [], tried: 6, of: 6 } });
    expect((await run(["inspect", "small.onnx", "--check", "w2:0", "--ep", "cpu"], cwd)).stdout).not.toContain("w1:0");
    expect(await run(["inspect", "small.onnx", "--check", "w2:1", "--ep", "cpu"], cwd)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("GROUP_UNKNOWN"),
    });
  });

  it("explains a value and a group, and suggests a name for one that is not there", async () => {
    const cwd = await withModel();
    expect((await run(["inspect", "small.onnx", "--why", "y"], cwd)).stdout).toMatch(/value "y"|Gemm "classifier"/);
    expect((await run(["inspect", "small.onnx", "--why", "w1:0"], cwd)).stdout).toContain('group "w1:0"');
    expect(await run(["inspect", "small.onnx", "--why", "conv9"], cwd)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("Did you mean"),
    });
  });

  it("tells which parts must stay balanced", async () => {
    const grouped = `
      g (float[N,3,8,8] x) => (float[N,4,8,8] y) <float[12,3,1,1] w1 = {...}, float[8,6,1,1] w2 = {...}, float[4,8,1,1] w3 = {...}> {
        a = Conv (x, w1)
        b = Conv <group = 2> (a, w2)
        y = Conv (b, w3)
      }`;
    const { stdout } = await run(["inspect", "g.onnx"], await withModel(grouped, "g.onnx"));
    expect(stdout).toMatch(/w1:0 +12 +1 +1 +balanced: 2 parts lose equally many/);
  });

  it("a node that is kept whole on purpose gives its own reason", async () => {
    const window = `<ir_version: 8, opset_import: ["" : 17]> g (float[N,3,8,8] x, int64 n) => (float[N,4,8,8] y, float[k] z) <float[4,3,1,1] w = {...}> {
        y = Conv (x, w)
        ["window"] z = HannWindow (n)
      }`;
    const { stdout } = await run(["inspect", "g.onnx", "--why", "window"], await withModel(window, "g.onnx"));
    expect(stdout).toContain("Every axis of this node is kept whole: it is made from scalars: nothing of it is stored.");
  });

  it("a node no rule covers says so", async () => {
    const custom = `<ir_version: 8, opset_import: ["" : 13, "mine" : 1]> g (float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3,1,1] w = {...}> {
        a = Conv (x, w)
        ["odd"] y = mine.Odd (a)
      }`;
    const { stdout } = await run(["inspect", "g.onnx", "--why", "odd"], await withModel(custom, "g.onnx"));
    expect(stdout).toContain("Every axis of this node is kept whole: mine.Odd is not an operator this version knows.");
    expect((await run(["inspect", "g.onnx"], await withModel(custom, "g.onnx"))).stdout).toContain(
      "No channel of this model can be removed.",
    );
  });

  it("--json before the model leaves the model alone and prints the facts", async () => {
    const cwd = await withModel();
    const before = readFileSync(join(cwd, "small.onnx"));
    const { code, stdout } = await run(["inspect", "--json", "small.onnx", "--types"], cwd);
    expect(code).toBe(0);
    expect(readFileSync(join(cwd, "small.onnx")).equals(before)).toBe(true);
    expect(JSON.parse(stdout)).toMatchObject({
      format: 1,
      inputs: { x: "float[N,3,8,8]" },
      groups: [
        { name: "w1:0", channels: 16, producers: ["w1:0"], consumers: ["w2:1"], vectors: ["b1:0"] },
        { name: "w2:0", channels: 24 },
      ],
      types: { p: "float[N,24,1,1]" },
    });
  });
});
