/** Views of images: mirrored, moved, beside the image itself. */
import { describe, expect, it } from "vitest";
import type { Samples } from "../../src/calibrate/samples.js";
import { hasImages, viewOf, viewsOf } from "../../src/calibrate/views.js";
import { Tensor } from "../../src/graph/tensor.js";

/** Samples of these tensors, whose element i of sample n is n · 1000 + i. */
function samplesOf(count: number, dims: readonly number[], dtype: "float32" | "uint8" | "int64" = "float32"): Samples {
  const size = dims.reduce((n, d) => n * d, 1);
  return {
    count,
    labels: Int32Array.from({ length: count }, (_, i) => i % 3),
    source: "numbers",
    bad: [],
    notes: [],
    fingerprint: "f".repeat(64),
    batch: async (from, to) => ({
      x: Tensor.fromNumbers(
        dtype,
        [to - from, ...dims],
        Array.from({ length: (to - from) * size }, (_, i) =>
          dtype === "uint8" ? (from * size + i) % 251 : (from + Math.floor(i / size)) * 1000 + (i % size),
        ),
      ),
    }),
  };
}

const numbers = async (s: Samples, from: number, to: number) => [...((await s.batch(from, to))["x"] as Tensor).numbers()].map(Number);

describe("views of each sample", () => {
  it("one view is the samples themselves", async () => {
    const samples = samplesOf(4, [1, 8, 8]);
    expect(await viewsOf(samples, { count: 1 })).toBe(samples);
  });

  for (const [layout, dims, at] of [
    ["NCHW", [3, 16, 24], (c: number, y: number, x: number) => (c * 16 + y) * 24 + x],
    ["NHWC", [16, 24, 3], (c: number, y: number, x: number) => (y * 24 + x) * 3 + c],
  ] as const) {
    it(`${layout}: the first is the image, the second mirrored, the third not, each moved by at most an eighth, its border repeated`, async () => {
      const samples = samplesOf(5, dims);
      const views = await viewsOf(samples, { count: 3, seed: 1 });
      expect(views.count).toBe(15);
      expect([...(views.labels ?? [])]).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 1, 1, 1]);
      const moves = new Set<string>();
      for (let n = 0; n < 5; n++) {
        const [image] = [await numbers(samples, n, n + 1)];
        expect(await numbers(views, 3 * n, 3 * n + 1)).toEqual(image);
        for (const number of [1, 2]) {
          const view = await numbers(views, 3 * n + number, 3 * n + number + 1);
          const expected = (down: number, right: number) => {
            const out = new Array<number>(view.length);
            for (let c = 0; c < 3; c++)
              for (let y = 0; y < 16; y++)
                for (let x = 0; x < 24; x++) {
                  const column = number === 1 ? 23 - x : x;
                  const [from, to] = [Math.min(15, Math.max(0, y - down)), Math.min(23, Math.max(0, column - right))];
                  out[at(c, y, x)] = image?.[at(c, from, to)] as number;
                }
            return out;
          };
          const found: string[] = [];
          for (let down = -2; down <= 2; down++)
            for (let right = -3; right <= 3; right++)
              if (expected(down, right).every((v, i) => v === view[i])) found.push(`${down},${right}`);
          expect(found).toHaveLength(1);
          moves.add(found[0] as string);
        }
      }
      expect(moves.size).toBeGreaterThan(4);
    });
  }

  it("a batch may begin and end within the views of a sample, and the seed decides alone", async () => {
    const samples = samplesOf(6, [1, 16, 16], "uint8");
    const views = await viewsOf(samples, { count: 4, seed: 3 });
    const whole = await numbers(views, 0, 24);
    expect(await numbers(views, 5, 11)).toEqual(whole.slice(5 * 256, 11 * 256));
    expect(await numbers(await viewsOf(samples, { count: 4, seed: 3 }), 0, 24)).toEqual(whole);
    const other = await viewsOf(samples, { count: 4, seed: 4 });
    expect(await numbers(other, 0, 24)).not.toEqual(whole);
    expect(new Set([samples, views, other].map((s) => s.fingerprint)).size).toBe(3);
  });

  it("one view of all is what all views have of that number", async () => {
    const samples = samplesOf(6, [1, 16, 16], "uint8");
    const views = await viewsOf(samples, { count: 3, seed: 3 });
    for (const number of [0, 1, 2]) {
      const one = viewOf(samples, number, 3);
      expect(one.count).toBe(6);
      for (let n = 0; n < 6; n++) expect(await numbers(one, n, n + 1)).toEqual(await numbers(views, 3 * n + number, 3 * n + number + 1));
      expect(await numbers(one, 2, 5)).toEqual((await numbers(one, 0, 6)).slice(2 * 256, 5 * 256));
    }
    expect(new Set([samples, viewOf(samples, 1, 3), viewOf(samples, 2, 3), viewOf(samples, 1, 4)].map((s) => s.fingerprint)).size).toBe(4);
    const vectors = samplesOf(4, [7]);
    expect(await numbers(viewOf(vectors, 1), 0, 4)).toEqual(await numbers(vectors, 0, 4));
  });

  it("what is no image has no views", async () => {
    for (const dims of [[7], [20, 16], [5, 8, 8]]) {
      const samples = samplesOf(4, dims, "int64");
      expect(await hasImages(samples)).toBe(false);
      await expect(viewsOf(samples, { count: 2 })).rejects.toMatchObject({ code: "VIEWS_NO_IMAGES" });
    }
    expect(await hasImages(samplesOf(4, [3, 8, 8]))).toBe(true);
    await expect(viewsOf(samplesOf(4, [3, 8, 8]), { count: 1.5 })).rejects.toMatchObject({ code: "VIEWS_RANGE" });
  });
});
