import { describe, expect, it } from "vitest";
import { readPreprocess } from "../../src/calibrate/preprocess.js";
import { openSamples } from "../../src/calibrate/samples.js";
import { parseWhere, selectIndices } from "../../src/calibrate/where.js";
import { cifar, file, folder, input, RAW } from "./write.js";

describe("slices", () => {
  // Each right side is what Python gives for list(range(10))[slice].
  const python: [string, number[]][] = [
    ["0:3", [0, 1, 2]],
    ["::4", [0, 4, 8]],
    ["1::4", [1, 5, 9]],
    ["-3:", [7, 8, 9]],
    [":-8", [0, 1]],
    ["8:100", [8, 9]],
    ["-100:2", [0, 1]],
    ["5:2", []],
    ["::-3", [9, 6, 3, 0]],
    ["2::-1", [2, 1, 0]],
    ["100:6:-1", [9, 8, 7]],
    ["-1", [9]],
    ["1::4, 2::4", [1, 5, 9, 2, 6]],
  ];

  it.each(python)("[%s] selects as Python does", (slice, want) => {
    expect(selectIndices(slice, 10)).toEqual(want);
  });

  it.each(["", "a", "1:2:3:4", "::0", "10", "-11", "1.5", "--1", "1,"])("[%s] is refused", (slice) => {
    expect(() => selectIndices(slice, 10)).toThrowError(expect.objectContaining({ code: "SLICE_INVALID", exitCode: 2 }));
  });
});

describe("a where", () => {
  it("has a reader, a path, a split, columns and a slice", async () => {
    expect(await parseWhere("cifar10:some/data#train[0:20]")).toEqual({
      reader: "cifar10",
      path: "some/data",
      split: "train",
      columns: {},
      slice: "0:20",
    });
    expect(await parseWhere("random:64")).toMatchObject({ reader: "random", path: "64" });
  });

  it("keeps drive letters, and brackets and hashes of names that exist", async () => {
    expect(await parseWhere("C:\\data")).toMatchObject({ reader: undefined, path: "C:\\data" });
    const path = file(folder(), "a#b[1].bin", cifar([[1], [2]]));
    expect(await parseWhere(path)).toMatchObject({ path, split: undefined, slice: undefined });
    expect((await openSamples(`${path}[1]`, { ...input(["N", 3, 32, 32]), ...RAW })).labels).toEqual(Int32Array.of(2));
  });

  it("that selects nothing is refused", async () => {
    const path = file(folder(), "a.bin", cifar([[1]]));
    await expect(openSamples(`${path}[5:]`, { ...input(["N", 3, 32, 32]), ...RAW })).rejects.toMatchObject({ code: "DATA_EMPTY" });
  });
});

describe("preprocessing", () => {
  const card = {
    name: "net",
    preprocess: { layout: "NCHW RGB", scale: "x/255", mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], comment: "as published" },
    expected: { dataset: "somewhere", center_crop: 224, resize_after_crop: 128 },
  };

  it("is understood as options, as JSON text, as a file and as a model card", async () => {
    expect(await readPreprocess({ mean: 1 })).toEqual({ mean: [1] });
    expect(await readPreprocess(`{"resize": [8, 9]}`)).toEqual({ resize: [8, 9] });
    expect(await readPreprocess(file(folder(), "net.json", JSON.stringify(card)))).toEqual({
      ...card.preprocess,
      layout: "NCHW",
      channels: "RGB",
      scale: 1 / 255,
      centerCrop: 224,
      resizeAfterCrop: 128,
    });
    expect(await readPreprocess(`{"layout": "NHWC gray", "scale": "x"}`)).toEqual({ layout: "NHWC", channels: "gray", scale: 1 });
  });

  it.each([
    [`{"scale": "x/256"}`, "scale"],
    [`{"layout": "RGB NCHW"}`, "layout"],
    [`{"layout": "NCHW RGB", "channels": "BGR"}`, "contradicts itself"],
    [`{"std": [0.2, 0]}`, "must not be 0"],
    [`{"centercrop": 224}`, "centercrop"],
    [`{"mean": }`, "not JSON"],
    ["no/such/file.json", "neither"],
  ])("refuses %s", async (text, message) => {
    await expect(readPreprocess(text)).rejects.toMatchObject({
      code: "PREPROCESS_INVALID",
      exitCode: 2,
      message: expect.stringContaining(message),
    });
  });

  it("refuses a mean for other channels, and a dtype the model does not have", async () => {
    const path = file(folder(), "a.bin", cifar([[1]]));
    const model = input(["N", 3, 32, 32]);
    await expect(openSamples(path, { ...model, preprocess: { mean: [1, 2] } })).rejects.toMatchObject({ code: "DATA_CHANNELS" });
    await expect(openSamples(path, { ...model, preprocess: { dtype: "uint8" } })).rejects.toMatchObject({ code: "DATA_DTYPE" });
  });
});
