/** Every reader against every fault: the error says what, where and which sample; with skipBad the rest is used. */
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openSamples, type SampleOptions } from "../../src/calibrate/samples.js";
import { array, color, FAULTS, pairs } from "./faults.js";
import { cifar, file, folder, input, RAW } from "./write.js";

const fixtures = join(import.meta.dirname, "../fixtures/data");

/** All samples, one by one, so that an error is that of the sample that is to blame. */
async function readAll(where: string, options: SampleOptions): Promise<number> {
  const samples = await openSamples(where, options);
  for (let i = 0; i < samples.count; i++) await samples.batch(i, i + 1);
  return samples.count;
}

describe("a fault", () => {
  it.each(FAULTS)("$of", async ({ make, model, code, names, rest }) => {
    const where = await make(folder());
    const error: unknown = await readAll(where, model).catch((e: unknown) => e);
    expect(error).toMatchObject({ code });
    for (const name of names) expect((error as Error).message).toMatch(name);
    expect((error as { hint?: string }).hint).toBeTruthy();
    if (!rest) {
      await expect(readAll(where, { ...model, skipBad: true })).rejects.toMatchObject({ code });
      return;
    }
    const samples = await openSamples(where, { ...model, skipBad: true });
    expect([samples.count, samples.bad.length]).toEqual(rest);
    expect(await readAll(where, { ...model, skipBad: true })).toBe(rest[0]);
    if (samples.labels) expect(samples.labels).toHaveLength(rest[0]);
    expect(samples.notes).toMatchObject([
      { code: "SAMPLES_BAD", why: expect.stringContaining(`${rest[1]} of ${rest[0] + rest[1]} samples cannot be used`) },
    ]);
  });
});

describe("skipBad", () => {
  it("reads nothing but the first sample where any bytes are an image", async () => {
    const path = file(folder(), "a.bin", cifar([[1], [99], [3]]));
    const samples = await openSamples(path, { ...color, skipBad: true });
    expect(samples.labels).toEqual(Int32Array.of(1, 3));
    await expect(openSamples(path, { ...input(["N", 1, 2, 2]), ...RAW, skipBad: true })).rejects.toMatchObject({ code: "DATA_SHAPE" });
  });

  it("balances among the samples whose labels can be used", async () => {
    const path = file(folder(), "a.bin", cifar([[1], [99], [2], [1], [2]]));
    const samples = await openSamples(path, { ...color, balanced: true, limit: 4, skipBad: true });
    expect([samples.labels, samples.bad.map((b) => b.sample)]).toEqual([Int32Array.of(1, 2, 1, 2), [`${path} record 1`]]);
    await expect(openSamples(path, { ...color, balanced: true, limit: 4 })).rejects.toMatchObject({ code: "DATA_LABELS" });
  });

  it("fails when nothing is left", async () => {
    const where = folder();
    mkdirSync(join(where, "test_data_set_0"));
    copyFileSync(join(fixtures, "objects.npy"), join(where, "test_data_set_0/input_0.pb"));
    await expect(openSamples(where, { ...pairs(), skipBad: true })).rejects.toMatchObject({ code: "DATA_PB" });
    const nan = file(where, "a.npy", array([Number.NaN, 1]));
    await expect(openSamples(nan, { ...pairs(), skipBad: true })).rejects.toMatchObject({ code: "DATA_NOT_FINITE" });
  });
});
