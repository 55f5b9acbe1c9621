import { mkdirSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { afterEach, describe, expect, it, vi } from "vitest";
import { centerCrop, type Pixels, resize, toChannels } from "../../src/calibrate/pixels.js";
import { parseCsv } from "../../src/calibrate/readers/images.js";
import { openSamples } from "../../src/calibrate/samples.js";
import { file, folder, input, RAW } from "./write.js";

const SMALL = input(["N", 3, 4, 4]);

/** A PNG of one colour. */
function png(rgb: readonly [number, number, number], width = 4, height = 4): Promise<Buffer> {
  const background = { r: rgb[0], g: rgb[1], b: rgb[2] };
  return sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toBuffer();
}

async function classFolders(): Promise<string> {
  const where = folder();
  for (const name of ["b-second", "a-first", "c-third"]) mkdirSync(join(where, name));
  file(join(where, "a-first"), "1.png", await png([10, 20, 30]));
  file(join(where, "a-first"), "2.png", await png([11, 21, 31]));
  file(join(where, "b-second"), "x.png", await png([40, 50, 60]));
  file(
    join(where, "c-third"),
    "x.jpeg",
    await sharp(await png([0, 0, 0]))
      .jpeg()
      .toBuffer(),
  );
  file(join(where, "c-third"), "README.txt", "no image");
  return where;
}

describe("image folders", () => {
  it("number the classes by name and leave other files out, with a note", async () => {
    const notes: string[] = [];
    const samples = await openSamples(await classFolders(), { ...SMALL, ...RAW, onNote: (t) => notes.push(t) });
    expect(samples.labels).toEqual(Int32Array.of(0, 0, 1, 2));
    const x = (await samples.batch(1, 3)).input?.numbers();
    expect([x?.[0], x?.[16], x?.[32], x?.[48]]).toEqual([11, 21, 31, 40]);
    expect(notes.join()).toContain("1 files below");
  });

  it("are BGR and NHWC when asked", async () => {
    const preprocess = { channels: "BGR", layout: "NHWC" } as const;
    const samples = await openSamples(`${await classFolders()}[0]`, { ...input(["N", "H", "W", 3]), preprocess });
    const x = (await samples.batch(0, 1)).input;
    expect([x?.dims, [...(x?.numbers().slice(0, 3) ?? [])]]).toEqual([
      [1, 4, 4, 3],
      [30, 20, 10],
    ]);
  });

  it("take labels.csv before sub-folders, with quotes and a header", async () => {
    const where = folder();
    mkdirSync(join(where, "images"));
    file(join(where, "images"), `a, "1".png`, await png([1, 1, 1]));
    file(join(where, "images"), "b.png", await png([2, 2, 2]));
    file(where, "labels.csv", `file,label,name\r\n"images/a, ""1"".png",7,"tench, tinca"\r\nimages/b.png,3,\r\n`);
    for (const path of [where, join(where, "labels.csv"), join(where, "images")]) {
      expect((await openSamples(path, { ...SMALL, ...RAW })).labels).toEqual(Int32Array.of(7, 3));
    }
  });

  it("name the row of labels.csv that has no class number", async () => {
    const where = folder();
    file(where, "labels.csv", "a.png,1\nb.png,cat\n");
    await expect(openSamples(where, { ...SMALL, ...RAW })).rejects.toMatchObject({
      code: "DATA_LABELS",
      message: expect.stringContaining("row 2"),
    });
  });

  it("are splits, not classes, when named train and val", async () => {
    const where = folder();
    for (const split of ["train", "val"]) mkdirSync(join(where, split, "cat"), { recursive: true });
    file(join(where, "train/cat"), "a.png", await png([1, 1, 1]));
    file(join(where, "val/cat"), "b.png", await png([9, 9, 9]));
    const first = async (path: string) => (await (await openSamples(path, { ...SMALL, ...RAW })).batch(0, 1)).input?.numbers()[0];
    expect(await first(where)).toBe(9);
    expect(await first(`${where}#train`)).toBe(1);
  });

  it("name a damaged image, or count it when bad samples may be skipped", async () => {
    const where = await classFolders();
    const noise = Buffer.from(Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * 7919) % 256));
    const jpeg = await sharp(noise, { raw: { width: 64, height: 64, channels: 3 } })
      .jpeg()
      .toBuffer();
    const bad = file(join(where, "a-first"), "1.png", jpeg.subarray(0, jpeg.length / 2));
    await expect(openSamples(where, { ...SMALL, ...RAW })).rejects.toMatchObject({ code: "DATA_IMAGE", at: { file: bad } });
    const late = await openSamples(`${where}[::-1]`, { ...SMALL, ...RAW });
    await expect(late.batch(0, 4)).rejects.toMatchObject({ at: { file: bad } });
    const samples = await openSamples(where, { ...SMALL, ...RAW, skipBad: true });
    expect([samples.labels, samples.bad.map((b) => b.sample)]).toEqual([Int32Array.of(0, 1, 2), [bad]]);
  });

  it("of different sizes are refused in one batch", async () => {
    const where = folder();
    file(where, "a.png", await png([1, 1, 1]));
    file(where, "b.png", await png([1, 1, 1], 6, 5));
    const samples = await openSamples(where, { ...input(["N", 3, "H", "W"]), ...RAW });
    expect((await samples.batch(1, 2)).input?.dims).toEqual([1, 3, 5, 6]);
    await expect(samples.batch(0, 2)).rejects.toMatchObject({ code: "DATA_STACK", message: expect.stringContaining("b.png") });
  });

  it("say what to do when there is nothing in them", async () => {
    await expect(openSamples(folder(), { ...SMALL, ...RAW })).rejects.toMatchObject({ code: "DATA_EMPTY" });
  });
});

describe("a single image", () => {
  it("is read as RGB from gray, alpha, 16 bits and CMYK", async () => {
    const where = folder();
    const pixel = { create: { width: 4, height: 4, channels: 4 as const, background: { r: 200, g: 100, b: 50, alpha: 0.5 } } };
    const cases = [
      [await sharp(pixel).png().toBuffer(), [200, 100, 50], 0],
      [
        await sharp(await png([80, 80, 80]))
          .toColourspace("b-w")
          .png()
          .toBuffer(),
        [80, 80, 80],
        0,
      ],
      [
        await sharp(await png([200, 100, 50]))
          .toColourspace("rgb16")
          .png()
          .toBuffer(),
        [200, 100, 50],
        1,
      ],
      // Other colours leave the gamut of CMYK; white tells whether the inks are inverted.
      [
        await sharp(await png([255, 255, 255]))
          .toColourspace("cmyk")
          .jpeg({ quality: 100 })
          .toBuffer(),
        [255, 255, 255],
        1,
      ],
    ] as const;
    for (const [k, [content, rgb, tolerance]] of cases.entries()) {
      const samples = await openSamples(file(where, `${k}.img`, content), { ...SMALL, ...RAW });
      const x = (await samples.batch(0, 1)).input?.numbers() ?? [];
      for (const [c, want] of rgb.entries()) expect(Math.abs((x[16 * c] as number) - want), `case ${k}`).toBeLessThanOrEqual(tolerance);
      expect(samples.labels).toBeUndefined();
    }
  });
});

describe("resize and crop", () => {
  /** The pattern that Pillow 13.0 was given: byte k is 37·k mod 256, height 5, width 7, RGB. */
  const pattern: Pixels = {
    channels: 3,
    height: 5,
    width: 7,
    planar: false,
    data: Uint8Array.from({ length: 105 }, (_, k) => (37 * k) % 256),
  };
  const red = (p: Pixels) => [...p.data.subarray(0, p.height * p.width)];

  it("equal Pillow's bilinear filter, down and up", () => {
    const down = resize(pattern, 3);
    expect([down.height, down.width, down.planar]).toEqual([3, 4, true]);
    expect(red(down)).toEqual([62, 163, 132, 112, 76, 177, 146, 126, 83, 115, 160, 140]);
    expect(red(resize(pattern, [5, 3]))).toEqual([95, 137, 114, 104, 146, 123, 113, 155, 132, 122, 164, 141, 76, 113, 150]);
    const up = red(resize(pattern, [10, 14]));
    expect(up.slice(0, 14)).toEqual([0, 28, 83, 139, 194, 186, 113, 105, 160, 152, 79, 71, 126, 154]);
    expect(up.slice(-14)).toEqual([36, 64, 119, 111, 38, 30, 85, 141, 196, 188, 115, 107, 162, 190]);
  });

  it("are the same for planar and interleaved pixels", () => {
    const planar: Pixels = {
      ...pattern,
      planar: true,
      data: pattern.data.map((_, k) => pattern.data[(k % 35) * 3 + Math.floor(k / 35)] as number),
    };
    expect(resize(planar, 3).data).toEqual(resize(pattern, 3).data);
    expect(toChannels(planar, 1).data).toEqual(toChannels(pattern, 1).data);
    expect(centerCrop(planar, 3).data[0]).toBe(centerCrop(pattern, 3).data[0]);
  });

  it("cut the middle and round half to even, as torchvision does", () => {
    // Height 5 to 2: (5 - 2) / 2 = 1.5 -> 2. Width 7 to 2: 2.5 -> 2.
    const cut = centerCrop(pattern, 2);
    expect(cut.data[0]).toBe(pattern.data[(2 * 7 + 2) * 3]);
    expect(() => centerCrop(pattern, 6)).toThrow("smaller than the centre crop");
  });

  it("turn colour to gray with Pillow's luma", () => {
    expect([...toChannels(pattern, 1).data.subarray(0, 7)]).toEqual([30, 141, 73, 107, 189, 73, 184]);
  });
});

describe("labels.csv", () => {
  it("is read as RFC 4180 says", () => {
    expect(parseCsv(`a,b\r\n"x, ""y""\nz",\n\n,"",c`)).toEqual([
      ["a", "b"],
      [`x, "y"\nz`, ""],
      ["", "", "c"],
    ]);
  });

  it("is refused with the line of an open quote", () => {
    expect(() => parseCsv(`a,1\n"b,2\n`)).toThrow("Line 2");
    expect(() => parseCsv(`a,1\n"b"c,2\n`)).toThrow("Line 2");
  });
});

describe("without sharp", () => {
  afterEach(() => {
    vi.doUnmock("sharp");
    vi.resetModules();
  });

  it("an image asks for it by name", async () => {
    const path = file(folder(), "a.png", await png([1, 2, 3]));
    vi.resetModules();
    vi.doMock("sharp", () => {
      throw new Error("Cannot find package 'sharp'");
    });
    const fresh = await import("../../src/calibrate/samples.js");
    await expect(fresh.openSamples(path, { ...SMALL, ...RAW })).rejects.toMatchObject({
      code: "SHARP_MISSING",
      hint: expect.stringContaining("npm install sharp"),
    });
  });
});
