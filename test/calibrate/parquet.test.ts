import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ColumnSource, parquetWriteBuffer } from "hyparquet-writer";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { openBytes } from "../../src/calibrate/file.js";
import { openParquetFile } from "../../src/calibrate/readers/parquet-file.js";
import { openSamples, type Samples } from "../../src/calibrate/samples.js";
import { file, folder, input, RAW } from "./write.js";

/** Written by pyarrow (make.py there): row k of hf/ is an image of (k, 100, 255 − k), of class k mod 3. */
const fixtures = join(import.meta.dirname, "../fixtures/parquet");
const hf = join(fixtures, "hf");
const IMAGE = { ...input(["N", 3, 4, 4]), ...RAW };
const table = join(fixtures, "tensors.parquet");

/** The red of every sample, which tells which image it is. */
async function reds(samples: Samples): Promise<(number | undefined)[]> {
  const { input } = await samples.batch(0, samples.count);
  return Array.from({ length: samples.count }, (_, i) => input?.numbers()[i * 48]);
}

async function notesOf(where: string, options: Omit<Parameters<typeof openSamples>[1], "onNote">): Promise<string[]> {
  const notes: string[] = [];
  await openSamples(where, { ...options, onNote: (t) => notes.push(t) });
  return notes;
}

describe("Parquet as Hugging Face data sets have it", () => {
  it("takes images and class labels of all files of a split, in order", async () => {
    const samples = await openSamples(`${hf}#train`, IMAGE);
    expect([samples.count, [...(samples.labels ?? [])]]).toEqual([12, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]]);
    expect(await reds(samples)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(samples.source).toBe(`${hf}#train (Parquet, 12 samples)`);
    const { input } = await samples.batch(9, 10);
    expect([16, 32].map((at) => input?.numbers()[at])).toEqual([100, 246]);
  });

  it("takes the test split of a folder when none is named, and says so", async () => {
    const samples = await openSamples(join(hf, "data"), IMAGE);
    expect(await reds(samples)).toEqual([20, 21, 22, 23, 24, 25]);
    expect((await notesOf(join(hf, "data"), IMAGE))[0]).toContain('using the split "test" of test, train');
    await expect(openSamples(`${hf}#val`, IMAGE)).rejects.toMatchObject({ code: "DATA_SPLIT" });
  });

  it("selects by slices over the borders of files and row groups, in any order", async () => {
    expect(await reds(await openSamples(`${hf}#train[::-2]`, IMAGE))).toEqual([11, 9, 7, 5, 3, 1]);
  });

  it("says when a file of a numbered split is not there", async () => {
    const where = folder();
    const name = "train-00001-of-00002.parquet";
    copyFileSync(join(hf, "data", name), join(where, name));
    expect(await notesOf(where, IMAGE)).toContain(`${where}/train: 1 of the 2 files of this split are read.`);
  });

  it("knows splits that are folders", async () => {
    const where = folder();
    for (const split of ["train", "validation"]) mkdirSync(join(where, split));
    copyFileSync(join(hf, "data/train-00001-of-00002.parquet"), join(where, "train/0000.parquet"));
    copyFileSync(join(hf, "data/test-00000-of-00001.parquet"), join(where, "validation/0000.parquet"));
    expect((await openSamples(where, IMAGE)).count).toBe(6);
    expect((await openSamples(`${where}#validation`, IMAGE)).count).toBe(6);
    expect((await openSamples(`${where}#train`, IMAGE)).count).toBe(5);
  });
});

describe("columns of Parquet", () => {
  it("are found by kind: the only binary column, text labels numbered by name", async () => {
    const where = `${join(fixtures, "holes.parquet")}#label=animal`;
    const samples = await openSamples(`${where}[0,2,3]`, IMAGE);
    expect([await reds(samples), samples.labels]).toEqual([[0, 2, 3], Int32Array.of(2, 2, 1)]);
    expect(await notesOf(`${where}[0,2,3]`, IMAGE)).toContain(
      'Labels in "animal" are text: its 3 names are numbered from 0 in their order (cat, cow, dog).',
    );
  });

  it("are tensors by the inputs' names, whatever their type", async () => {
    const inputs = [
      { name: "x", dtype: "float32", shape: ["N", 2, 4] },
      { name: "ids", dtype: "int64", shape: ["N", 2] },
      { name: "grid", dtype: "uint8", shape: ["N", 2, 4] },
      { name: "half", dtype: "float16", shape: ["N", 8] },
      { name: "rate", dtype: "float64", shape: ["N", 1] },
      { name: "on", dtype: "bool", shape: ["N"] },
    ] as const;
    const samples = await openSamples(table, { inputs });
    expect([samples.count, samples.labels]).toEqual([5, Int32Array.of(4, 3, 2, 1, 0)]);
    const { x, ids, grid, half, rate, on } = await samples.batch(1, 4);
    const halves = Array.from({ length: 24 }, (_, k) => (8 + k) / 2);
    expect([x?.dims, [...(x?.numbers() ?? [])]]).toEqual([[3, 2, 4], halves]);
    // 2^53 + 3 and 2^53 + 5 are not representable as numbers.
    expect(ids?.data).toEqual(BigInt64Array.from({ length: 6 }, (_, k) => 2n ** 53n + 2n + BigInt(k)));
    expect([grid?.dims, grid?.ints()]).toEqual([[3, 2, 4], Array.from({ length: 24 }, (_, k) => 8 + k)]);
    expect([half?.dims, [...(half?.numbers() ?? [])]]).toEqual([[3, 8], halves]);
    expect([rate?.dims, [...(rate?.numbers() ?? [])], on?.ints()]).toEqual([
      [3, 1],
      [0.5, 1, 1.5],
      [0, 1, 0],
    ]);
  });

  it("are chosen in the where, also one source per input", async () => {
    const two = { inputs: [...input(["N", 8], "float32", "a").inputs, ...input(["N", 2], "int64", "b").inputs] };
    const one = await openSamples(`${table}#a=x,b=ids,label=coarse_label`, two);
    expect(one.labels).toEqual(Int32Array.of(1, 1, 0, 0, 0));
    const each = await openSamples({ a: `${table}#a=x`, b: `${table}#b=ids` }, two);
    expect(await each.batch(0, 5)).toEqual(await one.batch(0, 5));
  });

  it("that are missing, ambiguous or of the wrong kind are refused with what there is", async () => {
    const X = input(["N", 8]);
    await expect(openSamples(table, X)).rejects.toMatchObject({
      code: "DATA_COLUMNS",
      message: expect.stringMatching(/no column for the input "input" of the model; it has x \(lists of float32\), ids \(lists of int64\)/),
    });
    await expect(openSamples(`${table}#input=hal`, X)).rejects.toMatchObject({ code: "DATA_COLUMNS", hint: 'Did you mean "half"?' });
    await expect(openSamples(`${table}#inptu=x`, X)).rejects.toMatchObject({ exitCode: 2, hint: expect.stringContaining('"input"?') });
    await expect(openSamples(`${table}#input=x,label=x`, X)).rejects.toMatchObject({ code: "DATA_COLUMNS" });
    const csv = file(folder(), "x.csv", "a,1");
    await expect(openSamples(`${csv}#label=b`, X)).rejects.toMatchObject({ code: "DATA_COLUMNS", exitCode: 2 });
    const both = { inputs: [...IMAGE.inputs, ...input(["N"], "int64", "label").inputs], ...RAW };
    await expect(openSamples(`${hf}#test,input=image`, both)).rejects.toMatchObject({ code: "DATA_INPUTS" });
    const named = await openSamples({ input: `${hf}#test,input=image`, label: `${hf}#test` }, { ...both, inputs: both.inputs });
    expect((await named.batch(0, 6)).label?.data).toEqual(BigInt64Array.of(2n, 0n, 1n, 2n, 0n, 1n));
  });
});

describe("faults in Parquet", () => {
  const holes = `${join(fixtures, "holes.parquet")}#label=animal`;

  it("name file, row group and row", async () => {
    const at = (row: number) => openSamples(`${join(fixtures, "holes.parquet")}[${row}]`, IMAGE);
    await expect(at(1)).rejects.toMatchObject({
      code: "DATA_NULL",
      message: expect.stringContaining("holes.parquet row group 0 row 1 has no image"),
    });
    await expect(at(5)).rejects.toMatchObject({ code: "DATA_IMAGE", message: expect.stringContaining("row group 1 row 5") });
    await expect(openSamples(`${holes}[4]`, IMAGE)).rejects.toMatchObject({
      code: "DATA_LABELS",
      message: expect.stringContaining("row group 1 row 4 has no label"),
    });
    const ragged = (row: number) => openSamples(`${table}#input=ragged[${row}]`, input(["N", 1], "float64"));
    await expect(ragged(1)).rejects.toMatchObject({ code: "DATA_SHAPE", message: expect.stringContaining("row group 0 row 1: ") });
    await expect(ragged(4)).rejects.toMatchObject({ code: "DATA_NULL", message: expect.stringContaining("row group 2 row 4: ") });
    await expect(openSamples(`${table}#input=spoilt[3]`, input(["N", 8]))).rejects.toMatchObject({
      code: "DATA_NOT_FINITE",
      message: expect.stringContaining("row group 1 row 3: Element 2"),
    });
  });

  it("are left out and listed when that is asked for", async () => {
    const samples = await openSamples(holes, { ...IMAGE, skipBad: true });
    expect([await reds(samples), samples.labels]).toEqual([[0, 2, 3], Int32Array.of(2, 2, 1)]);
    expect(samples.bad.map((b) => b.sample)).toEqual(
      [1, 4, 5].map((r) => `${join(fixtures, "holes.parquet")} row group ${r < 4 ? 0 : 1} row ${r}`),
    );
    expect(samples.notes.map((n) => n.code)).toEqual(["SAMPLES_BAD"]);
    expect(samples.source).toContain("(Parquet, 3 samples, 3 bad ones left out)");
  });

  it("in bytes are refused, and cost one row group or one file when that is asked for", async () => {
    const where = folder();
    const good = readFileSync(join(hf, "data/train-00000-of-00002.parquet"));
    const broken = Buffer.from(good);
    // The first pages: row group 0 begins after the magic bytes.
    broken.fill(0xff, 4, 200);
    const path = file(where, "train-0.parquet", broken);
    await expect(openSamples(path, IMAGE)).rejects.toMatchObject({
      code: "DATA_PARQUET",
      message: expect.stringContaining("row group 0, rows 0 to 2"),
    });
    const rest = await openSamples(path, { ...IMAGE, skipBad: true });
    expect([await reds(rest), rest.bad.length]).toEqual([[3, 4, 5, 6], 3]);
    writeFileSync(join(where, "train-1.parquet"), good.subarray(0, 1000));
    await expect(openSamples(join(where, "train-1.parquet"), IMAGE)).rejects.toMatchObject({ code: "DATA_PARQUET" });
    const both = await openSamples(where, { ...IMAGE, skipBad: true });
    expect([both.count, both.bad.map((b) => b.sample)[0]]).toEqual([4, `all of ${join(where, "train-1.parquet")}`]);
  });
});

describe("large Parquet", () => {
  it("is read in pieces of a row group where the file has an index of its pages", async () => {
    const path = join(fixtures, "indexed.parquet");
    const opened = await openParquetFile(await openBytes(path));
    // 32 MiB of images and their levels make three pieces; labels alone are one.
    expect(opened.blockOf(1500, ["image"])).toEqual({ group: 0, from: 1366, to: 2048 });
    expect(opened.blockOf(1500, ["label"])).toEqual({ group: 0, from: 0, to: 2048 });
    expect(await opened.read({ group: 0, from: 1366, to: 1368 }, ["label"])).toEqual([{ label: 6 }, { label: 7 }]);
    const samples = await openSamples(path, IMAGE);
    expect(samples.count).toBe(2048);
    for (const i of [2047, 0, 1023, 1024, 1500]) {
      const { input } = await samples.batch(i, i + 1);
      expect([i, input?.numbers()[0], samples.labels?.[i]]).toEqual([i, i % 200, i % 10]);
    }
    const scattered = await openSamples(join(fixtures, "indexed.parquet"), { ...IMAGE, shuffle: true, limit: 40 });
    const got = await reds(scattered);
    // Label and image of a row stay together: red is the row mod 200, the label the row mod 10.
    expect(got.map((r) => (r as number) % 10)).toEqual([...(scattered.labels ?? [])]);
  });
});

describe("Parquet of another writer", () => {
  it("is read the same: plain lists, many row groups, uncompressed or Snappy", async () => {
    for (const codec of ["UNCOMPRESSED", "SNAPPY"] as const) {
      const columnData: ColumnSource[] = [
        { name: "x", data: Array.from({ length: 25 }, (_, i) => i / 4), type: "DOUBLE" },
        { name: "label", data: Int32Array.from({ length: 25 }, (_, i) => i % 4), type: "INT32" },
      ];
      const path = file(folder(), "t.parquet", new Uint8Array(parquetWriteBuffer({ columnData, codec, rowGroupSize: 10 })));
      const samples = await openSamples(path, input(["N"], "float64", "x"));
      expect([...((await samples.batch(8, 22)).x?.numbers() ?? [])]).toEqual(Array.from({ length: 14 }, (_, i) => (8 + i) / 4));
      expect([...(samples.labels ?? [])]).toEqual(Array.from({ length: 25 }, (_, i) => i % 4));
    }
  });

  it("is an image whatever the image's format", async () => {
    const raw = { create: { width: 4, height: 4, channels: 3 as const, background: { r: 9, g: 8, b: 7 } } };
    const data = [await sharp(raw).png().toBuffer(), await sharp(raw).webp({ lossless: true }).toBuffer()].map((b) => new Uint8Array(b));
    const path = file(
      folder(),
      "t.parquet",
      new Uint8Array(parquetWriteBuffer({ columnData: [{ name: "picture", data, type: "BYTE_ARRAY" }] })),
    );
    expect(await reds(await openSamples(path, IMAGE))).toEqual([9, 9]);
  });
});
