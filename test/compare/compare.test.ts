/** compare() on ONNX Runtime: what it measures, and what follows from it. */
import { describe, expect, it } from "vitest";
import type { Samples } from "../../src/calibrate/samples.js";
import { type CompareOptions, compare } from "../../src/compare/compare.js";
import { cloneModel } from "../../src/graph/clone.js";
import type { Model } from "../../src/graph/graph.js";
import { Tensor } from "../../src/graph/tensor.js";
import { findEntry } from "../../src/passes/registry.js";
import { applyPlan } from "../../src/passes/remove-filters.js";
import { planOnly, prune } from "../../src/pipeline.js";
import { findValue, modelOf } from "../support/build.js";

const FAST = { ep: "cpu", threads: 1, latency: false } as const satisfies CompareOptions;

/** Two convolutions and a classifier. */
const NET = `
  net (float[N,3,8,8] x) => (float[N,6] y)
  <float[16,3,3,3] w1 = {...}, float[8,16,3,3] w2 = {...}, float[8,6] w3 = {...}, float[6] b3 = {...}> {
    ["conv1"] c1 = Conv (x, w1) r1 = Relu (c1) ["conv2"] c2 = Conv (r1, w2) r2 = Relu (c2)
    p = GlobalAveragePool (r2) f = Flatten (p) ["fc"] y = Gemm (f, w3, b3) }`;

/** A copy in which one weight is another. */
function planted(model: Model, weight: string, at: number, by: number): Model {
  const copy = cloneModel(model);
  const value = findValue(copy, weight);
  const tensor = value.initializer as Tensor;
  const numbers = Float64Array.from(tensor.numbers());
  numbers[at] = (numbers[at] as number) + by;
  copy.graph.setConstant(value, Tensor.fromNumbers("float32", tensor.dims, numbers));
  return copy;
}

/** y = x·W with W diagonal: the class of a one-hot row is its index where the entry is positive. */
function diagonal(entries: readonly number[], head = "y = MatMul (x, w)", batch = "N"): Model {
  const n = entries.length;
  const w = entries.flatMap((e, i) => Array.from({ length: n }, (_, j) => (i === j ? e : 0)));
  return modelOf(`g (float[${batch},${n}] x) => (float[${batch},${n}] y) <float[${n},${n}] w = {${w.join(", ")}}> { ${head} }`);
}

/** `each` one-hot rows per class, in turns. */
function oneHot(classes: number, each: number, labelled = true): Samples {
  const count = classes * each;
  return {
    count,
    labels: labelled ? Int32Array.from({ length: count }, (_, i) => i % classes) : undefined,
    source: `one-hot rows (${count} samples)`,
    bad: [],
    notes: [{ code: "MADE_UP", about: "--data", why: "these rows were made for a test" }],
    fingerprint: "f".repeat(64),
    batch: async (from, to) => {
      const rows = Array.from({ length: to - from }, (_, k) =>
        Array.from({ length: classes }, (_, j) => Number((from + k) % classes === j)),
      );
      return { x: Tensor.floats([to - from, classes], rows.flat()) };
    },
  };
}

describe("graphs that are meant to be equal", () => {
  it("are: a graph and itself, with every figure at its best", async () => {
    const report = await compare(modelOf(NET), modelOf(NET), FAST);
    expect(report.verdict).toMatchObject({ ok: true, exitCode: 0 });
    expect(report.outputs).toMatchObject([
      { name: "y", error: 0, numbers: { maxAbs: 0, cosine: 1, snr: Number.POSITIVE_INFINITY }, scores: { agreement: 1, kl: 0, rows: 16 } },
    ]);
    expect(report.runs).toEqual({
      fingerprint: undefined,
      data: "random inputs (16 samples)",
      samples: 16,
      on: "cpu, optimisation disabled",
    });
    expect(report.loads.map((l) => l.ok)).toEqual([true, true, true, true]);
    expect(structuredClone(report)).toEqual(report);
  });

  it("are not with one other weight: exit code 4, and bisecting names the node, the weight, and that its input agrees", async () => {
    const a = modelOf(NET);
    const report = await compare(a, planted(a, "w2", 5, 0.5), { ...FAST, bisect: true });
    expect(report.verdict.exitCode).toBe(4);
    expect(report.verdict.reason).toMatch(/^Output "y" differs: relative error .*, where 1\.0e-5 is allowed\.$/);
    expect(report.bisect).toMatchObject({
      against: "a",
      comparable: 7,
      values: 7,
      first: {
        node: "conv2",
        value: "c2",
        inputs: [
          { value: "r1", maxRel: 0 },
          { value: "w2", constant: true },
        ],
      },
    });
    expect(report.bisect?.first?.inputs[1]?.maxRel).toBeGreaterThan(0);
  });

  it("a difference that a saturated output hides is found before the activation", async () => {
    const a = diagonal([100, 100, 100], "z = MatMul (x, w) y = Sigmoid (z)");
    const b = diagonal([100, 100, 101], "z = MatMul (x, w) y = Sigmoid (z)");
    const data = oneHot(3, 2);
    const report = await compare(a, b, { ...FAST, data });
    expect(report.outputs[0]?.numbers?.maxAbs).toBe(0);
    expect(report.outputs[0]?.before).toEqual({ value: "z", maxRel: expect.closeTo(0.01, 6) });
    expect(report.verdict.exitCode).toBe(4);
  });

  it("an output of NaN alone proves nothing: exit code 4", async () => {
    const nan = modelOf("g (float[2] x) => (float[2] y) <float[2] z = {0, 0}> { o = Mul (x, z) y = Div (o, o) }");
    const report = await compare(nan, nan, FAST);
    expect(report.verdict).toMatchObject({ exitCode: 4, reason: expect.stringContaining("no finite number") });
  });
});

describe("the interface", () => {
  it("with other inputs nothing is run: exit code 4, and the graphs are still compared", async () => {
    const report = await compare(diagonal([1, 1]), diagonal([1, 1, 1]), FAST);
    expect(report.verdict).toMatchObject({
      exitCode: 4,
      reason: expect.stringContaining('input "x" is float[N,2] in a and float[N,3] in b'),
    });
    expect(report.runs).toBeUndefined();
    expect(report.graph.layers.filter((l) => l.changed)).toMatchObject([{ dims: { a: [2, 2], b: [3, 3] } }]);
  });

  it("dims that only a run tells are an interface too", async () => {
    const b = modelOf("g (float[N,2] x) => (float[M,K] y) <int64[2] s = {1, -1}> { y = Reshape (x, s) }");
    const a = modelOf("g (float[N,2] x) => (float[M,K] y) { y = Identity (x) }");
    const report = await compare(a, b, { ...FAST, minCosine: -1 });
    expect(report.verdict).toMatchObject({ exitCode: 4, reason: expect.stringContaining("its dims are [2, 2] in a and [1, 4] in b") });
  });

  it("an output that b lacks is a failure, and those that both have are compared", async () => {
    const a = modelOf("g (float[2] x) => (float[2] y, float[2] z) { y = Neg (x) z = Abs (x) }");
    const b = modelOf("g (float[2] x) => (float[2] y) { y = Neg (x) }");
    const report = await compare(a, b, FAST);
    expect(report.verdict).toMatchObject({ exitCode: 4, reason: 'The interface differs: output "z" is missing in b.' });
    expect(report.outputs).toMatchObject([
      { name: "y", error: 0 },
      { name: "z", notCompared: "b has no such output" },
    ]);
  });
});

describe("outputs that hold no numbers", () => {
  it("are skipped, and the verdict says so", async () => {
    const text =
      "g (float[2] x) => (float[2] y, string[2] s, seq(float[2]) q) { y = Neg (x) s = Cast <to = 8> (x) q = SequenceConstruct (x, y) }";
    const { verdict, checks, outputs } = await compare(modelOf(text), modelOf(text), FAST);
    expect(outputs.map((o) => o.error)).toEqual([0, undefined, undefined]);
    expect(checks.filter((c) => c.status === "skipped").map((c) => c.name)).toEqual(['output "s"', 'output "q"']);
    expect(verdict).toMatchObject({ ok: true, reason: expect.stringContaining('Output "s" was not compared: it holds no numbers') });
  });

  it("alone are refused: nothing would be proven", async () => {
    const strings = modelOf("g (string[2] x) => (string[2] y) { y = Identity (x) }");
    await expect(compare(strings, strings, FAST)).rejects.toMatchObject({ code: "COMPARE_NO_NUMBERS", exitCode: 1 });
  });
});

describe("accuracy", () => {
  // b puts the samples of class 3 anywhere but there: 25 of 100 are lost, none is gained.
  const a = diagonal([1, 1, 1, 1]);
  const b = diagonal([1, 1, 1, -1]);
  const data = oneHot(4, 25);

  it("is counted sample by sample, and by class", async () => {
    const { accuracy, verdict, notes, runs } = await compare(a, b, { ...FAST, data, maxDrop: 30 });
    expect(notes).toEqual(data.notes);
    expect(runs?.fingerprint).toBe(data.fingerprint);
    expect(accuracy).toMatchObject({
      samples: 100,
      output: "y",
      top1: { a: { value: 1 }, b: { value: 0.75 }, drop: { value: 25 }, pairs: { both: 75, lost: 25, gained: 0, neither: 0 } },
      top5: undefined,
      classes: [
        { label: 0, samples: 25, a: 25, b: 25 },
        { label: 1, samples: 25, a: 25, b: 25 },
        { label: 2, samples: 25, a: 25, b: 25 },
        { label: 3, samples: 25, a: 25, b: 0 },
      ],
    });
    // 25 against 0, mid-p: 2·P(X < 0) + P(X = 0).
    expect(accuracy?.top1.mcnemar).toEqual({ p: expect.closeTo(2 ** -25, 20), method: "mid-p" });
    expect(verdict).toMatchObject({ ok: true, exitCode: 0 });
  });

  it("past the highest drop the exit code is 3, at it 0", async () => {
    expect((await compare(a, b, { ...FAST, data, maxDrop: 24.9 })).verdict).toMatchObject({
      exitCode: 3,
      reason: expect.stringMatching(
        /^Top-1 accuracy fell by 25\.00 points, from 100\.00 % to 75\.00 % .*; at most 24\.9 points allowed\.$/,
      ),
    });
    expect((await compare(a, b, { ...FAST, data, maxDrop: 25 })).verdict.exitCode).toBe(0);
  });

  it("asked to be confident, the whole interval must hold", async () => {
    const held = await compare(a, b, { ...FAST, data, maxDrop: 26, confident: true });
    expect(held.accuracy?.top1.drop.high).toBeGreaterThan(26);
    expect(held.verdict.exitCode).toBe(3);
  });

  it("without a bound on it graphs are still meant to be equal; an explicit tolerance holds beside it; 4 goes before 3", async () => {
    expect((await compare(a, b, { ...FAST, data })).verdict.exitCode).toBe(4);
    expect((await compare(a, b, { ...FAST, data, maxDrop: 100, tolerance: 1e-3 })).verdict.exitCode).toBe(4);
    expect((await compare(a, b, { ...FAST, data, maxDrop: 1, tolerance: 1e-3 })).verdict.exitCode).toBe(4);
    expect((await compare(a, b, { ...FAST, data, tolerance: "none" })).verdict.exitCode).toBe(0);
  });

  it("is the same for graphs of a fixed batch that does not divide the samples", async () => {
    const [fixedA, fixedB] = [diagonal([1, 1, 1, 1], undefined, "7"), diagonal([1, 1, 1, -1], undefined, "7")];
    const open = await compare(a, b, { ...FAST, data, maxDrop: 30 });
    const fixed = await compare(fixedA, fixedB, { ...FAST, data, maxDrop: 30 });
    expect(fixed.accuracy).toEqual(open.accuracy);
    expect(fixed.outputs[0]?.scores).toEqual(open.outputs[0]?.scores);
    expect(fixed.outputs[0]?.numbers?.elements).toBe(400);
  });

  it("needs labels, and a label that is a class", async () => {
    await expect(compare(a, b, { ...FAST, data: oneHot(4, 1, false), maxDrop: 1 })).rejects.toMatchObject({
      code: "MAX_DROP_NEEDS_LABELS",
    });
    const wrong = { ...oneHot(4, 1), labels: Int32Array.of(0, 1, 2, 4) };
    await expect(compare(a, b, { ...FAST, data: wrong, maxDrop: 1 })).rejects.toMatchObject({ code: "LABEL_RANGE" });
  });

  it("is not measured, and that is said, where no output is class scores; a bound on it is then refused", async () => {
    const none = modelOf("g (float[N,2] x) => (float[1,1] y) { y = ReduceSum (x) }");
    const found = await compare(none, none, { ...FAST, data: oneHot(2, 3), batch: 2 });
    expect(found.accuracy).toBeUndefined();
    expect(found.notes.map((n) => n.code)).toContain("NO_CLASS_OUTPUT");
    await expect(compare(none, none, { ...FAST, data: oneHot(2, 3), batch: 2, maxDrop: 1 })).rejects.toMatchObject({
      code: "ACCURACY_NO_OUTPUT",
    });
  });
});

describe("a pruned pair", () => {
  it("differs without a bound, holds with one that fits, and shows which layers shrank", async () => {
    const a = modelOf(NET);
    const { model: b } = await prune(a, { passes: ["l1"], target: { ratio: 0.75 }, align: 1, check: "none" });
    const plain = await compare(a, b, FAST);
    expect(plain.verdict.exitCode).toBe(4);
    const bounded = await compare(a, b, { ...FAST, minCosine: -1, maxParams: 0.9 });
    expect(bounded.verdict.exitCode).toBe(0);
    expect(bounded.runs?.on).toBe("cpu, optimisation all");
    const shrunk = bounded.graph.layers.filter((l) => l.changed && l.dims.a);
    expect(shrunk.map((l) => [l.a?.name, l.matched])).toEqual([
      ["conv1", "name"],
      ["conv2", "name"],
      ["fc", "name"],
    ]);
  });

  it("with its plan agrees everywhere; without it, values of other dims are passed over", async () => {
    const a = modelOf(NET);
    const entry = await findEntry("l1");
    const { plan } = await planOnly(a, { entry, options: {} }, { passes: [], target: { ratio: 0.75 }, align: 1 });
    const { result: b } = applyPlan(a, plan);
    const withPlan = await compare(a, b, { ...FAST, bisect: true, plan });
    expect(withPlan.verdict.exitCode).toBe(4);
    expect(withPlan.bisect).toMatchObject({ against: expect.stringContaining("plan"), first: undefined });
    const without = await compare(a, b, { ...FAST, bisect: true });
    // Only the output has the same dims in both.
    expect(without.bisect).toMatchObject({ comparable: 1, values: 7, first: { value: "y" } });
    const wrong = planted(b, "w2", 0, 1);
    const found = await compare(a, wrong, { ...FAST, bisect: true, plan });
    expect(found.bisect?.first).toMatchObject({ node: "conv2" });
  });
});

describe("thresholds", () => {
  const a = diagonal([1, 1, 1, 1]);
  const b = diagonal([1, 1, 1, -1]);
  const data = oneHot(4, 5);
  const codes = async (options: CompareOptions) => (await compare(a, b, { ...FAST, data, ...options })).verdict.exitCode;

  it("on agreement, cosine and KL give 4", async () => {
    // 15 of 20 rows agree; cosine of the outputs (15 - 5) / 20.
    expect(await codes({ minAgreement: 0.75 })).toBe(0);
    expect(await codes({ minAgreement: 0.76 })).toBe(4);
    expect(await codes({ minCosine: 0.5 })).toBe(0);
    expect(await codes({ minCosine: 0.51 })).toBe(4);
    const e = Math.E;
    // Rows of class 3: softmax(0, 0, 0, 1) against softmax(0, 0, 0, -1); the others are equal. One-hot rows are probabilities,
    // but b's are not all.
    const kl = (e * 2 + 0 * 3) / (3 + e) + Math.log((3 + 1 / e) / (3 + e));
    expect(await codes({ maxKl: (kl / 4) * 1.0001 })).toBe(0);
    expect(await codes({ maxKl: (kl / 4) * 0.9999 })).toBe(4);
  });

  it("on sizes give 3", async () => {
    expect(await codes({ tolerance: "none", maxMacs: 1, maxParams: 1, maxBytes: 1 })).toBe(0);
    expect(await codes({ tolerance: "none", maxMacs: 0.99 })).toBe(3);
    expect(await codes({ tolerance: "none", maxBytes: 0.5 })).toBe(3);
  });

  it("on latency give 3, and are refused where nothing is timed", async () => {
    const options = { ...FAST, data, latency: true, tolerance: "none" } as const;
    const slow = await compare(a, b, { ...options, maxLatencyRatio: 1e-6 });
    expect(slow.verdict.exitCode).toBe(3);
    expect(slow.latency?.ratio.low).toBeLessThanOrEqual(slow.latency?.ratio.median as number);
    await expect(compare(a, b, { ...FAST, maxLatencyRatio: 1 })).rejects.toMatchObject({ code: "LATENCY_NOT_MEASURED", exitCode: 2 });
    const large = await compare(a, b, { ...options, maxLatencyRatio: 10, memory: 0 });
    expect(large.verdict).toMatchObject({ exitCode: 3, reason: expect.stringContaining("exceed the memory allowed") });
  });

  it("that nothing can be held against are refused", async () => {
    const scalar = modelOf("g (float[2] x) => (float y) { y = ReduceSum <keepdims = 0> (x) }");
    await expect(compare(scalar, scalar, { ...FAST, minAgreement: 0.5 })).rejects.toMatchObject({ code: "COMPARE_NO_SCORES" });
    await expect(compare(a, b, { ...FAST, confident: true })).rejects.toMatchObject({ code: "CONFIDENT_NEEDS_DROP" });
  });
});

describe("a run", () => {
  it("tells its progress, and stops when asked to", async () => {
    const phases: string[] = [];
    const stop = new AbortController();
    const options: CompareOptions = {
      ...FAST,
      data: oneHot(4, 25),
      batch: 10,
      signal: stop.signal,
      onProgress: ({ phase, done, total }) => {
        phases.push(`${phase} ${done}/${total}`);
        if (done === 30) stop.abort();
      },
    };
    await expect(compare(diagonal([1, 1, 1, 1]), diagonal([1, 1, 1, 1]), options)).rejects.toMatchObject({ name: "AbortError" });
    expect(phases).toEqual(["load 0/1", "load 1/1", "compare 10/100", "compare 20/100", "compare 30/100"]);
  });

  it("on another runtime: WebAssembly", { timeout: 60_000 }, async () => {
    const a = modelOf(NET);
    const { runs, verdict } = await compare(a, planted(a, "w2", 5, 0.5), { ...FAST, ep: "wasm", runs: 2 });
    expect({ on: runs?.on, exitCode: verdict.exitCode }).toEqual({ on: "wasm, optimisation disabled", exitCode: 4 });
    expect((await compare(a, a, { ...FAST, ep: "wasm", runs: 2 })).verdict.exitCode).toBe(0);
  });

  it("piece by piece gives the same figures", async () => {
    const a = modelOf(NET);
    const b = planted(a, "w2", 5, 0.5);
    const whole = await compare(a, b, FAST);
    const pieces = await compare(a, b, { ...FAST, memory: 0 });
    expect(pieces.outputs).toEqual(whole.outputs);
    expect(pieces.notes.map((n) => n.code)).toContain("RUN_IN_PIECES");
  });

  it("the same twice, but for the time it took", async () => {
    const [a, b] = [modelOf(NET), planted(modelOf(NET), "w2", 5, 0.5)];
    const reports = [await compare(a, b, { ...FAST, seed: 7 }), await compare(a, b, { ...FAST, seed: 7 })];
    const [one, two] = reports.map((r) => ({ ...r, milliseconds: 0 }));
    expect(one).toEqual(two);
  });
});
