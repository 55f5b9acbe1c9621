/** Hostile models: what must not crash, hang or fill memory. Thousands more: bench/robustness/mutate.mjs. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { OnnxPruneError } from "../src/errors.js";
import { readModel } from "../src/export/read.js";
import { decode } from "../src/graph/codec.js";
import { Kept } from "../src/graph/coupling/choices.js";
import { findGroups } from "../src/graph/coupling/groups.js";
import { removeSlices } from "../src/graph/coupling/slice.js";
import { infer } from "../src/graph/infer.js";
import { print } from "../src/graph/print.js";
import { modelOf as bytesOf, floatValue } from "./graph/onnx-messages.js";
import { modelOf } from "./support/build.js";

const folder = mkdtempSync(join(tmpdir(), "onnx-prune-hostile-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The model without channel 0 of each of its groups. */
function pruned(text: string) {
  const coupling = findGroups(modelOf(text));
  const removed = new Set(coupling.groups.map((g) => g.choices[0] as number));
  return removeSlices(coupling.typing, new Kept(coupling.typing.system, coupling.choices, removed));
}

describe("damaged files", () => {
  it("three hundred mutants: typed errors only, below 1 GB and 10 s each", { timeout: 120_000 }, async () => {
    const script = fileURLToPath(new URL("../bench/robustness/mutate.mjs", import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [script, "--mutants", "300", "--seed", "1", "--json"]).catch(
      (e) => e as { stdout: string },
    );
    const result = JSON.parse(stdout) as { wrong: unknown[]; peak: number; models: number; typed: Record<string, number> };
    expect(result.wrong).toEqual([]);
    expect(result.peak).toBeLessThan(1e9);
    expect(result.models).toBeGreaterThan(50);
    expect(Object.keys(result.typed).length).toBeGreaterThan(5);
  });
});

describe("hostile graphs", () => {
  it("a size operand of a node that no rule covers keeps its value when what it measures shrinks", () => {
    // Mutant 6115: the Reshape was adjusted though nothing is known of its data.
    const text = `g (float[2,3,4,4] x) => (float[] y) <float[6,3,1,1] w = {...}> {
      a = Conv (x, w) s = Shape (a) u = com.example.Unknown (a) y = Reshape (u, s) }`.replace("com.example.Unknown", "Unknown");
    expect(findGroups(modelOf(text)).groups).toEqual([]);
    const measured = `g (float[2,3,4,4] x) => (float[] y, float[2,1,1,1] z) <float[6,3,1,1] w = {...}, float[1,6,1,1] v = {...}> {
      a = Conv (x, w) z = Conv <kernel_shape = [1, 1]> (p, v) p = GlobalAveragePool (a) s = Shape (a) u = Unknown (x) y = Reshape (u, s) }`.replace(
      "z = Conv <kernel_shape = [1, 1]> (p, v) p = GlobalAveragePool (a)",
      "p = GlobalAveragePool (a) z = Conv (p, v)",
    );
    const model = pruned(measured);
    const reshape = model.graph.nodes.find((n) => n.opType === "Reshape");
    expect(reshape?.inputs[1]?.constant?.ints()).toEqual([2, 6, 4, 4]);
  });

  it("padding by a billion keeps the axis whole", () => {
    // Mutant 26564: what is kept of the padded axis was listed index by index.
    const text = `g (float[2,3] x) => (float[] y) <float[3,6] w = {...}, int64[4] p = {0, 0, 0, 1000000000}> {
      a = MatMul (x, w) b = Pad (a, p) y = ReduceSum <keepdims = 0> (b) }`;
    expect(findGroups(modelOf(text)).groups).toEqual([]);
  });

  it.each([
    [
      "a polynomial with millions of terms",
      (k: number) => `x${k + 1} = Concat <axis = 0> (x${k}, y${k}) y${k + 1} = Reshape (x${k + 1}, r)`,
      40,
    ],
    [
      "an extent that doubles its text",
      (k: number) => `x${k + 1} = Add (x${k}, y${k}) y${k + 1} = Concat <axis = 0> (x${k}, x${k + 1})`,
      40,
    ],
  ])("%s does not grow without bound", (_, step, n) => {
    const steps = Array.from({ length: n }, (__, k) => step(k)).join(" ");
    const text = `g (float[A] x0, float[B] y0) => (float[] z) <int64[1] r = {-1}> { ${steps} z = Add (x${n}, y${n}) }`;
    const started = process.cpuUsage();
    for (const t of [infer(modelOf(text))])
      for (const v of modelOf(text).graph.values) expect(JSON.stringify(t.shape(v) ?? "").length).toBeLessThan(5000);
    findGroups(modelOf(text));
    expect(process.cpuUsage(started).user).toBeLessThan(5e6);
  });

  it("ten thousand graphs, or types, inside each other are refused", () => {
    const inside = (number: number, ...parts: Uint8Array[]) => {
      const content = Buffer.concat(parts);
      const length: number[] = [];
      for (let n = content.length; ; n >>>= 7) {
        length.push(n < 128 ? n : (n & 127) | 128);
        if (n < 128) return Buffer.concat([Uint8Array.of(number * 8 + 2, ...length), content]);
      }
    };
    const irVersion = Uint8Array.of(8, 8);
    const text = (number: number, value: string) => inside(number, Buffer.from(value));
    let graph = Buffer.alloc(0);
    for (let i = 0; i < 10_000; i++) graph = inside(1, inside(5, text(1, "g"), inside(6, graph)));
    const tooDeep = expect.objectContaining({ code: "MODEL_TOO_DEEP" });
    expect(() => decode(Buffer.concat([irVersion, inside(7, graph)]))).toThrow(tooDeep);
    // An input whose type is a sequence of sequences of …
    let type = Buffer.alloc(0);
    for (let i = 0; i < 10_000; i++) type = inside(4, inside(1, type));
    const input = inside(11, text(1, "x"), inside(2, type));
    expect(() => decode(Buffer.concat([irVersion, inside(7, input)]))).toThrow(tooDeep);
  });

  it("a hundred thousand nodes, and a node with a hundred thousand inputs, are read in seconds", () => {
    const n = 100_000;
    const chain = bytesOf({
      node: Array.from({ length: n }, (_, i) => ({ opType: "Relu", input: [i === 0 ? "x" : `v${i - 1}`], output: [`v${i}`] })),
      input: [floatValue("x", 1)],
      output: [floatValue(`v${n - 1}`, 1)],
    });
    const wide = bytesOf({
      node: [{ opType: "Concat", input: Array(n).fill("x"), output: ["y"], attribute: [{ name: "axis", type: 2, i: 0 }] }],
      input: [floatValue("x", 1)],
      output: [floatValue("y", n)],
    });
    const started = process.cpuUsage();
    for (const bytes of [chain, wide]) expect(findGroups(decode(bytes)).groups).toEqual([]);
    expect(process.cpuUsage(started).user).toBeLessThan(20e6);
  });

  it("functions that call themselves or each other are calls like any others", () => {
    const text = `<ir_version: 9, opset_import: ["" : 17, "f" : 1]>
      g (float[2,3] x) => (float[2,3] y) { y = f.a (x) }
      <domain: "f", opset_import: ["" : 17, "f" : 1]> a (x) => (y) { y = f.b (x) }
      <domain: "f", opset_import: ["" : 17, "f" : 1]> b (x) => (y) { y = f.a (x) }`;
    expect(findGroups(modelOf(text)).groups).toEqual([]);
    expect(print(modelOf(text))).toContain("f.b");
  });

  it.each([0, 2 ** 31, Number.MAX_SAFE_INTEGER])("opset %d is a typed error or freezes what it does not know", (opset) => {
    const text = `<ir_version: 9, opset_import: ["" : ${opset}]> g (float[2,3] x) => (float[2,3] y) { y = Relu (x) }`;
    try {
      findGroups(modelOf(text));
    } catch (e) {
      expect(e).toBeInstanceOf(OnnxPruneError);
    }
  });
});

describe("external data that is no file", () => {
  const model = (location: string) => {
    const path = join(folder, "m.onnx");
    const entry = (key: string, value: string) => ({ key, value });
    writeFileSync(
      path,
      bytesOf({
        node: [{ opType: "Add", input: ["x", "w"], output: ["y"] }],
        initializer: [{ name: "w", dims: [4], dataType: 1, dataLocation: 1, externalData: [entry("location", location)] }],
        input: [floatValue("x", 4)],
        output: [floatValue("y", 4)],
      }),
    );
    return path;
  };

  it("a folder, a pipe or a device is refused without being opened", async () => {
    mkdirSync(join(folder, "d"));
    await expect(readModel(model("d"))).rejects.toMatchObject({ code: "MODEL_EXTERNAL_MISSING" });
    symlinkSync("/dev/zero", join(folder, "zero"));
    await expect(readModel(model("zero"))).rejects.toMatchObject({ code: "MODEL_EXTERNAL_ESCAPES" });
    if (process.platform === "win32") return;
    // Opening a pipe waits for a writer: for ever.
    await promisify(execFile)("mkfifo", [join(folder, "pipe")]);
    await expect(readModel(model("pipe"))).rejects.toMatchObject({ code: "MODEL_EXTERNAL_MISSING" });
    await expect(readModel(join(folder, "pipe"))).rejects.toMatchObject({ code: "MODEL_UNREADABLE" });
    await expect(readModel("/dev/zero")).rejects.toMatchObject({ code: "MODEL_UNREADABLE" });
  });
});
