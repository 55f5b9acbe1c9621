import { describe, expect, test } from "vitest";
import { openSamples } from "../../src/calibrate/samples.js";
import { ConfigError, UnsupportedError } from "../../src/errors.js";
import { readModel } from "../../src/export/read.js";
import { encode, joinChunks } from "../../src/graph/codec.js";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import type { Pass } from "../../src/passes/pass.js";
import { decide } from "../../src/passes/row-column/decide.js";
import { type RowColumnOptions, rowColumn } from "../../src/passes/row-column.js";
import { runPass } from "../../src/passes/run-pass.js";
import { type PruneOptions, prune } from "../../src/pipeline.js";
import { bytesOf, file, folder, npy } from "../calibrate/write.js";
import { modelOf } from "../support/build.js";
import { difference, run } from "../support/run.js";

const pass = rowColumn as unknown as Pass;
const quick = { ep: "cpu", latency: false, threads: 1 } as const;
type Options = Partial<RowColumnOptions> & { readonly sparsity: number };

const pruned = (model: Model, options: Options, more: Partial<PruneOptions> = {}) =>
  prune(model, { ...quick, passes: [{ entry: { kind: "pass", pass }, options }], ...more });
const decided = (model: Model, options: Options) =>
  decide(model, rowColumn.options.parse({ method: "sr", ...options }), { seed: 0, note: () => undefined });
const encoded = (m: Model) => Buffer.from(joinChunks(encode(m)));

/** Weights that Conv, Gemm and MatMul multiply by, biases left out. */
function weightsOf({ graph }: Model): number {
  const layers = graph.nodes.filter((n) => ["Conv", "Gemm", "MatMul"].includes(n.opType));
  return layers.reduce((n, l) => n + (l.inputs[1]?.constant?.size ?? 0), 0);
}

/** Runs the pass and checks its result against its oracle by a runtime of the test's own. */
async function expectEqual(model: Model, options: Options) {
  const result = runPass(pass, model, options);
  expect(result.changed).toBe(true);
  const oracle = rowColumn.oracle?.(model, rowColumn.options.parse(options), undefined) as Model;
  const want = await run(oracle);
  expect(difference(want, await run(result.model))).toBeLessThanOrEqual(1e-5);
  expect(difference(want, await run(model))).toBeGreaterThan(1e-3);
  return result;
}

const chain = modelOf(`g (float[2,3,8,8] x) => (float[2,5] y)
  <float[16,3,3,3] w1 = {...}, float[16] b1 = {...}, float[24,16,3,3] w2 = {...}, float[24] b2 = {...},
   float[5,24] w3 = {...}, float[5] b3 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu (a)
  c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (r, w2, b2) s = Relu (c)
  p = GlobalAveragePool (s) f = Flatten (p) y = Gemm <transB = 1> (f, w3, b3) }`);

/** Filters 1, 4 and 5 of both layers that add weigh next to nothing. */
function withLightRows(model: Model): Model {
  for (const name of ["w1", "w2"]) {
    const value = model.graph.value(name);
    const tensor = value?.constant as Tensor;
    const row = tensor.size / 8;
    const numbers = tensor.numbers().map((x, i) => ([1, 4, 5].includes(Math.floor(i / row)) ? x / 100 : x));
    model.graph.setConstant(value as never, Tensor.fromNumbers("float32", tensor.dims, numbers));
  }
  return model;
}

const residual = withLightRows(
  modelOf(`g (float[2,4,8,8] x) => (float[2,3,8,8] y)
  <float[8,4,3,3] w1 = {...}, float[8] b1 = {...}, float[8,8,3,3] w2 = {...}, float[8] b2 = {...}, float[3,8,1,1] w3 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu (a)
  c = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) s = Add (c, r) t = Relu (s)
  y = Conv (t, w3) }`),
);

describe("what leaves", () => {
  test.each(["im", "sr", "sa-fixed", "sa-shape"] as const)("every layer stores at most (1 − s)·mn weights, by %s", async (method) => {
    const { figures, notes } = await expectEqual(chain, { sparsity: 0.7, method });
    const dense = notes.filter((n) => n.code === "LAYER_DENSE").map((n) => n.about);
    const sizes = [16 * 27, 24 * 144, 120];
    expect(figures).toHaveLength(3);
    expect(dense).not.toContain("c");
    figures.forEach((row, i) => {
      const stored = (row["weight bytes after"] as number) / 4;
      if (!dense.includes(row["layer"] as string)) expect(stored).toBeLessThanOrEqual(0.3 * (sizes[i] as number));
    });
  });

  test("ResNet-20 at 80 %: every layer within its budget, the file smaller, and the run proves it", { timeout: 60_000 }, async () => {
    const model = await readModel("models/cifar10_resnet20.onnx");
    const { model: small, report } = await pruned(model, { sparsity: 0.8, method: "sr" });
    const [proof] = report.equality;
    expect(proof?.maxRel).toBeLessThanOrEqual(1e-5);
    expect(proof?.drift).toBeGreaterThan(1e-2);
    expect(weightsOf(small)).toBeLessThanOrEqual(0.2 * weightsOf(model));
    expect(report.cost.after.bytes).toBeLessThan(0.35 * report.cost.before.bytes);
    expect(report.cost.after.macs).toBeLessThanOrEqual(0.21 * report.cost.before.macs);
    const rows = report.steps[0]?.figures ?? [];
    expect(rows).toHaveLength(20);
    for (const row of rows) {
      expect(row["f / bound"]).toBeGreaterThanOrEqual(1);
      expect(row["f / T"]).toBeLessThan(1);
    }
  });

  test("a row takes its channel out of the next layer, and a channel that nothing reads takes its filter along", async () => {
    const w = new Float32Array(4 * 4).fill(1);
    // Filter 2 of the first layer weighs least; the second layer reads little of channel 0.
    const model = modelOf(`g (float[2,4] x) => (float[2,3] y) <float[4,4] w1 = {...}, float[4,3] w2 = {...}>
      { a = MatMul (x, w1) r = Relu (a) y = MatMul (r, w2) }`);
    const first = model.graph.value("w1");
    const second = model.graph.value("w2");
    model.graph.setConstant(
      first as never,
      Tensor.floats(
        [4, 4],
        w.map((x, i) => (i % 4 === 2 ? 0.01 : x)),
      ),
    );
    model.graph.setConstant(second as never, Tensor.floats([4, 3], [0.01, 0.01, 0.01, 1, 1, 1, 1, 1, 1, 1, 1, 1]));
    const decision = decided(model, { sparsity: 0.25 });
    expect([...decision.rows]).toEqual([["w1:1", [2]]]);
    expect(decision.unread.size).toBe(0);
    // Two of four columns may stay: channel 2 is dead, channel 0 is light.
    const more = decided(model, { sparsity: 0.4 });
    expect([...more.rows]).toEqual([["w1:1", [2]]]);
    expect([...more.unread]).toEqual([["w1:1", [0]]]);
    // So small a file would not shrink by a Gather; the form is asked for.
    const { model: next } = await expectEqual(model, { sparsity: 0.4, method: "sr", form: "channels" });
    expect(next.graph.value("w1")?.constant?.dims).toEqual([3, 2]);
    expect(next.graph.nodes.map((n) => n.opType).filter((op) => op !== "Gather")).toEqual(["MatMul", "Relu", "MatMul"]);
  });

  test("rows of layers that add stay by default, leave as one with group, and are put back as zeros with expand", async () => {
    const kept = await expectEqual(residual, { sparsity: 0.6 });
    expect(kept.notes.filter((n) => n.code === "ROWS_KEPT").map((n) => n.about)).toEqual(["a", "c", "y"]);

    const group = decided(residual, { sparsity: 0.6, rows: "group" });
    const [a, c] = group.layers;
    expect(a?.rows.some((x) => x === 1)).toBe(true);
    expect(a?.rows).toEqual(c?.rows);
    expect((a?.kept ?? 0) + (c?.kept ?? 0)).toBeLessThanOrEqual(0.4 * ((a?.cells ?? 0) + (c?.cells ?? 0)));
    await expectEqual(residual, { sparsity: 0.6, rows: "group" });

    const expanded = await expectEqual(residual, { sparsity: 0.6, rows: "expand", form: "lowered" });
    expect(
      decided(residual, { sparsity: 0.6, rows: "expand" })
        .layers.slice(0, 2)
        .every((l) => l.rows.some((x) => x === 1)),
    ).toBe(true);
    expect(weightsOf(expanded.model)).toBeLessThanOrEqual(0.4 * weightsOf(residual));
  });

  test("a layer to be skipped stays whole, and so do the channels that it makes and reads", async () => {
    const { model } = await expectEqual(chain, { sparsity: 0.6, method: "sr", skip: ["c"] });
    expect(model.graph.value("w2")?.constant?.dims).toEqual([24, 16, 3, 3]);
    expect(weightsOf(model)).toBeLessThan(weightsOf(chain));
  });

  test("columns alone leave with rows: keep, whatever the method", async () => {
    const { model } = await expectEqual(chain, { sparsity: 0.5, rows: "keep" });
    expect(model.graph.outputs[0]?.shape).toEqual([2, 5]);
    expect(decided(chain, { sparsity: 0.5, rows: "keep" }).layers.every((l) => l.rows.every((x) => x === 0))).toBe(true);
  });

  test.each(["channel", "tap"] as const)("whole columns of unit %s need no im2col", async (unit) => {
    const { figures } = await expectEqual(chain, { sparsity: 0.6, unit });
    for (const row of figures) expect(["channels", "trim", "boxes", "mask", "dense", "lowered"]).toContain(row["form"]);
    if (unit === "channel") expect(figures.some((row) => row["form"] === "lowered")).toBe(false);
  });

  test("each group of a convolution loses as many columns; depthwise and transposed convolutions stay, and say so", async () => {
    const model = modelOf(`g (float[2,6,9,9] x) => (float[2,4,19,19] y)
      <float[6,3,3,3] w1 = {...}, float[6,1,3,3] w2 = {...}, float[6,4,3,3] w3 = {...}> {
      a = Conv <group = 2, pads = [1, 1, 1, 1]> (x, w1) r = Relu (a) d = Conv <group = 6, pads = [1, 1, 1, 1]> (r, w2)
      y = ConvTranspose <strides = [2, 2]> (d, w3) }`);
    const { notes, figures } = await expectEqual(model, { sparsity: 0.5 });
    expect(notes.filter((n) => n.code === "LAYER_KEPT").map((n) => n.about)).toEqual(["d", "y"]);
    expect(figures.map((row) => row["left"])).toEqual(["3 × 13"]);
  });

  test("batch normalisation counts in the saliency of a row", () => {
    const model = modelOf(`g (float[2,2,4,4] x) => (float[2,2,4,4] y)
      <float[3,2,1,1] w = {1, 1, 1, 1, 1, 1}, float[3] s = {1, 0.1, 1}, float[3] z = {0, 0, 0}, float[3] one = {1, 1, 1}, float[2,3,1,1] u = {...}> {
      a = Conv (x, w) n = BatchNormalization (a, s, z, z, one) r = Relu (n) y = Conv (r, u) }`);
    expect(decided(model, { sparsity: 0.3 }).layers[0]?.rows).toEqual(Uint8Array.from([0, 1, 0]));
  });

  test("with one budget for all, layers that lose least give most", () => {
    const decision = decided(chain, { sparsity: 0.8, scope: "global" });
    const cells = decision.layers.reduce((n, l) => n + l.cells, 0);
    expect(decision.layers.reduce((n, l) => n + l.kept, 0)).toBeLessThanOrEqual(0.2 * cells);
    const shares = decision.layers.map((l) => l.kept / l.cells);
    expect(Math.max(...shares) - Math.min(...shares)).toBeGreaterThan(0.05);
    // Layers of which nothing leaves lose nothing, and nothing is certified.
    for (const l of decided(chain, { sparsity: 0.1, scope: "global" }).layers) expect(l.bound).toBeLessThanOrEqual(l.cost);
  });
});

describe("data", () => {
  const model = modelOf(
    `g (float[N,1,2,2] x) => (float[N,2] y) <float[4,2] w = {1, 1, 1, 1, 2, 2, 2, 2}> { f = Flatten (x) y = MatMul (f, w) }`,
  );
  const samples = async () => {
    // Features 2 and 3, whose weights are larger, are nearly always zero.
    const data = Float32Array.from({ length: 16 * 4 }, (_, i) => (i % 4 < 2 ? 3 + (i % 7) : 0.01));
    const path = file(folder(), "x.npy", npy("<f4", [16, 1, 2, 2], bytesOf(data)));
    return openSamples(path, { inputs: [{ name: "x", dtype: "float32", shape: ["N", 1, 2, 2] }] } as Parameters<typeof openSamples>[1]);
  };

  test("w²·E[x²] keeps the columns that carry the output", async () => {
    const calibration = await samples();
    const gathered = (m: Model) => [...(m.graph.nodes.find((n) => n.opType === "Gather")?.inputs[1]?.constant?.numbers() ?? [])];
    expect(gathered((await pruned(model, { sparsity: 0.5, form: "channels" })).model)).toEqual([2, 3]);
    const looked = await pruned(model, { sparsity: 0.5, saliency: "data", form: "channels" }, { calibration });
    expect(gathered(looked.model)).toEqual([0, 1]);
    expect(looked.report.steps[0]?.calibration).toMatchObject({ samples: 16, statistics: 1 });
  });

  test("without samples it is refused before anything runs", async () => {
    await expect(pruned(model, { sparsity: 0.5, saliency: "data" })).rejects.toThrow(
      expect.objectContaining({ code: "CALIBRATION_MISSING" }),
    );
  });
});

describe("a run", () => {
  test("gives the same bytes for the same seed, and other choices for another where they are open", async () => {
    const one = await pruned(chain, { sparsity: 0.8 }, { seed: 3 });
    const two = await pruned(chain, { sparsity: 0.8 }, { seed: 3 });
    expect(encoded(one.model).equals(encoded(two.model))).toBe(true);
  });

  test("times forms on the runtime when asked to, and equals the oracle", async () => {
    const { report } = await pruned(chain, { sparsity: 0.7, rows: "keep", form: "timed", prefer: "speed" });
    expect(report.equality[0]?.maxRel).toBeLessThanOrEqual(1e-5);
    expect(["channels", "trim", "boxes", "lowered"]).toContain(report.steps[0]?.figures?.[1]?.["form"]);
  });

  test("leaves a layer dense where any other form would take more bytes, and says so", () => {
    const model = modelOf("g (float[2,4] x) => (float[2,2] y) <float[4,2] w = {...}> { y = MatMul (x, w) }");
    const { notes, figures } = runPass(pass, model, { sparsity: 0.5 });
    expect(figures.map((row) => row["form"])).toEqual(["mask"]);
    expect(notes.map((n) => `${n.code} ${n.about}`)).toContain("LAYER_DENSE y");
  });

  test("every form asked for by name gives the same function", async () => {
    for (const form of ["mask", "channels", "trim", "boxes", "lowered"] as const)
      await expectEqual(chain, { sparsity: 0.6, method: "sr", form });
  });

  test("before opset 11, where Pad and Slice mean something else, channels are gathered and no more", async () => {
    const old = modelOf(`g (float[2,3,8,8] x) => (float[2,4,6,6] y) <float[4,3,3,3] w = {...}> { y = Conv (x, w) }`, 9);
    const { figures } = await expectEqual(old, { sparsity: 0.5, unit: "channel" });
    expect(figures.map((row) => row["form"])).toEqual(["channels"]);
  });
});

describe("refusals", () => {
  test.each([0, 1, -0.1, 1.5])("a sparsity of %f", (sparsity) => {
    expect(() => runPass(pass, chain, { sparsity })).toThrow(ConfigError);
    expect(() => runPass(pass, chain, { sparsity })).toThrow(/option "sparsity" of row-column/);
  });

  test("a model without such layers", () => {
    const model = modelOf("g (float[2] x) => (float[2] y) { y = Relu (x) }");
    expect(() => runPass(pass, model, { sparsity: 0.5 })).toThrow(UnsupportedError);
    expect(() => runPass(pass, model, { sparsity: 0.5 })).toThrow(/no Conv, Gemm or MatMul/);
  });

  test("weights that are no numbers", () => {
    const model = modelOf("g (float[2,2] x) => (float[2,2] y) <float[2,2] w = {1, 2, 3, 4}> { y = MatMul (x, w) }");
    model.graph.setConstant(model.graph.value("w") as never, Tensor.floats([2, 2], [1, Number.NaN, 2, 3]));
    expect(() => runPass(pass, model, { sparsity: 0.5 })).toThrow(/finite weights/);
  });

  test("a layer that others share is left as it is", () => {
    const model = modelOf(`g (float[2,2] x) => (float[2,2] y) <float[2,2] w = {...}, float[2,2] u = {...}>
      { a = MatMul (x, w) b = MatMul (a, w) y = MatMul (b, u) }`);
    const { notes } = runPass(pass, model, { sparsity: 0.5 });
    expect(notes.filter((n) => n.code === "LAYER_KEPT").map((n) => n.why)).toEqual([
      "its weight has other readers",
      "its weight has other readers",
    ]);
  });
});
