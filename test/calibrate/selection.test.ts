import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openSamples, type SampleOptions } from "../../src/calibrate/samples.js";
import { balanced, shuffled, subset } from "../../src/calibrate/select.js";
import { cifar, file, folder, input, RAW } from "./write.js";

const CIFAR = { ...input(["N", 3, 32, 32]), ...RAW };
/** 40 records: 20 of class 0, then 12 of class 1, then 8 of class 2. */
const LABELS = [...new Array<number>(20).fill(0), ...new Array<number>(12).fill(1), ...new Array<number>(8).fill(2)];
const uneven = (where = folder(), name = "a.bin") => file(where, name, cifar(LABELS.map((l) => [l])));

const counts = (labels: Iterable<number>) => {
  const out: Record<number, number> = {};
  for (const l of labels) out[l] = (out[l] ?? 0) + 1;
  return out;
};
const labelsOf = async (options: Partial<SampleOptions>, path = uneven()) => [
  ...((await openSamples(path, { ...CIFAR, ...options })).labels ?? []),
];

describe("a selection", () => {
  it("balanced takes equally many of every class, others for another seed, in the order of the source", async () => {
    const labels = await labelsOf({ balanced: true, limit: 17 });
    expect(labels).toEqual([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
    const path = uneven();
    const first = async (seed: number) => (await openSamples(path, { ...CIFAR, balanced: true, limit: 17, seed })).fingerprint;
    expect(await first(1)).toBe(await first(1));
    expect(await first(1)).not.toBe(await first(2));
  });

  it("balanced without a limit takes as many as the smallest class has", async () => {
    expect(counts(await labelsOf({ balanced: true }))).toEqual({ 0: 8, 1: 8, 2: 8 });
  });

  it("balanced says which classes have too few, and gives their share to the others", async () => {
    const notes: string[] = [];
    const samples = await openSamples(uneven(), { ...CIFAR, balanced: true, limit: 30, onNote: (t) => notes.push(t) });
    expect(counts(samples.labels ?? [])).toEqual({ 0: 11, 1: 11, 2: 8 });
    expect(notes).toEqual(["classes are uneven: 11 samples are taken of each, but some can give fewer: class 2 only 8"]);
    expect(samples.notes).toMatchObject([{ code: "CLASSES_SHORT", why: notes[0] }]);
  });

  it("balanced with less than one per class takes some of the classes", async () => {
    expect(new Set(await labelsOf({ balanced: true, limit: 2 })).size).toBe(2);
  });

  it("balanced without labels is refused", async () => {
    await expect(openSamples("random:8", { ...CIFAR, balanced: true, limit: 4 })).rejects.toMatchObject({
      code: "DATA_BALANCED",
      exitCode: 2,
    });
  });

  it("shuffled holds the same samples, mixed, and labels stay with their images", async () => {
    const samples = await openSamples(uneven(), { ...CIFAR, shuffle: true });
    const labels = [...(samples.labels ?? [])];
    expect([...labels].sort()).toEqual(LABELS);
    expect(new Set(labels.slice(0, 10)).size).toBe(3);
    const { input } = await samples.batch(0, 40);
    // The pattern's first byte is 3072·i mod 251, and 3072 ≡ 60: 40 records begin with 40 different bytes.
    const first = labels.map((_, k) => input?.numbers()[k * 3072]);
    expect(labels).toEqual(first.map((byte) => LABELS[LABELS.findIndex((_, i) => (60 * i) % 251 === byte)]));
    expect(await labelsOf({ shuffle: true, seed: 1 })).not.toEqual(labels);
    expect(await labelsOf({ shuffle: true })).toEqual(labels);
  });

  it("balances as evenly as the sizes allow, within the limit, for any sizes", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5), { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 70 }), fc.nat(), (labels, n, seed) => {
        const positions = labels.map((_, i) => i);
        const { taken } = balanced(positions, Int32Array.from(labels), n, seed);
        const all = counts(labels);
        const got = counts(taken.map((p) => labels[p] as number));
        const most = Math.max(...Object.values(got));
        expect(taken.length).toBeLessThanOrEqual(n);
        expect(taken).toEqual([...new Set(taken)].sort((a, b) => a - b));
        // A class with less than the most gave all it had, unless there are more classes than samples.
        for (const [label, has] of Object.entries(all)) {
          const gave = got[Number(label)] ?? 0;
          if (n >= Object.keys(all).length) expect(gave).toBe(Math.min(has, most));
          else expect(gave).toBeLessThanOrEqual(1);
        }
        // One more of every class that has one would be too many.
        const more = Object.values(all).filter((has) => has > most).length;
        if (n >= Object.keys(all).length && more > 0) expect(taken.length + more).toBeGreaterThan(n);
      }),
    );
  });

  it("of a class does not depend on what other classes hold", () => {
    const take = (labels: number[]) => {
      const { taken } = balanced(
        labels.map((_, i) => i),
        Int32Array.from(labels),
        4,
        7,
      );
      return taken.filter((p) => labels[p] === 0);
    };
    expect(take([0, 0, 0, 0, 0, 0, 1, 1, 1])).toEqual(take([0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2]));
  });

  it("is uniform: each position comes first, and is taken, equally often", () => {
    const positions = [0, 1, 2, 3];
    const firsts = new Array<number>(4).fill(0);
    const taken = new Array<number>(4).fill(0);
    for (let seed = 0; seed < 4000; seed++) {
      firsts[shuffled(positions, seed)[0] as number]!++;
      for (const p of subset(positions, 2, seed)) taken[p]!++;
    }
    // Binomial: 1000 ± 27.4 and 2000 ± 31.6; five of them.
    for (const n of firsts) expect(Math.abs(n - 1000)).toBeLessThan(137);
    for (const n of taken) expect(Math.abs(n - 2000)).toBeLessThan(158);
  });
});

describe("a fingerprint", () => {
  const of = async (path: string, options: Partial<SampleOptions> = {}) => (await openSamples(path, { ...CIFAR, ...options })).fingerprint;

  it("is the same wherever the data lie, packed or not, whatever the file is called", async () => {
    const expected = await of(uneven());
    expect(expected).toMatch(/^[0-9a-f]{64}$/);
    expect(await of(uneven(folder(), "renamed.bin"))).toBe(expected);
    expect(await of(uneven(folder(), "a.bin.gz"))).toBe(expected);
    const parquet = join(import.meta.dirname, "../fixtures/parquet/hf");
    const copy = join(folder(), "elsewhere");
    cpSync(parquet, copy, { recursive: true });
    const small = { ...input(["N", 3, 4, 4]) };
    expect(await of(`${copy}#train`, small)).toBe(await of(`${parquet}#train`, small));
    expect(await of(`${copy}#train`, small)).not.toBe(await of(`${copy}#test`, small));
  });

  it("changes with a byte of the data, the selection, its order, the labels, the preprocessing and the input", async () => {
    const path = uneven();
    const changed = cifar(LABELS.map((l) => [l]));
    changed[3073 * 39 + 5] = 255;
    const relabelled = cifar(LABELS.map((l) => [l]));
    relabelled[0] = 3;
    const all = await Promise.all([
      of(path),
      of(file(folder(), "a.bin", changed)),
      of(file(folder(), "a.bin", relabelled)),
      of(`${path}[0:20]`),
      of(`${path}[::-1]`),
      of(path, { shuffle: true }),
      of(path, { preprocess: { scale: 0.5 } }),
      of(path, { preprocess: { mean: 0.5 } }),
      of(path, { inputs: input(["N", 3, 32, 32], "float16").inputs }),
    ]);
    expect(new Set(all).size).toBe(all.length);
    expect(await of(path, { preprocess: { std: 1, scale: 0.5, comment: "a" } })).toBe(
      await of(path, { preprocess: '{"scale": 0.5, "std": [1]}' }),
    );
  });

  it("of image folders is that of the images' paths below the folder, and sizes", async () => {
    const made = (root: string, size = 8, name = "a.png") => {
      mkdirSync(join(root, "x"), { recursive: true });
      file(join(root, "x"), name, new Uint8Array(size));
      return `${root}`;
    };
    const { listingFingerprint } = await import("../../src/calibrate/fingerprint.js");
    const print = (root: string, name = "a.png") => listingFingerprint(root, [join(root, "x", name)]);
    const here = await print(made(folder()));
    expect(await print(made(folder()))).toBe(here);
    expect(await print(made(folder(), 9))).not.toBe(here);
    expect(await print(made(folder(), 8, "b.png"), "b.png")).not.toBe(here);
  });
});
