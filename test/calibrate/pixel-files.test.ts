import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { openSamples } from "../../src/calibrate/samples.js";
import { bytesOf, cifar, file, folder, idx, input, RAW } from "./write.js";

const RGB = input(["N", 3, 32, 32]);
const DIGITS = input(["N", 1, 2, 3]);

describe("CIFAR binary", () => {
  it("gives planar RGB and the label of each record, packed or not", async () => {
    const where = folder();
    const content = cifar([[3], [9], [0]]);
    for (const name of ["a.bin", "a.bin.gz"]) {
      const samples = await openSamples(file(where, name, content), { ...RGB, ...RAW });
      expect(samples.labels).toEqual(Int32Array.of(3, 9, 0));
      const { input: x } = await samples.batch(1, 3);
      expect(x?.dims).toEqual([2, 3, 32, 32]);
      // Record 1, green (channel 1), row 2, column 5: byte 3072 + 1024 + 2·32 + 5 of the pattern.
      expect(x?.numbers()[1024 + 69]).toBe((3072 + 1024 + 69) % 251);
      expect(x?.numbers()[3072 + 3071]).toBe((2 * 3072 + 3071) % 251);
    }
  });

  it("normalises as torchvision does: divide, subtract, divide, each rounded to float32", async () => {
    const preprocess = { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    const samples = await openSamples(file(folder(), "a.bin", cifar([[1]])), { ...RGB, preprocess });
    const x = (await samples.batch(0, 1)).input?.numbers();
    // Byte 100 of blue is (2048 + 100) % 251 = 140. numpy: (float32(140)/float32(255) - float32(.406)) / float32(.225).
    expect(x?.[2048 + 100]).toBe(Math.fround(0.6356428861618042));
  });

  it("reads CIFAR-100 with its fine labels", async () => {
    const samples = await openSamples(
      file(
        folder(),
        "train.bin",
        cifar([
          [19, 99],
          [0, 7],
        ]),
      ),
      { ...RGB, ...RAW },
    );
    expect(samples.labels).toEqual(Int32Array.of(99, 7));
    expect((await samples.batch(1, 2)).input?.numbers()[0]).toBe(3072 % 251);
  });

  it("joins the training batches of a folder and takes the test batch when nothing is said", async () => {
    const where = folder();
    file(where, "data_batch_1.bin", cifar([[1], [2]]));
    file(where, "data_batch_2.bin", cifar([[3]]));
    file(where, "test_batch.bin", cifar([[4]]));
    const notes: string[] = [];
    const onNote = (t: string) => notes.push(t);
    expect((await openSamples(where, { ...RGB, ...RAW, onNote })).labels).toEqual(Int32Array.of(4));
    expect(notes.join()).toContain(`${where}#<split>`);
    expect((await openSamples(`${where}#train`, { ...RGB, ...RAW })).labels).toEqual(Int32Array.of(1, 2, 3));
    expect((await openSamples(`${where}#train[-1]`, { ...RGB, ...RAW })).labels).toEqual(Int32Array.of(3));
    await expect(openSamples(`${where}#val`, { ...RGB, ...RAW })).rejects.toMatchObject({ code: "DATA_SPLIT", exitCode: 2 });
  });

  it("refuses a file that ends inside a record, naming what is left over", async () => {
    const cut = file(folder(), "a.bin", cifar([[1], [2]]).subarray(0, 5000));
    await expect(openSamples(cut, { ...RGB, ...RAW })).rejects.toMatchObject({
      code: "DATA_TRUNCATED",
      message: expect.stringContaining("1 CIFAR-10 binary records of 3073 bytes and 1927"),
    });
  });

  it("refuses a label outside the classes, and counts it when bad samples may be skipped", async () => {
    const where = file(folder(), "a.bin", cifar([[1], [77], [2]]));
    await expect(openSamples(where, { ...RGB, ...RAW })).rejects.toMatchObject({
      code: "DATA_LABELS",
      message: `${where} record 1 has label 77, expected 0..9.`,
    });
    const samples = await openSamples(where, { ...RGB, ...RAW, skipBad: true });
    expect([samples.count, samples.labels, samples.bad.map((b) => b.sample)]).toEqual([2, Int32Array.of(1, 2), [`${where} record 1`]]);
    expect((await samples.batch(1, 2)).input?.numbers()[0]).toBe((2 * 3072) % 251);
  });
});

describe("MNIST idx", () => {
  const images = idx([2, 2, 3], [0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255]);

  it("finds labels beside the images, packed or not", async () => {
    const where = folder();
    const path = file(where, "t10k-images-idx3-ubyte.gz", images);
    file(where, "t10k-labels-idx1-ubyte", idx([2], [7, 3]));
    const samples = await openSamples(path, { ...DIGITS, ...RAW });
    expect(samples.labels).toEqual(Int32Array.of(7, 3));
    const x = (await samples.batch(0, 2)).input;
    expect(x?.dims).toEqual([2, 1, 2, 3]);
    expect([...(x?.numbers() ?? [])]).toEqual([0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255]);
  });

  it("has no labels, and says so, when no file is beside", async () => {
    const notes: string[] = [];
    const samples = await openSamples(file(folder(), "x-images-idx3-ubyte", images), { ...DIGITS, ...RAW, onNote: (t) => notes.push(t) });
    expect(samples.labels).toBeUndefined();
    expect(notes.join()).toContain("x-labels-idx1-ubyte");
  });

  it("fits models that take [N, H, W] or flat vectors", async () => {
    const path = file(folder(), "x-images-idx3-ubyte", images);
    expect((await (await openSamples(path, { ...input(["N", 2, 3]), ...RAW })).batch(0, 2)).input?.dims).toEqual([2, 2, 3]);
    expect((await (await openSamples(path, { ...input(["N", 6]), ...RAW })).batch(0, 2)).input?.dims).toEqual([2, 6]);
  });

  it("refuses labels of another set", async () => {
    const where = folder();
    file(where, "train-labels-idx1-ubyte", idx([3], [1, 2, 3]));
    await expect(openSamples(file(where, "train-images-idx3-ubyte", images), { ...DIGITS, ...RAW })).rejects.toMatchObject({
      code: "DATA_LABELS",
    });
  });

  it("refuses a gzip file that was cut off, naming it", async () => {
    const path = join(folder(), "t10k-images-idx3-ubyte.gz");
    writeFileSync(path, gzipSync(images).subarray(0, -10));
    await expect(openSamples(path, { ...DIGITS, ...RAW })).rejects.toMatchObject({ code: "DATA_GZIP", at: { file: path } });
  });

  it("refuses a file shorter than its dims", async () => {
    const path = file(folder(), "x-images-idx3-ubyte", images.subarray(0, 20));
    await expect(openSamples(path, { ...DIGITS, ...RAW })).rejects.toMatchObject({ code: "DATA_TRUNCATED" });
  });
});

describe("the fit of data and model", () => {
  it("says what to set when the model wants other images", async () => {
    const path = file(folder(), "a.bin", cifar([[1]]));
    await expect(openSamples(path, { ...input(["N", 1, 28, 28]), ...RAW })).rejects.toMatchObject({
      code: "DATA_SHAPE",
      message: `${path} record 0: The sample is [3, 32, 32], but input "input" of the model takes [1, 28, 28].`,
      hint: expect.stringContaining(`"channels": "gray" and "resize": 28 and "centerCrop": 28`),
    });
    await expect(openSamples(path, { ...input(["N", 32, 32, 3]), ...RAW })).rejects.toMatchObject({
      hint: expect.stringContaining(`"layout": "NHWC"`),
    });
  });

  it("feeds CIFAR to a 28x28 gray model once told how", async () => {
    const path = file(folder(), "a.bin", cifar([[1]]));
    const preprocess = { channels: "gray", resize: 28, scale: 1 / 255 } as const;
    const x = (await (await openSamples(path, { ...input(["N", 1, 28, 28]), preprocess })).batch(0, 1)).input;
    expect(x?.dims).toEqual([1, 1, 28, 28]);
    expect(Math.max(...(x?.numbers() ?? []))).toBeLessThanOrEqual(1);
  });

  it("does not guess the preprocessing of a float model", async () => {
    const path = file(folder(), "a.bin", cifar([[1]]));
    await expect(openSamples(path, RGB)).rejects.toMatchObject({ code: "PREPROCESS_MISSING" });
  });

  it("feeds stored bytes to a uint8 model, and refuses fractions", async () => {
    const path = file(folder(), "a.bin", cifar([[1]]));
    const bytes = input(["N", 3, 32, 32], "uint8");
    const x = (await (await openSamples(path, bytes)).batch(0, 1)).input;
    expect(x?.dtype).toBe("uint8");
    expect(Buffer.compare(x?.bytes ?? bytesOf(new Uint8Array()), readFileSync(path).subarray(1))).toBe(0);
    await expect(openSamples(path, { ...bytes, preprocess: { scale: 1 / 255 } })).rejects.toMatchObject({ code: "DATA_DTYPE" });
  });

  it("gives float16 and int8 as the model wants them", async () => {
    const path = file(folder(), "a.bin", cifar([[1]]));
    const half = (await (await openSamples(path, { ...input(["N", 3, 32, 32], "float16"), preprocess: { scale: 0.5 } })).batch(0, 1)).input;
    expect([half?.dtype, half?.data.constructor.name, half?.numbers()[7]]).toEqual(["float16", "Uint16Array", 3.5]);
    const int8 = (await (await openSamples(path, { ...input(["N", 3, 32, 32], "int8"), preprocess: { mean: 128 } })).batch(0, 1)).input;
    expect([int8?.dtype, int8?.data[7]]).toEqual(["int8", -121]);
  });

  it("takes a forced reader at its word", async () => {
    const path = file(folder(), "digits", cifar([[1]]));
    await expect(openSamples(`mnist:${path}`, { ...RGB, ...RAW })).rejects.toMatchObject({ code: "DATA_IDX" });
    expect((await openSamples(`cifar10:${path}`, { ...RGB, ...RAW })).count).toBe(1);
  });

  it("names the formats it knows when it knows none of them", async () => {
    const path = file(folder(), "notes.txt", "hello");
    await expect(openSamples(path, { ...RGB, ...RAW })).rejects.toMatchObject({
      code: "DATA_FORMAT",
      hint: expect.stringContaining("CIFAR"),
    });
    await expect(openSamples(`${path}.gone`, RGB)).rejects.toMatchObject({ code: "DATA_UNREADABLE" });
  });

  it("takes preprocess.json beside the data, and above a folder that is a split, but a given one replaces it wholly", async () => {
    const where = folder();
    file(where, "preprocess.json", JSON.stringify({ scale: 0.5, mean: 1 }));
    mkdirSync(join(where, "val"));
    for (const path of [file(where, "a.bin", cifar([[1]])), file(join(where, "val"), "a.bin", cifar([[1]]))]) {
      expect((await (await openSamples(path, RGB)).batch(0, 1)).input?.numbers()[7]).toBe(2.5);
    }
    const given = await openSamples(join(where, "a.bin"), { ...RGB, preprocess: { scale: 2 } });
    expect((await given.batch(0, 1)).input?.numbers()[7]).toBe(14);
    mkdirSync(join(where, "other"));
    await expect(openSamples(file(join(where, "other"), "a.bin", cifar([[1]])), RGB)).rejects.toMatchObject({ code: "PREPROCESS_MISSING" });
  });
});
