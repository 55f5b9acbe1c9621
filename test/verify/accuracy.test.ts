import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DataError } from "../../src/errors.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Runner, Session } from "../../src/runtime/runner.js";
import { compareAccuracy, evaluate, type LabelledSamples } from "../../src/verify/accuracy.js";
import { matMulModel, tinyModel } from "../runtime/tiny-models.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

/** Rows of features, one per sample. */
function rows(data: readonly (readonly number[])[], labels?: readonly number[]): LabelledSamples & { readonly asked: [number, number][] } {
  const asked: [number, number][] = [];
  return {
    asked,
    count: data.length,
    labels: labels === undefined ? undefined : Int32Array.from(labels),
    batch: async (from, to) => {
      asked.push([from, to]);
      return { X: Tensor.floats([to - from, data[0]?.length ?? 0], data.slice(from, to).flat()) };
    },
  };
}
const EYE3 = [1, 0, 0, 0, 1, 0, 0, 0, 1];
const DATA = [
  [3, 2, 1],
  [1, 2, 3],
  [0, 5, 0],
  [4, 4, 4],
  [9, 0, 0],
];

async function withModel<T>(bytes: Uint8Array, use: (session: Session) => Promise<T>): Promise<T> {
  const session = await runner.load({ bytes });
  try {
    return await use(session);
  } finally {
    await session.release();
  }
}

describe("evaluate", () => {
  it("counts samples whose largest score is at the label, the lower class winning ties", async () => {
    const { n, top1, top5 } = await withModel(matMulModel(3, 3, EYE3), (s) => evaluate(s, rows(DATA, [0, 2, 1, 0, 1])));
    expect({ n, top1, top5 }).toEqual({ n: 5, top1: 0.8, top5: 1 });
    const tie = await withModel(matMulModel(3, 3, EYE3), (s) => evaluate(s, rows([[4, 4, 4]], [2])));
    expect(tie.top1).toBe(0);
  });

  it("counts the five best for top 5", async () => {
    const eye7 = Array.from({ length: 49 }, (_, i) => (i % 8 === 0 ? 1 : 0));
    const row = [7, 6, 5, 4, 3, 2, 1];
    const samples = rows(
      row.map(() => row),
      [0, 1, 2, 3, 4, 5, 6],
    );
    const { top1, top5 } = await withModel(matMulModel(7, 7, eye7), (s) => evaluate(s, samples));
    expect([top1, top5]).toEqual([1 / 7, 5 / 7]);
  });

  it.each([1, 2, 4, 5, 8])("gives the same for a model of fixed batch %i, and for any batch asked for", async (batch) => {
    const labels = [0, 2, 1, 1, 1];
    const open = await withModel(matMulModel(3, 3, EYE3), (s) => evaluate(s, rows(DATA, labels)));
    const fixed = await withModel(matMulModel(3, 3, EYE3, batch), (s) => evaluate(s, rows(DATA, labels)));
    const fixedSmall = await withModel(matMulModel(3, 3, EYE3, batch), (s) => evaluate(s, rows(DATA, labels), { batch: 3 }));
    expect(fixed).toEqual(open);
    expect(fixedSmall).toEqual(open);
    const small = await withModel(matMulModel(3, 3, EYE3), (s) => evaluate(s, rows(DATA, labels), { batch }));
    expect(small).toEqual(open);
  });

  it("asks for batches in order, up to the limit, and tells progress", async () => {
    const samples = rows(DATA, [0, 0, 0, 0, 0]);
    const progress: [number, number][] = [];
    await withModel(matMulModel(3, 3, EYE3), (s) =>
      evaluate(s, samples, { batch: 2, limit: 3, onProgress: (done, total) => progress.push([done, total]) }),
    );
    expect(samples.asked).toEqual([
      [0, 2],
      [2, 3],
    ]);
    expect(progress).toEqual([
      [2, 3],
      [3, 3],
    ]);
  });

  it.each([
    ["[N, 1, 1, C]", [1, 2]],
    ["[N, C, 1, 1]", [2, 3]],
  ] as const)("passes over outputs that are no scores and takes %s", async (_, axes) => {
    const bytes = tinyModel({
      opset: 12,
      nodes: [
        { op: "Transpose", in: ["X"], out: ["T"], ints: { perm: [1, 0] } },
        { op: "Unsqueeze", in: ["X"], out: ["Y"], ints: { axes } },
      ],
      inputs: [{ name: "X", shape: ["N", 3] }],
      outputs: [
        { name: "T", shape: [3, "N"] },
        { name: "Y", shape: ["N", "a", "b", "c"] },
      ],
    });
    const { top1 } = await withModel(bytes, (s) => evaluate(s, rows(DATA, [0, 2, 1, 0, 0])));
    expect(top1).toBe(1);
    const byName: unknown = await withModel(bytes, (s) => evaluate(s, rows(DATA), { output: "T" })).catch((e: unknown) => e);
    expect(byName).toBeInstanceOf(DataError);
    expect(byName).toMatchObject({ code: "ACCURACY_NO_OUTPUT", at: { value: "T" } });
  });

  it("refuses a model without scores, a label out of range, and no samples", async () => {
    const binary = matMulModel(3, 1, [1, 1, 1]);
    await expect(withModel(binary, (s) => evaluate(s, rows(DATA)))).rejects.toMatchObject({
      code: "ACCURACY_NO_OUTPUT",
      message: 'No output is a row of scores for each of 5 samples; the model gives "Y" [5,1].',
    });
    const model = matMulModel(3, 3, EYE3);
    await expect(withModel(model, (s) => evaluate(s, rows(DATA, [0, 0, 0, 3, 0])))).rejects.toMatchObject({
      code: "LABEL_RANGE",
      message: "Sample 3 has label 3, but the model has classes 0 to 2.",
    });
    await expect(withModel(model, (s) => evaluate(s, rows([])))).rejects.toMatchObject({ code: "SAMPLES_EMPTY" });
  });

  it("lets NaN lose", async () => {
    const samples = rows([[Number.NaN, 1, 0]], [0]);
    const eye = tinyModel({
      nodes: [{ op: "Identity", in: ["X"], out: ["Y"] }],
      inputs: [{ name: "X", shape: ["N", 3] }],
      outputs: [{ name: "Y", shape: ["N", 3] }],
    });
    expect((await withModel(eye, (s) => evaluate(s, samples))).top5).toBe(0);
  });
});

describe("compareAccuracy", () => {
  it("of a model with itself is full agreement, without labels too", async () => {
    const bytes = matMulModel(3, 3, EYE3);
    const c = await withModel(bytes, (a) => withModel(bytes, (b) => compareAccuracy(a, b, rows(DATA))));
    expect(c.reference).toEqual({ n: 5, top1: undefined, top5: undefined });
    expect(c.agreement.top1).toBe(1);
    expect(c.agreement.cosine).toBeCloseTo(1, 12);
    expect(c.agreement.maxRel).toBe(0);
  });

  it("measures what differs, each model in its own batch", async () => {
    // The candidate swaps classes 0 and 1, so rows 0, 2 and 4 change their class; row 3 is a tie both times.
    const swapped = [0, 1, 0, 1, 0, 0, 0, 0, 1];
    const samples = rows(DATA, [0, 2, 1, 0, 0]);
    const c = await withModel(matMulModel(3, 3, EYE3), (a) =>
      withModel(matMulModel(3, 3, swapped, 2), (b) => compareAccuracy(a, b, samples, { batch: 3 })),
    );
    expect(c.reference.top1).toBe(1);
    expect(c.candidate.top1).toBe(0.4);
    expect(c.agreement.top1).toBe(0.4);
    expect(c.agreement.maxRel).toBe(1);
    expect(c.agreement.cosine).toBeCloseTo((13 / 14 + 13 / 14 + 0 + 1 + 0) / 5, 6);
  });

  it("refuses models with different numbers of classes", async () => {
    const promise = withModel(matMulModel(3, 3, EYE3), (a) =>
      withModel(matMulModel(3, 2, [1, 0, 0, 1, 0, 0]), (b) => compareAccuracy(a, b, rows(DATA))),
    );
    await expect(promise).rejects.toMatchObject({ code: "ACCURACY_CLASSES" });
  });
});
