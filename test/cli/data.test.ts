/** Data as the command takes them: every reader, several inputs, roles, samples that cannot be used. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zipSync } from "fflate";
import { parquetWriteBuffer } from "hyparquet-writer";
import { describe, expect, it } from "vitest";
import type { RunReport } from "../../src/report.js";
import { bytesOf, cifar, file, npy } from "../calibrate/write.js";
import { type Ran, root, run, withModel } from "./run.js";

const FAST = ["--no-latency", "--ep", "cpu", "--align", "1", "--json", "report.json"];

/** Two inputs, of which the sum is classified. */
const TWO = `
two (float[N,4] x, float[N,4] z) => (float[N,3] y)
<float[4,8] w1 = {...}, float[8] b1 = {...}, float[8,3] w2 = {...}, float[N,8] h>
{
  s = Add (x, z)
  h = Gemm (s, w1, b1)
  r = Relu (h)
  y = MatMul (r, w2)
}`;

const N = 12;
const x = Float32Array.from({ length: 4 * N }, (_, i) => Math.sin(i));
const z = Float32Array.from({ length: 4 * N }, (_, i) => Math.cos(i));
const labels = Int32Array.from({ length: N }, (_, i) => i % 3);

async function prune(cwd: string, data: readonly string[], extra: readonly string[] = []): Promise<Ran & { report?: RunReport }> {
  const ran = await run(
    ["two.onnx", "out.onnx", "--pass", "l1", "--ratio", "0.5", ...data.flatMap((d) => ["--data", d]), ...FAST, ...extra],
    cwd,
  );
  return ran.code === 0 ? { ...ran, report: JSON.parse(readFileSync(join(cwd, "report.json"), "utf8")) as RunReport } : ran;
}

function writeSources(cwd: string): void {
  file(cwd, "x.npy", npy("<f4", [N, 4], bytesOf(x)));
  file(cwd, "z.npy", npy("<f4", [N, 4], bytesOf(z)));
  file(cwd, "labels.npy", npy("<i4", [N], bytesOf(labels)));
  const arrays = Object.fromEntries(["x", "z", "labels"].map((name) => [`${name}.npy`, readFileSync(join(cwd, `${name}.npy`))]));
  file(cwd, "both.npz", zipSync(arrays));
  const rows = (values: Float32Array) => Array.from({ length: N }, (_, i) => [...values.subarray(4 * i, 4 * i + 4)]);
  // hyparquet-writer makes lists by schema.
  const list = (name: string) => [
    { name, repetition_type: "OPTIONAL" as const, num_children: 1, converted_type: "LIST" as const },
    { name: "list", repetition_type: "REPEATED" as const, num_children: 1 },
    { name: "element", type: "FLOAT" as const, repetition_type: "OPTIONAL" as const },
  ];
  const schema = [{ name: "root", num_children: 3 }, ...list("x"), ...list("z"), { name: "label", type: "INT32" as const }];
  const columnData = [
    { name: "x", data: rows(x) },
    { name: "z", data: rows(z) },
    { name: "label", data: [...labels] },
  ];
  file(cwd, "both.parquet", new Uint8Array(parquetWriteBuffer({ schema, columnData, rowGroupSize: 5 })));
  for (let i = 0; i < N; i++) {
    mkdirSync(join(cwd, `onnx/test_data_set_${i}`), { recursive: true });
    for (const [j, values] of [x, z].entries()) {
      const data = bytesOf(values.subarray(4 * i, 4 * i + 4));
      file(join(cwd, `onnx/test_data_set_${i}`), `input_${j}.pb`, Buffer.concat([Uint8Array.of(8, 1, 8, 4, 16, 1, 74, 16), data]));
    }
  }
}

describe("--data of several inputs", () => {
  it("gives the same figures from every reader", async () => {
    const cwd = await withModel(TWO, "two.onnx");
    writeSources(cwd);
    const labelled = [["both.npz"], ["both.parquet"], ["x=x.npy", "z=z.npy", "labels=labels.npy"], ["x=both.parquet", "z=both.npz"]];
    const accuracies = [];
    for (const data of labelled) accuracies.push((await prune(cwd, data)).report?.accuracy);
    const first = accuracies[0];
    expect(first?.before).toMatchObject({ samples: N, top1: expect.any(Number) });
    for (const a of accuracies) expect([a?.before, a?.after, a?.agreement]).toEqual([first?.before, first?.after, first?.agreement]);
    const unlabelled = await prune(cwd, ["onnx"]);
    expect([unlabelled.report?.accuracy?.agreement, unlabelled.report?.accuracy?.before]).toEqual([first?.agreement, { samples: N }]);
    expect((await prune(cwd, ["random:5"])).report?.accuracy?.before.samples).toBe(5);
  }, 60_000);

  it("is refused when an input has none, or several are not named", async () => {
    const cwd = await withModel(TWO, "two.onnx");
    writeSources(cwd);
    expect(await prune(cwd, ["x=x.npy"])).toMatchObject({ code: 2, stderr: expect.stringContaining("no data for z") });
    expect(await prune(cwd, ["x.npy", "z.npy"])).toMatchObject({ code: 2, stderr: expect.stringContaining("--data came 2 times") });
    expect(await prune(cwd, ["x.npy"])).toMatchObject({ code: 1, stderr: expect.stringContaining("the model has 2: x, z") });
  });
});

describe("--skip-bad", () => {
  it("leaves out samples that cannot be used, and the report says how many", async () => {
    const cwd = await withModel(TWO, "two.onnx");
    writeSources(cwd);
    const spoilt = x.slice();
    spoilt[7 * 4] = Number.NaN;
    file(cwd, "x.npy", npy("<f4", [N, 4], bytesOf(spoilt)));
    const sources = ["x=x.npy", "z=z.npy", "labels=labels.npy"];
    const refused = await prune(cwd, sources);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("x.npy sample 7: Element 0 of what is fed to") });
    expect(refused.stderr).toContain("--skip-bad");
    const { code, stdout, stderr, report } = await prune(cwd, sources, ["--skip-bad"]);
    expect([code, report?.accuracy?.before.samples]).toEqual([0, N - 1]);
    expect(report?.notes).toContainEqual(
      expect.objectContaining({ code: "SAMPLES_BAD", why: expect.stringContaining("1 of 12 samples cannot be used") }),
    );
    expect(report?.accuracy?.data).toContain("11 samples, 1 bad ones left out");
    expect(stderr).toContain("1 of 12 samples cannot be used");
    expect(stdout).toContain("SAMPLES_BAD");
  });
});

describe("--calibrate", () => {
  /** A criterion that says it looks at activations. */
  const NEEDY = `import { z } from "${join(root, "dist/index.js")}";
  export default {
    name: "needy", summary: "nothing", source: "a test", options: z.strictObject({}), needs: ["weights", "activations"], comparable: true,
    prepare: () => (group) => ({ scores: Float64Array.from(group.choices, (_, i) => i) }),
  };`;

  async function needy(cwd: string, ...flags: string[]): Promise<Ran> {
    writeFileSync(join(cwd, "needy.mjs"), NEEDY);
    const model = join(root, "models/cifar10_resnet20.onnx");
    return run([model, "out.onnx", "--pass", "./needy.mjs", "--ratio", "0.9", "--preprocess", "{}", ...flags, ...FAST], cwd);
  }

  it("by default is a part of the data, which is then not measured", async () => {
    const cwd = await withModel(TWO, "two.onnx");
    file(cwd, "a.bin", cifar(Array.from({ length: 30 }, (_, i) => [i % 10])));
    const { code, stderr } = await needy(cwd, "--data", "a.bin", "--calibrate-samples", "10");
    expect(code, stderr).toBe(0);
    expect(stderr).toContain(
      "a.bin is one split, so it is divided by --seed: 10 samples, balanced by class, calibrate, the other 20 verify",
    );
    const report = JSON.parse(readFileSync(join(cwd, "report.json"), "utf8")) as RunReport;
    expect(report.accuracy?.before.samples).toBe(20);
    expect(report.notes).toContainEqual(expect.objectContaining({ code: "DATA_DIVIDED" }));
  }, 30_000);

  it("leaves out what cannot be used, and the step says so", async () => {
    const cwd = await withModel(TWO, "two.onnx");
    file(cwd, "train.bin", cifar(Array.from({ length: 30 }, (_, i) => [i === 7 ? 200 : i % 10])));
    file(cwd, "test.bin", cifar(Array.from({ length: 10 }, (_, i) => [i])));
    const model = join(root, "models/cifar10_resnet20.onnx");
    const args = [model, "out.onnx", "--pass", "output-l1", "--ratio", "0.9", "--preprocess", "{}", "--data", ".", "--skip-bad"];
    const { code, stderr } = await run([...args, ...FAST], cwd);
    expect(code, stderr).toBe(0);
    const report = JSON.parse(readFileSync(join(cwd, "report.json"), "utf8")) as RunReport;
    expect(report.notes).toMatchObject([{ code: "DATA_SPLITS", why: '. has splits: "train" calibrates, "test" verifies' }]);
    expect(report.steps[0]?.calibration).toMatchObject({ samples: 29, classes: 10 });
    expect(report.steps[0]?.notes).toContainEqual(expect.objectContaining({ code: "SAMPLES_BAD" }));
  }, 30_000);

  it("as a command takes train of a folder with splits, and its statistics leave --data whole", async () => {
    const cwd = await withModel(TWO, "two.onnx");
    file(cwd, "train.bin", cifar(Array.from({ length: 20 }, (_, i) => [i % 10])));
    file(cwd, "test.bin", cifar(Array.from({ length: 10 }, (_, i) => [i])));
    const model = join(root, "models/cifar10_resnet20.onnx");
    const data = ["--data", ".", "--preprocess", "{}"];
    const gathered = await run(["calibrate", model, "s.npz", "--pass", "output-l1", "--ep", "cpu", ...data], cwd);
    expect(gathered, gathered.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining("over 20 samples of 10 classes") });
    const args = [model, "out.onnx", "--pass", "output-l1", "--ratio", "0.9", "--stats", "s.npz", ...data, ...FAST];
    const { code, stderr } = await run(args, cwd);
    expect(code, stderr).toBe(0);
    const report = JSON.parse(readFileSync(join(cwd, "report.json"), "utf8")) as RunReport;
    expect([report.accuracy?.before.samples, report.notes]).toEqual([10, []]);
  }, 30_000);

  it("may not share samples with --data, and is not opened where nothing needs it", async () => {
    const cwd = await withModel(TWO, "two.onnx");
    file(cwd, "a.bin", cifar(Array.from({ length: 30 }, (_, i) => [i % 10])));
    const shared = await needy(cwd, "--data", "a.bin[0:20]", "--calibrate", "a.bin[19:]");
    expect(shared).toMatchObject({ code: 2, stderr: expect.stringContaining("1 of the 20 samples of --data are in --calibrate too") });
    writeSources(cwd);
    const unused = await prune(cwd, ["both.npz"], ["--calibrate", "nothing.npz"]);
    expect(unused).toMatchObject({ code: 0, stderr: expect.stringContaining("no pass here looks at activations") });
  });
});
