import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openSamples, type Samples } from "../../src/calibrate/samples.js";
import type { DType } from "../../src/graph/dtype.js";
import { bytesOf, cifar, file, folder, idx, input, npy, RAW } from "./write.js";

/** Written by numpy and onnx (make.py there): x[i, j, k] = (8i + 4j + k) / 2, float32 of [3, 2, 4]; labels 2, 0, 1. */
const fixtures = join(import.meta.dirname, "../fixtures/data");
const X = input(["N", 2, 4], "float32", "x");
const halves = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => (from + i) / 2);

async function rows(samples: Samples, from: number, to: number, name = "x"): Promise<number[]> {
  return [...((await samples.batch(from, to))[name]?.numbers() ?? [])];
}

describe(".npy and .npz", () => {
  it("reads what numpy wrote, stored or deflated, with labels of either key and shape", async () => {
    for (const name of ["stored.npz", "deflated.npz"]) {
      const samples = await openSamples(join(fixtures, name), X);
      expect([samples.count, samples.labels]).toEqual([3, Int32Array.of(2, 0, 1)]);
      expect((await samples.batch(1, 3)).x?.dims).toEqual([2, 2, 4]);
      expect(await rows(samples, 1, 3)).toEqual(halves(8, 24));
    }
  });

  it("reads Fortran order and big endian as the same numbers", async () => {
    for (const name of ["fortran.npy", "big-endian.npy"]) {
      const samples = await openSamples(join(fixtures, name), X);
      expect(await rows(samples, 0, 3)).toEqual(halves(0, 24));
    }
  });

  it("keeps every numeric dtype", async () => {
    const dtypes: [string, DType][] = [
      ["u1", "uint8"],
      ["i1", "int8"],
      ["u2", "uint16"],
      ["i2", "int16"],
      ["u4", "uint32"],
      ["i4", "int32"],
      ["u8", "uint64"],
      ["f2", "float16"],
      ["f4", "float32"],
      ["f8", "float64"],
    ];
    for (const [key, dtype] of dtypes) {
      const samples = await openSamples(join(fixtures, "stored.npz"), input(["N", 2], dtype, key));
      expect([dtype, await rows(samples, 0, 3, key)]).toEqual([dtype, [0, 1, 2, 3, 4, 5]]);
    }
    const bools = await openSamples(join(fixtures, "stored.npz"), input(["N", 2], "bool", "b1"));
    expect(await rows(bools, 0, 3, "b1")).toEqual([0, 1, 1, 1, 1, 1]);
    const longs = await openSamples(join(fixtures, "stored.npz"), input(["N", 2], "int64", "i8"));
    expect((await longs.batch(2, 3)).i8?.data).toEqual(BigInt64Array.of(4n, 2n ** 53n - 1n));
  });

  it("converts between floats, with a note, but makes no floats of integers", async () => {
    const notes: string[] = [];
    const onNote = (t: string) => notes.push(t);
    const where = join(fixtures, "stored.npz");
    const samples = await openSamples(where, { ...input(["N", 2], "float32", "f8"), onNote });
    expect((await samples.batch(0, 3)).f8?.dtype).toBe("float32");
    expect(notes.filter((n) => n.includes("float64 are converted to float32"))).toHaveLength(1);
    await expect(openSamples(where, input(["N", 2], "float32", "u1"))).rejects.toMatchObject({
      code: "DATA_DTYPE",
      hint: expect.stringContaining("--preprocess"),
    });
    await expect(openSamples(where, input(["N", 2], "int64", "f4"))).rejects.toMatchObject({ code: "DATA_DTYPE" });
  });

  it("narrows integers only when every value is kept", async () => {
    const samples = await openSamples(join(fixtures, "stored.npz"), input(["N", 2], "int32", "i8"));
    expect(await rows(samples, 0, 2, "i8")).toEqual([0, 1, 2, 3]);
    await expect(samples.batch(2, 3)).rejects.toMatchObject({ code: "DATA_DTYPE", message: expect.stringContaining("sample 2") });
  });

  it("preprocesses stored pixels only when asked", async () => {
    const path = file(
      folder(),
      "images.npy",
      npy(
        "|u1",
        [2, 2, 2, 3],
        Uint8Array.from({ length: 24 }, (_, i) => 10 * i),
      ),
    );
    file(join(path, ".."), "preprocess.json", `{"scale": 0.5}`);
    const notes: string[] = [];
    const untouched = await openSamples(path, { ...input(["N", 2, 2, 3], "uint8", "x"), onNote: (t) => notes.push(t) });
    expect((await rows(untouched, 1, 2))[0]).toBe(120);
    expect(notes.join()).toContain("not applied");
    const asked = await openSamples(path, { ...input(["N", 3, 2, 2], "float32", "x"), preprocess: { scale: 0.1, channels: "BGR" } });
    // [2, 2, 3] pixels 0 10 20 | 30 40 50 | …: blue first, and planar.
    expect((await rows(asked, 0, 1)).map((v) => Math.round(v))).toEqual([2, 5, 8, 11, 1, 4, 7, 10, 0, 3, 6, 9]);
  });

  it("feeds an only array to the only input, and otherwise asks for the inputs' names", async () => {
    const notes: string[] = [];
    const samples = await openSamples(join(fixtures, "deflated.npz"), { ...input(["N", 2, 4]), onNote: (t) => notes.push(t) });
    expect(await rows(samples, 0, 1, "input")).toEqual(halves(0, 8));
    expect(notes.join()).toContain(`the array "x" is fed to the input "input"`);
    await expect(openSamples(join(fixtures, "stored.npz"), input(["N", 2, 4]))).rejects.toMatchObject({
      code: "DATA_KEYS",
      message: expect.stringContaining("it has x, labels, b1, u1"),
    });
  });

  it("refuses pickles, cut files and damaged archives by name", async () => {
    const where = folder();
    await expect(openSamples(join(fixtures, "objects.npy"), X)).rejects.toMatchObject({
      code: "DATA_NPY",
      hint: expect.stringContaining("never read"),
    });
    const cut = file(where, "cut.npy", readFileSync(join(fixtures, "fortran.npy")).subarray(0, 200));
    await expect(openSamples(cut, X)).rejects.toMatchObject({ code: "DATA_TRUNCATED", at: { file: cut } });
    const archive = file(where, "cut.npz", readFileSync(join(fixtures, "stored.npz")).subarray(0, 500));
    await expect(openSamples(archive, X)).rejects.toMatchObject({ code: "DATA_ZIP", at: { file: archive } });
  });

  it("refuses labels that are fewer than samples, one-hot or fractions", async () => {
    const where = folder();
    const x = npy("<f4", [2, 1], bytesOf(Float32Array.of(1, 2)));
    const cases = [
      [npy("<i8", [1], bytesOf(BigInt64Array.of(1n))), "DATA_COUNT"],
      [npy("<f4", [2, 3], bytesOf(new Float32Array(6))), "DATA_LABELS"],
      [npy("<f4", [2], bytesOf(Float32Array.of(0.5, 1))), "DATA_LABELS"],
    ] as const;
    for (const [labels, code] of cases) {
      const sources = { x: file(where, "x.npy", x), labels: file(where, "y.npy", labels) };
      await expect(openSamples(sources, input(["N", 1], "float32", "x"))).rejects.toMatchObject({ code });
    }
  });
});

describe("several inputs", () => {
  const two = { inputs: [...X.inputs, ...input(["N", 2], "int64", "ids").inputs] };

  it("binds ONNX test data in the order of the files and stacks the sets", async () => {
    const samples = await openSamples(fixtures, two);
    expect(samples.count).toBe(2);
    const batch = await samples.batch(0, 2);
    expect([batch.x?.dims, [...(batch.x?.numbers() ?? [])]]).toEqual([[2, 2, 4], halves(0, 16)]);
    expect(batch.ids?.data).toEqual(BigInt64Array.of(0n, 7n, 1n, 7n));
  });

  it("takes a single set, a single file, and refuses a missing input", async () => {
    expect((await openSamples(join(fixtures, "test_data_set_1"), two)).count).toBe(1);
    expect(await rows(await openSamples(join(fixtures, "test_data_set_1/input_0.pb"), X), 0, 1)).toEqual(halves(8, 16));
    await expect(openSamples(fixtures, X)).rejects.toMatchObject({
      code: "DATA_INPUTS",
      message: expect.stringContaining("has 2 input files, but the model has 1 inputs: x"),
    });
  });

  it("does not stack a set whose inputs share no batch axis", async () => {
    const where = folder();
    for (const k of [0, 1]) {
      mkdirSync(join(where, `test_data_set_${k}`));
      copyFileSync(join(fixtures, "test_data_set_0/input_0.pb"), join(where, `test_data_set_${k}/input_0.pb`));
      // TensorProto: dims (field 1) 3, data_type (2) uint8, raw_data (9) of 3 bytes.
      writeFileSync(join(where, `test_data_set_${k}/input_1.pb`), Uint8Array.of(8, 3, 16, 2, 74, 3, 1, 2, 3));
    }
    const samples = await openSamples(where, { inputs: [...X.inputs, ...input([3], "uint8", "table").inputs] });
    expect(samples.count).toBe(2);
    expect((await samples.batch(1, 2)).table?.dims).toEqual([3]);
    await expect(samples.batch(0, 2)).rejects.toMatchObject({ code: "DATA_STACK", hint: "Use a batch of 1." });
  });

  it("refuses a file that is no tensor, naming it", async () => {
    const path = file(folder(), "input_0.pb", Uint8Array.of(8, 3, 16, 1, 74, 3, 1, 2, 3));
    await expect(openSamples(path, X)).rejects.toMatchObject({ code: "DATA_PB", at: { file: path } });
  });

  it("takes one source per input, with labels of their own", async () => {
    const where = folder();
    const ids = file(where, "ids.npy", npy("<i8", [5, 2], bytesOf(BigInt64Array.from({ length: 10 }, (_, i) => BigInt(i)))));
    const labels = file(where, "labels.npy", npy("<i4", [3], bytesOf(Int32Array.of(4, 5, 6))));
    const samples = await openSamples({ x: join(fixtures, "fortran.npy"), ids: `${ids}[0:3]`, labels }, two);
    expect([samples.count, samples.labels]).toEqual([3, Int32Array.of(4, 5, 6)]);
    expect((await samples.batch(2, 3)).ids?.data).toEqual(BigInt64Array.of(4n, 5n));
    await expect(openSamples({ x: join(fixtures, "fortran.npy"), ids }, two)).rejects.toMatchObject({ code: "DATA_COUNT" });
    await expect(openSamples({ x: join(fixtures, "fortran.npy") }, two)).rejects.toMatchObject({ code: "DATA_INPUTS", exitCode: 2 });
    await expect(openSamples({ x: ids, ids, y: ids }, two)).rejects.toMatchObject({ message: expect.stringContaining("no input y") });
  });

  it("takes labels from the one source that has them", async () => {
    const where = folder();
    file(where, "a-labels-idx1-ubyte", idx([1], [8]));
    const image = file(where, "a-images-idx3-ubyte", idx([1, 1, 1], [200]));
    const ids = file(where, "ids.npy", npy("<i8", [1, 2], bytesOf(BigInt64Array.of(1n, 2n))));
    const inputs = [...input(["N", 1, 1, 1], "float32", "image").inputs, ...input(["N", 2], "int64", "ids").inputs];
    const samples = await openSamples({ image, ids }, { inputs, ...RAW });
    expect(samples.labels).toEqual(Int32Array.of(8));
    expect(Object.keys(await samples.batch(0, 1))).toEqual(["image", "ids"]);
  });

  it("does not stack a single number, but takes it when all samples share it", async () => {
    const where = folder();
    const scalar = file(where, "rate.npy", npy("<i8", [], bytesOf(BigInt64Array.of(16000n))));
    const inputs = [...X.inputs, ...input([], "int64", "rate").inputs];
    const file3 = join(fixtures, "fortran.npy");
    await expect(openSamples({ x: file3, rate: scalar }, { inputs })).rejects.toMatchObject({ code: "DATA_COUNT" });
    expect((await (await openSamples({ x: `${file3}[0]`, rate: scalar }, { inputs })).batch(0, 1)).rate?.dims).toEqual([]);
  });
});

describe("random data", () => {
  const image = input(["N", 3, "H", "W"], "float32", "x");

  it("is normal, has the model's shape, and depends on the seed and the sample alone", async () => {
    const samples = await openSamples("random:8", { ...image, seed: 1, symbols: { H: 20, W: 10 } });
    const all = (await samples.batch(0, 8)).x;
    expect(all?.dims).toEqual([8, 3, 20, 10]);
    const values = [...(all?.numbers() ?? [])];
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
    // 4,800 numbers: standard errors 0.0144 and 0.0204; five of them.
    expect(Math.abs(mean)).toBeLessThan(0.072);
    expect(Math.abs(variance - 1)).toBeLessThan(0.102);
    const last = await (await openSamples("random:100", { ...image, seed: 1, symbols: { H: 20, W: 10 } })).batch(7, 8);
    expect([...(last.x?.numbers() ?? [])]).toEqual(values.slice(7 * 600));
    const other = await (await openSamples("random:8", { ...image, seed: 2, symbols: { H: 20, W: 10 } })).batch(0, 8);
    expect(other.x?.numbers()[0]).not.toBe(values[0]);
  });

  it("chooses usual extents for symbols it is not told", async () => {
    expect((await (await openSamples("random:1", image)).batch(0, 1)).x?.dims).toEqual([1, 3, 224, 224]);
    expect((await (await openSamples("random:1", input(["N", "H", "W", 3]))).batch(0, 1)).input?.dims).toEqual([1, 224, 224, 3]);
    expect((await (await openSamples("random:2", input(["N", "T"], "int64"))).batch(0, 2)).input?.dims).toEqual([2, 16]);
  });

  it("keeps integers where any table of embeddings has an entry", async () => {
    const x = (await (await openSamples("random:4", input(["N", 50], "int64"))).batch(0, 4)).input;
    expect(new Set(x?.ints())).toEqual(new Set([0, 1]));
  });

  it("wants a count", async () => {
    await expect(openSamples("random:many", image)).rejects.toMatchObject({ code: "DATA_RANDOM", exitCode: 2 });
  });
});

describe("a limit", () => {
  it("takes a random subset in order, the same for the same seed", async () => {
    const path = file(folder(), "a.bin", cifar(Array.from({ length: 40 }, (_, i) => [Math.floor(i / 4)])));
    const take = async (seed: number) => [
      ...((await openSamples(path, { ...input(["N", 3, 32, 32]), ...RAW, limit: 20, seed })).labels ?? []),
    ];
    const labels = await take(0);
    expect(labels).toHaveLength(20);
    expect(labels).toEqual([...labels].sort((a, b) => a - b));
    // The first 20 would be classes 0 to 4.
    expect(labels.at(-1)).toBeGreaterThan(4);
    expect(await take(0)).toEqual(labels);
    expect(await take(1)).not.toEqual(labels);
  });
});
