import { createHash } from "node:crypto";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import * as ort from "onnxruntime-node";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readModel } from "../../src/export/read.js";
import { discard, removeTemporaries, trackTemporary, writePending } from "../../src/export/replace.js";
import { writeModel } from "../../src/export/write.js";
import { encodedSize } from "../../src/graph/codec.js";
import type { Value } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { fixture, floatValue, modelOf, object } from "../graph/onnx-messages.js";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "onnx-prune-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** y = x + w + b with w of 2048 floats (i) and b of 1 (5), both in `location`. */
function externalModel(location: string, rest: { offset?: number; length?: number } = {}): string {
  const outside = (name: string, dims: number[], offset: number, length: number) => ({
    name,
    dims,
    dataType: 1,
    dataLocation: 1,
    externalData: Object.entries({ location, offset, length }).map(([key, value]) => ({ key, value: String(value) })),
  });
  const path = join(folder, "m.onnx");
  const graph = {
    node: [
      { input: ["x", "w"], output: ["h"], opType: "Add" },
      { input: ["h", "b"], output: ["y"], opType: "Add" },
    ],
    initializer: [outside("w", [2048], rest.offset ?? 0, rest.length ?? 8192), outside("b", [1], 8192, 4)],
    input: [floatValue("x", 2048)],
    output: [floatValue("y", 2048)],
  };
  writeFileSync(path, modelOf(graph));
  return path;
}
const weights = Float32Array.from({ length: 2049 }, (_, i) => (i === 2048 ? 5 : i));
const writeData = (name: string) => writeFileSync(join(folder, name), new Uint8Array(weights.buffer));

async function run(path: string): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(path, { logSeverityLevel: 3 });
  const { y } = await session.run({ x: new ort.Tensor("float32", new Float32Array(2048), [2048]) });
  await session.release();
  return y?.data as Float32Array;
}

describe("a model file", () => {
  test("is written as it was read, with its hash", async () => {
    const bytes = fixture("glu.onnx");
    writeFileSync(join(folder, "a.onnx"), bytes);
    const model = await readModel(join(folder, "a.onnx"));
    expect(model.sha256).toBe(createHash("sha256").update(bytes).digest("hex"));
    const written = await writeModel(join(folder, "b.onnx"), model);
    expect(written).toEqual({ files: [join(folder, "b.onnx")], byteLength: bytes.length, left: [] });
    expect(Buffer.compare(readFileSync(join(folder, "b.onnx")), bytes)).toBe(0);
    expect(readdirSync(folder).sort()).toEqual(["a.onnx", "b.onnx"]);
  });

  test("errors name the file", async () => {
    const path = join(folder, "bad.onnx");
    await expect(readModel(path)).rejects.toMatchObject({ code: "MODEL_UNREADABLE", at: { file: path } });
    writeFileSync(path, "");
    await expect(readModel(path)).rejects.toMatchObject({ code: "MODEL_NOT_ONNX", at: { file: path } });
    await expect(readModel(folder)).rejects.toMatchObject({ code: "MODEL_UNREADABLE" });
  });

  test("stays the old one when writing fails", async () => {
    const path = join(folder, "a.onnx");
    writeFileSync(path, fixture("glu.onnx"));
    const model = await readModel(path);
    model.graph.setConstant(
      model.graph.initializers[0] as Value,
      Tensor.lazy("float32", [4096], () => {
        throw new Error("disk gone");
      }),
    );
    await expect(writeModel(path, model)).rejects.toThrow();
    await expect(writeModel(path, model, { external: true })).rejects.toThrow();
    expect(readdirSync(folder)).toEqual(["a.onnx"]);
    expect(Buffer.compare(readFileSync(path), fixture("glu.onnx"))).toBe(0);
    await expect(writeModel(join(folder, "no", "such", "a.onnx"), await readModel(path))).rejects.toMatchObject({
      code: "MODEL_UNWRITABLE",
    });
  });

  test("a link stays a link, and what it leads to is replaced", async () => {
    mkdirSync(join(folder, "real"));
    writeFileSync(join(folder, "a.onnx"), fixture("glu.onnx"));
    writeFileSync(join(folder, "real", "b.onnx"), "old");
    chmodSync(join(folder, "real", "b.onnx"), 0o600);
    symlinkSync(join("real", "b.onnx"), join(folder, "link.onnx"));
    symlinkSync(join("real", "new.onnx"), join(folder, "dangling.onnx"));
    const model = await readModel(join(folder, "a.onnx"));
    for (const link of ["link.onnx", "dangling.onnx"]) {
      await writeModel(join(folder, link), model);
      expect(lstatSync(join(folder, link)).isSymbolicLink()).toBe(true);
      expect(Buffer.compare(readFileSync(join(folder, link)), fixture("glu.onnx"))).toBe(0);
    }
    expect(readdirSync(join(folder, "real")).sort()).toEqual(["b.onnx", "new.onnx"]);
    expect(statSync(join(folder, "real", "b.onnx")).mode & 0o777).toBe(0o600);
  });

  test("what a killed process left for the same place goes, what others are writing stays", async () => {
    writeFileSync(join(folder, "a.onnx"), fixture("glu.onnx"));
    const model = await readModel(join(folder, "a.onnx"));
    const own = join(folder, "probe");
    let mine = "";
    const chunks = function* () {
      mine = readdirSync(folder).find((f) => f.endsWith(".tmp")) as string;
      yield new Uint8Array(1);
    };
    discard([await writePending(own, chunks())]);
    // .probe.onnx-prune-<machine>-<process>-<start>-<count>.tmp
    const [machine, pid, start] = (mine.match(/onnx-prune-(\w+)-(\d+)-(\d+)-\d+\.tmp$/) ?? []).slice(1);
    const named = (m: unknown, p: unknown, s: unknown, n: number) => `.b.onnx.onnx-prune-${m}-${p}-${s}-${n}.tmp`;
    const dead = [named(machine, 2 ** 30, 1, 1), ...(Number(start) > 0 ? [named(machine, pid, Number(start) + 1, 2)] : [])];
    const alive = [named(machine, pid, start, 3), named("00000000", 2 ** 30, 1, 4), `.c.onnx.onnx-prune-${machine}-${2 ** 30}-1-5.tmp`];
    for (const f of [...dead, ...alive]) writeFileSync(join(folder, f), "half");
    await writeModel(join(folder, "b.onnx"), model);
    expect(readdirSync(folder).sort()).toEqual([...alive, "a.onnx", "b.onnx"].sort());
  });

  test("what is temporary can be removed when the process must stop", () => {
    const path = join(folder, "half");
    writeFileSync(path, "half");
    trackTemporary(path);
    removeTemporaries();
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("external data", () => {
  test("is read when a tensor is used, and not before", async () => {
    writeData("w.bin");
    const model = await readModel(externalModel("w.bin"));
    expect(model.usesExternalData).toBe(true);
    const w = model.graph.value("w")?.constant as Tensor;
    expect(w.isLoaded).toBe(false);
    expect(w.numbers()[2047]).toBe(2047);
    expect(model.graph.value("b")?.constant?.scalar()).toBe(5);
  });

  test("comes out as external data of the new name, aligned, and ONNX Runtime reads it", async () => {
    writeData("w.bin");
    const path = externalModel("w.bin");
    const before = await run(path);
    const model = await readModel(path);
    const out = join(folder, "out.onnx");
    const written = await writeModel(out, model);
    const [, data] = written.files as [string, string];
    expect(written.files).toEqual([out, expect.stringMatching(/out\.onnx\.[0-9a-f]{8}\.data$/)]);
    expect(written.byteLength).toBe(statSync(out).size + statSync(data).size);
    expect(encodedSize(model, { external: { location: basename(data) } })).toBe(written.byteLength);
    // The same content has the same name: the same bytes at every run.
    expect(await writeModel(out, model)).toEqual(written);
    // Writing reads what it must, and keeps none of it.
    expect(model.graph.value("w")?.constant?.isLoaded).toBe(false);
    expect(await run(out)).toEqual(before);
    const again = await readModel(out);
    expect(again.graph.value("w")?.constant?.numbers()).toEqual(weights.subarray(0, 2048));
  });

  test("each tensor starts at a page, and small ones live in the model", async () => {
    writeFileSync(join(folder, "a.onnx"), fixture("nchw_flatten_fc.onnx"));
    const model = await readModel(join(folder, "a.onnx"));
    const out = join(folder, "b.onnx");
    await writeModel(out, model, { external: true, threshold: 256 });
    const { initializer } = object("ModelProto", readFileSync(out)).graph as {
      initializer: { externalData?: { key: string; value: string }[] }[];
    };
    const offsets = initializer.flatMap((t) => t.externalData?.filter((e) => e.key === "offset").map((e) => Number(e.value)) ?? []);
    expect(offsets.length).toBeGreaterThan(1);
    for (const offset of offsets) expect(offset % 4096).toBe(0);
    const again = await readModel(out);
    for (const v of model.graph.initializers) expect(again.graph.value(v.name)?.initializer?.bytes).toEqual(v.initializer?.bytes);
  });

  test("can be taken inside", async () => {
    writeData("w.bin");
    const out = join(folder, "out.onnx");
    await writeModel(out, await readModel(externalModel("w.bin")), { external: false });
    rmSync(join(folder, "w.bin"));
    expect((await run(out))[2047]).toBe(2052);
  });

  test("of the model that is overwritten is read before it goes; who still needs it is told", async () => {
    writeData("m.onnx.data");
    const path = externalModel("m.onnx.data");
    const model = await readModel(path);
    const w = model.graph.value("w")?.constant as Tensor;
    // Reads through the old file while the new one is written.
    model.graph.setConstant(model.graph.value("w") as Value, w.take(0, [...Array(2048).keys()].reverse()));
    const { files, left } = await writeModel(path, model);
    expect((await run(path))[0]).toBe(2052);
    // Another model may use it: it stays, and is told of.
    expect(left).toEqual([join(folder, "m.onnx.data")]);
    expect(readdirSync(folder).sort()).toEqual(["m.onnx", "m.onnx.data", basename(files[1] as string)].sort());
    // What we wrote ourselves under this very name goes when it is written over.
    const again = await readModel(path);
    const v = again.graph.value("w") as Value;
    again.graph.setConstant(v, (v.constant as Tensor).take(0, [...Array(2048).keys()].reverse()));
    const second = await writeModel(path, again);
    expect(second.left).toEqual([]);
    expect((await run(path))[0]).toBe(5);
    expect(readdirSync(folder).sort()).toEqual(["m.onnx", "m.onnx.data", basename(second.files[1] as string)].sort());
    expect(second.files[1]).not.toBe(files[1]);
    writeFileSync(join(folder, "m.onnx.data"), "");
    expect(() => w.bytes).toThrow(expect.objectContaining({ code: "MODEL_EXTERNAL_CHANGED" }));
  });

  test.each([
    ["a parent folder", () => "../w.bin"],
    ["a detour", () => "sub/../../w.bin"],
    ["an absolute path", () => join(folder, "w.bin")],
    ["a Windows path", () => "..\\w.bin"],
    ["the folder itself", () => "."],
  ])("%s is refused before anything is opened", async (_, location) => {
    await expect(readModel(externalModel(location()))).rejects.toMatchObject({ code: "MODEL_EXTERNAL_ESCAPES", at: { value: "w" } });
  });

  test("a link that leads out of the folder is refused; one that stays is followed", async () => {
    const outside = mkdtempSync(join(tmpdir(), "onnx-prune-"));
    try {
      writeFileSync(join(outside, "secret"), new Uint8Array(weights.buffer));
      symlinkSync(join(outside, "secret"), join(folder, "w.bin"));
      await expect(readModel(externalModel("w.bin"))).rejects.toMatchObject({ code: "MODEL_EXTERNAL_ESCAPES" });
      mkdirSync(join(folder, "data"));
      writeData("data/real.bin");
      symlinkSync(join(folder, "data", "real.bin"), join(folder, "v.bin"));
      expect((await readModel(externalModel("v.bin"))).graph.value("b")?.constant?.scalar()).toBe(5);
    } finally {
      rmSync(outside, { recursive: true });
    }
  });

  test("missing, short or ill-fitting data names the tensor", async () => {
    await expect(readModel(externalModel("none.bin"))).rejects.toMatchObject({ code: "MODEL_EXTERNAL_MISSING", at: { value: "w" } });
    writeData("w.bin");
    truncateSync(join(folder, "w.bin"), 8193);
    await expect(readModel(externalModel("w.bin"))).rejects.toMatchObject({ code: "MODEL_EXTERNAL_SHORT", at: { value: "b" } });
    await expect(readModel(externalModel("w.bin", { length: 100 }))).rejects.toMatchObject({
      code: "TENSOR_BAD_LENGTH",
      at: { value: "w" },
    });
  });

  test.skipIf(process.getuid?.() === 0)("an unwritable folder is a typed error", async () => {
    writeFileSync(join(folder, "a.onnx"), fixture("glu.onnx"));
    const model = await readModel(join(folder, "a.onnx"));
    chmodSync(folder, 0o500);
    try {
      await expect(writeModel(join(folder, "b.onnx"), model)).rejects.toMatchObject({ code: "MODEL_UNWRITABLE" });
    } finally {
      chmodSync(folder, 0o700);
    }
  });
});
