import { cpSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { openRoles, type RoleOptions } from "../../src/calibrate/roles.js";
import type { Samples } from "../../src/calibrate/samples.js";
import { bytesOf, cifar, file, folder, input, npy, RAW } from "./write.js";

const CIFAR = { ...input(["N", 3, 32, 32]), ...RAW, needsCalibration: true };
const records = (n: number, classes: number) => cifar(Array.from({ length: n }, (_, i) => [i % classes]));
const roles = (options: Partial<RoleOptions>) => openRoles({ ...CIFAR, ...options });

/** The first byte of each record of `cifar` below 251 of them: which record it is. */
async function ids(samples: Samples | undefined): Promise<number[]> {
  if (!samples) return [];
  const { input } = await samples.batch(0, samples.count);
  const size = (input?.size ?? 0) / samples.count;
  return Array.from({ length: samples.count }, (_, k) => input?.numbers()[k * size] as number);
}
const counts = (labels: Int32Array | undefined) => [...new Set(labels)].map((c) => labels?.filter((l) => l === c).length);

describe("data of one split", () => {
  it("are divided: a class-balanced part calibrates, the rest verifies, and a note says so", async () => {
    const path = file(folder(), "a.bin", records(100, 5));
    const { calibration, data, notes } = await roles({ data: path, calibrateSamples: 20 });
    expect([counts(calibration?.labels), data?.count]).toEqual([[4, 4, 4, 4, 4], 80]);
    const all = [...(await ids(calibration)), ...(await ids(data))];
    expect(new Set(all).size).toBe(100);
    expect(notes).toMatchObject([
      {
        code: "DATA_DIVIDED",
        why: `${path} is one split, so it is divided by --seed: 20 samples, balanced by class, calibrate, the other 80 verify; --calibrate chooses`,
      },
    ]);
    expect(data?.notes).toEqual(notes);
  });

  it("are divided alike by the same seed, otherwise by another", async () => {
    const path = file(folder(), "a.bin", records(100, 5));
    const prints = async (seed: number) => {
      const { calibration, data } = await roles({ data: path, calibrateSamples: 20, seed });
      return [calibration?.fingerprint, data?.fingerprint];
    };
    expect(await prints(3)).toEqual(await prints(3));
    expect(await prints(3)).not.toEqual(await prints(4));
  });

  it("give at most half, also of a class, and a limit is about what verifies", async () => {
    const path = file(folder(), "a.bin", cifar([[0], [0], [0], [0], [0], [0], [0], [0], [1], [1]]));
    const { calibration, data } = await roles({ data: path });
    expect([counts(calibration?.labels), counts(data?.labels)]).toEqual([
      [4, 1],
      [4, 1],
    ]);
    expect((await roles({ data: path, limit: 3 })).data?.count).toBe(3);
    expect((await roles({ data: path, limit: 3 })).calibration?.count).toBe(5);
  });

  it("without labels are divided at random, and one sample is not", async () => {
    const { calibration, data } = await roles({ data: "random:10", inputs: input(["N", 3]).inputs, calibrateSamples: 4 });
    expect([calibration?.count, data?.count, calibration?.labels]).toEqual([4, 6, undefined]);
    await expect(roles({ data: "random:1" })).rejects.toMatchObject({ code: "DATA_TOO_FEW", exitCode: 2 });
  });

  it("of several inputs are divided together", async () => {
    const where = folder();
    const values = Float32Array.from({ length: 12 }, (_, i) => i);
    const x = file(where, "x.npy", npy("<f4", [12], bytesOf(values)));
    const z = file(where, "z.npy", npy("<f4", [12], bytesOf(values.map((v) => v * 10))));
    const labels = file(where, "y.npy", npy("<i4", [12], bytesOf(Int32Array.from({ length: 12 }, (_, i) => i % 2))));
    const inputs = [...input(["N"], "float32", "x").inputs, ...input(["N"], "float32", "z").inputs];
    const { calibration, data } = await openRoles({ inputs, needsCalibration: true, data: { x, z, labels }, calibrateSamples: 4 });
    expect(counts(calibration?.labels)).toEqual([2, 2]);
    for (const samples of [calibration, data]) {
      const batch = await samples?.batch(0, samples.count);
      expect([...(batch?.z?.numbers() ?? [])]).toEqual([...(batch?.x?.numbers() ?? [])].map((v) => v * 10));
    }
    expect((calibration?.count ?? 0) + (data?.count ?? 0)).toBe(12);
  });
});

describe("data with splits", () => {
  it("calibrate from train and verify on test, else on val", async () => {
    const where = folder();
    file(where, "train.bin", records(30, 3));
    file(where, "val.bin", records(6, 3));
    const onVal = await roles({ data: where, calibrateSamples: 9 });
    expect([counts(onVal.calibration?.labels), onVal.data?.count]).toEqual([[3, 3, 3], 6]);
    file(where, "test.bin", records(8, 2));
    const { calibration, data, notes } = await roles({ data: `${where}[0:4]`, calibrateSamples: 9 });
    expect([calibration?.count, data?.count]).toEqual([9, 4]);
    expect(notes).toMatchObject([{ code: "DATA_SPLITS", why: `${where}[0:4] has splits: "train" calibrates, "test" verifies` }]);
    expect(calibration?.source).toContain(`${where}#train`);
    expect(data?.source).toContain(`${where}#test[0:4]`);
  });

  it("are divided where one is named", async () => {
    const where = folder();
    file(where, "train.bin", records(30, 3));
    file(where, "test.bin", records(8, 2));
    expect((await roles({ data: `${where}#test`, calibrateSamples: 2 })).notes).toMatchObject([{ code: "DATA_DIVIDED" }]);
  });

  it("are told apart in image folders with classes below, numbered alike in all splits", async () => {
    const where = folder();
    const png = await sharp({ create: { width: 2, height: 2, channels: 3, background: "red" } })
      .png()
      .toBuffer();
    for (const path of ["train/ant", "train/bee", "train/cow", "validation/ant", "validation/cow"]) {
      mkdirSync(join(where, path), { recursive: true });
      for (const name of ["1.png", "2.png"]) file(join(where, path), name, png);
    }
    const { calibration, data } = await roles({ inputs: input(["N", 3, 2, 2]).inputs, data: where, calibrateSamples: 3 });
    expect([calibration?.labels, data?.labels]).toEqual([Int32Array.of(0, 1, 2), Int32Array.of(0, 0, 2, 2)]);
  });

  it("are those of Parquet file names too", async () => {
    const hf = join(import.meta.dirname, "../fixtures/parquet/hf");
    const { calibration, data } = await roles({ inputs: input(["N", 3, 4, 4]).inputs, data: hf, calibrateSamples: 6 });
    expect([await ids(data), calibration?.count]).toEqual([[20, 21, 22, 23, 24, 25], 6]);
    expect((await ids(calibration)).every((id) => id < 12)).toBe(true);
  });
});

describe("data and calibrate", () => {
  it("are used as they are", async () => {
    const path = file(folder(), "a.bin", records(40, 2));
    const { calibration, data, notes } = await roles({ calibrate: `${path}[0:10]`, data: `${path}[10:]`, calibrateSamples: 6 });
    expect([counts(calibration?.labels), data?.count, notes]).toEqual([[3, 3], 30, []]);
  });

  it("that share samples are refused, however the paths are spelled, whatever the seed takes", async () => {
    const where = folder();
    const path = file(where, "a.bin", records(40, 2));
    mkdirSync(join(where, "sub"));
    symlinkSync(path, join(where, "link.bin"));
    for (const data of [`${path}[9:]`, `${where}/sub/../a.bin[9:]`, `${where}/link.bin[9:]`]) {
      await expect(roles({ calibrate: `${path}[0:10]`, data, calibrateSamples: 1, limit: 1 })).rejects.toMatchObject({
        code: "DATA_OVERLAP",
        exitCode: 2,
        message: expect.stringMatching(/^1 of the 31 samples of --data are in --calibrate too, the first: .* record 9\./),
      });
    }
    const copy = join(where, "copy.bin");
    cpSync(path, copy);
    expect((await roles({ calibrate: path, data: copy })).data?.count).toBe(40);
  });

  it("of one folder with splits take train and test", async () => {
    const where = folder();
    file(where, "train.bin", records(30, 3));
    file(where, "test.bin", records(8, 2));
    const { calibration, data } = await roles({ calibrate: where, data: where, calibrateSamples: 6 });
    expect([calibration?.count, data?.count]).toEqual([6, 8]);
  });

  it("that are made up differ", async () => {
    const inputs = input(["N", 3]).inputs;
    const { calibration, data } = await roles({ inputs, calibrate: "random:4", data: "random:4" });
    expect(await ids(calibration)).not.toEqual(await ids(data));
  });
});

describe("one role alone", () => {
  it("calibrate leaves nothing to verify, and a note says so", async () => {
    const path = file(folder(), "a.bin", records(40, 2));
    const { calibration, data, notes } = await roles({ calibrate: path, calibrateSamples: 8 });
    expect([calibration?.count, data, notes[0]?.code]).toEqual([8, undefined, "NO_HELD_OUT"]);
  });

  it("holds nothing back where no pass looks at activations", async () => {
    const path = file(folder(), "a.bin", records(40, 2));
    const plain = await roles({ data: path, needsCalibration: false });
    expect([plain.calibration, plain.data?.count, plain.notes]).toEqual([undefined, 40, []]);
    const unused = await roles({ data: path, calibrate: "no/such/file", needsCalibration: false });
    expect([unused.data?.count, unused.notes.map((n) => n.code)]).toEqual([40, ["CALIBRATE_UNUSED"]]);
    expect(await roles({})).toEqual({ notes: [] });
  });
});
